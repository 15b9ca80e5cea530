// Form fields that say what is wrong with them, next to where it is wrong.

import { freshID, h, icon, put } from "./dom.js";

/**
 * A labelled input. `node` goes into the form; `fail(text)` shows an error tied to the input, `clear()` takes
 * it away.
 */
export function field(label, attributes, { hint } = {}) {
  const id = freshID("field");
  const error = h("p", { class: "field-error", id: `${id}-error`, hidden: true });
  const hintNode = hint && h("p", { class: "field-hint", id: `${id}-hint` }, hint);
  const described = hint ? `${id}-hint ${id}-error` : `${id}-error`;
  const input = h("input", { id, ...attributes, "aria-describedby": described });
  return {
    input,
    node: h("div", { class: "field" }, h("label", { for: id }, label), input, hintNode, error),
    fail(text) {
      put(error, icon("alert"), text);
      error.hidden = false;
      input.setAttribute("aria-invalid", "true");
    },
    clear() {
      error.hidden = true;
      input.removeAttribute("aria-invalid");
    },
  };
}

/** A message of its own, for what is not one field's fault. `show(text)` reads it out. */
export function formMessage() {
  const node = h("p", { class: "form-message", role: "alert", hidden: true });
  return {
    node,
    show(text) {
      put(node, icon("alert"), h("span", null, text));
      node.hidden = false;
    },
    clear() {
      node.hidden = true;
      put(node);
    },
  };
}

/** Marks a button as busy while `work` runs. A busy button ignores clicks but keeps focus. */
export async function whileBusy(button, text, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const before = [...button.childNodes];
  button.setAttribute("aria-disabled", "true");
  button.classList.add("busy");
  put(button, text);
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
    button.classList.remove("busy");
    put(button, before);
  }
}
