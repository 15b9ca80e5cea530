// The page's frame: which view a URL shows, the header, and where focus goes.

import { accountView } from "./account.js";
import { h, put } from "./dom.js";
import { eventView } from "./event.js";
import { queueView } from "./queue.js";
import { searchView } from "./search.js";
import { session } from "./session.js";
import { ticketsView } from "./tickets.js";

/**
 * A view is a function from a context to `{ title, node }`. The context has `signal`, aborted when the view
 * is left, `parameter` and `query` from the URL, `go(url, { replace })` and `title(text)`.
 */
const routes = [
  { pattern: /^\/$/, view: searchView },
  { pattern: /^\/event\/([^/]+)$/, view: eventView },
  { pattern: /^\/queue\/([^/]+)$/, view: queueView },
  { pattern: /^\/tickets$/, view: ticketsView, needsSession: true },
  { pattern: /^\/account$/, view: accountView },
];

const main = document.getElementById("main");
const navigation = document.getElementById("navigation");
let turn;
let leave = new AbortController();
let shown = false;

let viewTitle = "", turnTitle;

function setTitle(text) {
  viewTitle = text ? `${text} · Onsale` : "Onsale";
  drawTitle();
}

function drawTitle() {
  const text = [turnTitle, viewTitle].filter(Boolean).join(" · ");
  if (document.title !== text) document.title = text;
}

/** Whose turn it is hears of it on every page: who has no account never needs the code for it. */
async function callTurn() {
  if (!session()) return;
  try {
    const { Turn } = await import("./turn.js");
    turn ??= new Turn(document.getElementById("held"), { onTitle: (text) => {
      turnTitle = text;
      drawTitle();
    } });
  } catch {
    // Offline, or gone: the place's own page says it, and the next view tries again.
  }
}

function here() {
  return location.pathname + location.search;
}

/** Goes to a URL of this page. */
export function go(url, { replace = false } = {}) {
  if (!replace) history.replaceState({ scroll: scrollY }, "");
  history[replace ? "replaceState" : "pushState"]({}, "", url);
  show();
}

function show({ scroll = 0 } = {}) {
  leave.abort();
  leave = new AbortController();
  const { route, parameter } = routeHere();
  // The server says of the address it was asked for whether there is something.
  const isMissing = !shown && "status" in document.documentElement.dataset;
  const context = {
    signal: leave.signal, parameter,
    query: new URLSearchParams(location.search),
    go,
    title: setTitle,
  };
  let view = route ? route.view : missingView;
  if (route?.needsSession && !session()) {
    view = isMissing ? missingView : accountView;
    context.next = here();
  }
  const { title, node } = view(context);
  setTitle(title);
  put(main, node);
  main.className = `view-${view.name.replace("View", "")}`;
  drawNavigation();
  if (turn) turn.look();
  else callTurn();
  scrollTo(0, scroll);
  // The browser has set focus itself on the first load; later it is the new view's heading that is read out.
  if (shown) (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  shown = true;
}

/** The route of the address, and what stands in it; none for what cannot be decoded. */
function routeHere() {
  const route = routes.find((each) => each.pattern.test(location.pathname));
  try {
    return { route, parameter: route && decodeURIComponent(route.pattern.exec(location.pathname)[1] ?? "") };
  } catch {
    return {};
  }
}

function missingView() {
  return {
    title: "Not found",
    node: h("section", { class: "narrow" },
      h("h1", { tabindex: "-1" }, "There is no such page"),
      h("p", null, "The address may be mistyped, or the page is gone."),
      h("p", null, h("a", { class: "button primary", href: "/" }, "Find an event"))),
  };
}

function drawNavigation() {
  const path = location.pathname;
  const link = (href, text) =>
    h("a", { href, "aria-current": path === href ? "page" : undefined }, text);
  put(navigation, link("/", "Events"), session()
    ? [link("/tickets", "My tickets"), link("/account", "Account")] : link("/account", "Sign in"));
}

document.addEventListener("click", (event) => {
  // With a modifier the browser opens a tab or a window, as people expect.
  const isModified = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (event.defaultPrevented || event.button !== 0 || isModified) return;
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || anchor.target || anchor.hasAttribute("download")) return;
  const url = new URL(anchor.href);
  if (url.origin !== location.origin) return;
  if (anchor.classList.contains("skip")) {
    event.preventDefault();
    main.focus();
    return;
  }
  event.preventDefault();
  if (url.pathname + url.search !== here()) go(url.pathname + url.search);
  else show();
});

addEventListener("popstate", (event) => show({ scroll: event.state?.scroll ?? 0 }));

// Signed out here or in another tab: pages that need an account ask for it, the others only change the header.
function sessionChanged() {
  const route = routes.find((each) => each.pattern.test(location.pathname));
  if (route?.needsSession && !session()) show();
  else drawNavigation();
  callTurn();
}
addEventListener("session", sessionChanged);
addEventListener("storage", (event) => {
  if (event.key === "onsale.session") sessionChanged();
});

history.scrollRestoration = "manual";
show();
