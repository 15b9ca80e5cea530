// Where looking around ends and an account begins.

import { h, put } from "./dom.js";
import { session } from "./session.js";

/** Where people sign in, to come back here. */
export function signInPath() {
  return `/account?${new URLSearchParams({ next: location.pathname })}`;
}

/**
 * Tells who has no account that they need one: before a sale begins there is time to see to it.
 * @param onLeave called before they go there
 */
export function drawWall(node, isBefore, onLeave) {
  const key = session() ? "" : isBefore ? "before" : "now";
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.hidden = key === "";
  put(node, isBefore ? "Tickets need an account. " : "You sign in, or create an account, on the way.",
    isBefore && h("a", { href: signInPath(), onclick: onLeave }, "Sign in before sales open"));
}
