// Building the document. Text always becomes a text node, so nothing a server sends is read as markup.

const svgNamespace = "http://www.w3.org/2000/svg";

/**
 * Makes an element. In `attributes`, `onclick` and the like are listeners, `true` sets an empty attribute,
 * and `false`, `null` and `undefined` leave it out. Children are nodes, texts, lists of them, or nothing.
 */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes, ...children) {
  return fill(document.createElementNS(svgNamespace, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces what is inside `element`. */
export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** Sets a text only when it differs, so that screen readers and selections are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let counter = 0;

/** An identifier for labels and descriptions, unique in the document. */
export function freshID(prefix) {
  counter += 1;
  return `${prefix}-${counter}`;
}

/** Says something to screen readers: politely, or at once when `urgent`. */
export function announce(text, urgent = false) {
  const region = document.getElementById(urgent ? "assertive" : "polite");
  // Emptied first, because the same text twice would not be read twice.
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 60);
}

/** Takes back what was announced, if it is the last that was. */
export function retract(text) {
  for (const id of ["polite", "assertive"]) {
    const region = document.getElementById(id);
    if (region.textContent === text) region.textContent = "";
  }
}

const icons = {
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM16 16l4.5 4.5",
  calendar: "M5 6h14a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1zM4 10.5h16M8.5 3.5v4"
    + "M15.5 3.5v4",
  place: "M12 21s6.5-5.6 6.5-11a6.5 6.5 0 1 0-13 0C5.5 15.4 12 21 12 21z"
    + "M12 12.3a2.3 2.3 0 1 0 0-4.6 2.3 2.3 0 0 0 0 4.6z",
  clock: "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM12 7.5V12l3 2",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V5a1 1 0 0 1 1-1h4M15 4h4a1 1 0 0 1 1 1v4M20 15v4a1 1 0 0 1-1 1h-4M9 20H5a1 1 0 0 1-1-1v-4",
  alert: "M12 4l9 16H3zM12 10v4M12 17v.4",
  info: "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM12 11v5M12 7.6V8",
  card: "M4 6h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1zM3 10h18M6.5 14.5h4",
  ticket: "M4 7h16v3.2a1.9 1.9 0 0 0 0 3.6V17H4v-3.2a1.9 1.9 0 0 0 0-3.6zM14.5 7v2M14.5 11v2M14.5 15v2",
  people: "M9 11.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4zM3 19.5c0-3.2 2.6-5.2 6-5.2s6 2 6 5.2"
    + "M16 5.4a3.1 3.1 0 0 1 0 5.8M17.5 14.6c2.2.6 3.7 2.3 3.7 4.9",
  back: "M14.5 5.5L8 12l6.5 6.5",
  forward: "M9.5 5.5L16 12l-6.5 6.5",
};

/** A decorative line icon; what it means is always said in text beside it. */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    s("path", { d: icons[name] }));
}

/**
 * Asks before something that cannot be undone.
 * Resolves to whether it was confirmed; Escape and closing mean no. Focus goes back to where it was.
 */
export function confirm({ title, text, yes, no }) {
  return new Promise((resolve) => {
    const label = freshID("dialog");
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": label },
      h("form", { method: "dialog" },
        h("h2", { id: label }, title),
        h("p", null, text),
        h("div", { class: "actions" },
          h("button", { class: "button danger", value: "yes" }, yes),
          h("button", { class: "button", value: "no", autofocus: true }, no))));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
