// Finding an event: as you type, with filters, page by page. The URL holds the query.

import { get } from "./api.js";
import { pause } from "./clock.js";
import { currencyDigits } from "./currencies.js";
import { announce, freshID, h, icon, put } from "./dom.js";
import { field } from "./form.js";
import {
  availability, counted, dateBefore, dayAndTime, minorUnits, moneyRange, postponed, shortDate, timeOfDay,
} from "./format.js";
import { poster } from "./poster.js";

const pageSize = 20;
const typingPause = 220;
/** The last list, so that going back shows it at once and where it was. */
let remembered = { key: undefined };

/** The query as the API wants it. Dates in the form are whole days, at the venue. */
function apiQuery(form) {
  const query = new URLSearchParams({ limit: pageSize });
  if (form.get("terms")) query.set("terms", form.get("terms"));
  if (form.get("location")) query.set("location", form.get("location"));
  for (const name of ["from", "to"]) if (form.get(name)) query.set(name, form.get(name));
  const price = minorUnits(Number(form.get("max_price")), form.get("currency"));
  if (price > 0) {
    query.set("max_price", price);
    query.set("currency", form.get("currency"));
  }
  if (form.get("section")) query.set("section", form.get("section"));
  if (form.get("include_sold_out")) query.set("include_sold_out", "true");
  return query;
}

/**
 * Which currency a price is in, without which it says nothing, 100 euros or 100 yen: that of the first events that are
 * shown, until somebody says another.
 */
function currencyChoice(chosen) {
  const select = h("select", { id: freshID("currency"), name: "currency", "aria-label": "Currency" },
    Object.keys(currencyDigits).map((code) => h("option", { value: code }, code)));
  let isChosen = chosen in currencyDigits;
  select.value = isChosen ? chosen : "USD";
  select.addEventListener("input", () => isChosen = true);
  return { select, suggest(events, hasPrice) {
    if (!isChosen && !hasPrice && events.length) select.value = events[0].currency;
  } };
}

export function searchView(context) {
  const value = (name) => context.query.get(name) ?? "";
  const terms = h("input", { id: "terms", name: "terms", type: "search", value: value("terms"),
    placeholder: "Artist, work, venue…", autocomplete: "off", maxlength: 200, enterkeyhint: "search" });
  const price = field("Highest price", { name: "max_price", type: "number", min: 0, step: "any", inputmode: "decimal",
    value: value("max_price") });
  const currency = currencyChoice(value("currency"));
  const { input } = price;
  const pair = h("div", { class: "price-filter" });
  input.replaceWith(pair);
  pair.append(input, currency.select);
  const fields = [
    field("Place", { name: "location", value: value("location"), autocomplete: "off", maxlength: 200 }),
    field("From", { name: "from", type: "date", value: value("from") }),
    field("To", { name: "to", type: "date", value: value("to") }),
    price,
    field("Section with tickets left", { name: "section", value: value("section"), autocomplete: "off",
      maxlength: 100 }),
  ];
  const soldOut = h("input", { type: "checkbox", name: "include_sold_out", value: "1" });
  soldOut.checked = value("include_sold_out") === "1";
  const summary = h("p", { class: "result-count", "aria-live": "polite" });
  const list = h("ul", { class: "results" });
  const more = h("div", { class: "more" });
  const trouble = h("div");
  const suggestions = h("div", { class: "suggestions", role: "group", "aria-label": "Suggested searches" });
  const filters = h("details", { class: "filters" },
    h("summary", null, icon("forward"), "Filters"),
    h("div", { class: "filter-fields" }, fields.map((each) => each.node),
      h("label", { class: "check" }, soldOut, h("span", null, "Show sold out events"))));
  const wide = matchMedia("(min-width: 56rem)");
  filters.open = wide.matches || fields.some((each) => each.input.value) || soldOut.checked;

  const form = h("form", { role: "search", class: "search", onsubmit: (event) => {
    event.preventDefault();
    find();
  } },
  h("div", { class: "search-box" },
    h("label", { class: "hidden", for: "terms" }, "Search events"), icon("search"), terms),
  filters);

  let typing = new AbortController();
  form.addEventListener("input", async () => {
    typing.abort();
    typing = new AbortController();
    const { signal } = typing;
    await pause(typingPause, signal);
    if (!signal.aborted && !context.signal.aborted) find();
  });

  let running = new AbortController();
  async function find({ restore = false } = {}) {
    typing.abort();
    running.abort();
    running = new AbortController();
    const signal = AbortSignal.any([running.signal, context.signal]);
    const data = new FormData(form);
    const shown = new URLSearchParams([...data].filter(([, text]) => text));
    if (!data.get("max_price")) shown.delete("currency");
    history.replaceState(history.state, "", shown.size ? `/?${shown}` : "/");
    const key = apiQuery(data).toString();
    if (restore && remembered.key === key) return draw(remembered);
    list.setAttribute("aria-busy", "true");
    try {
      const page = await get(`/api/search?${key}`, { signal });
      remembered = { key, total: page.total, isExact: page.total_is_exact, events: page.events,
        next: page.next_cursor, suggestions: page.suggestions };
      draw(remembered);
    } catch (error) {
      if (!signal.aborted) fail(error);
    } finally {
      if (!signal.aborted) list.removeAttribute("aria-busy");
    }
  }

  function draw(found) {
    put(trouble);
    summary.textContent = found.total === 0 ? "No events match"
      : (found.isExact ? "" : "More than ") + counted(found.total, "event");
    // Who is at a result by keyboard stays there while a newer answer lists it, too.
    const at = list.contains(document.activeElement) && document.activeElement.getAttribute("href");
    put(list, found.events.map(result));
    if (at) list.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
    currency.suggest(found.events, price.input.value);
    put(suggestions, found.suggestions?.map((text) => h("button", { class: "button", type: "button",
      onclick: () => {
        // With a blank, the last word is no longer taken as unfinished.
        terms.value = `${text} `;
        terms.focus();
        find();
      } }, text)));
    drawMore(found);
    if (found.total === 0) {
      put(trouble, h("div", { class: "empty" },
        h("p", null, "Try fewer words, or take a filter away."),
        !soldOut.checked && h("button", { class: "button", type: "button", onclick: () => {
          soldOut.checked = true;
          find();
        } }, "Look among sold out events too")));
    }
  }

  function drawMore(found) {
    put(more, found.next && h("button", { class: "button", type: "button", onclick: async (event) => {
      const button = event.currentTarget;
      if (button.getAttribute("aria-disabled")) return;
      button.setAttribute("aria-disabled", "true");
      try {
        const cursor = new URLSearchParams({ cursor: found.next });
        const page = await get(`/api/search?${found.key}&${cursor}`, { signal: context.signal });
        if (remembered.key !== found.key) return;
        const first = found.events.length;
        found.events = found.events.concat(page.events);
        found.next = page.next_cursor;
        list.append(...page.events.map(result));
        drawMore(found);
        list.children[first]?.querySelector("a").focus();
        announce(`${counted(page.events.length, "more event")}.`);
      } catch (error) {
        if (!context.signal.aborted) fail(error);
        button.removeAttribute("aria-disabled");
      }
    } }, "Show more"));
  }

  function fail(error) {
    put(trouble, h("div", { class: "notice bad", role: "alert" }, icon("alert"),
      h("div", null, h("p", null, error.message),
        h("button", { class: "button", type: "button", onclick: () => find() }, "Try again"))));
  }

  put(summary, "Looking…");
  find({ restore: true });
  return {
    title: "Events",
    node: h("div", { class: "search-page" },
      h("h1", { tabindex: "-1" }, "Find your night out"),
      form, suggestions, h("section", { "aria-label": "Results" }, summary, trouble, list, more)),
  };
}

/** A text with the words that were looked for marked, as far as the server says where they are. */
function marked(pieces, text) {
  return pieces ? pieces.map((piece, index) => (index % 2 ? h("mark", null, piece) : piece)) : text;
}

/** Where and when it was to be, for those who have it in their heads. */
function moved(event) {
  if (event.postponed) return `It was to be on ${shortDate(event)}`;
  return `Moved from ${[event.date_was && dayAndTime(dateBefore(event)), event.location_was].filter(Boolean).join(", ")}`;
}

function result(event) {
  const free = availability(event);
  const found = event.highlights ?? {};
  return h("li", null,
    h("a", { class: "result", href: `/event/${encodeURIComponent(event.id)}` },
      poster(event.name),
      h("div", { class: "result-text" },
        h("p", { class: "result-date" }, event.postponed ? postponed : `${shortDate(event)} · ${timeOfDay(event)}`),
        h("h2", null, marked(found.name, event.name)),
        h("p", { class: "result-place" }, marked(found.location, event.location)),
        (event.postponed || event.date_was || event.location_was) && h("p", { class: "result-moved" }, moved(event)),
        found.description && h("p", { class: "result-excerpt" }, marked(found.description)),
        h("p", { class: "result-foot" },
          h("span", { class: `tag ${free.tone}` }, free.text),
          Number.isInteger(event.min_price) && h("span", { class: "result-price" },
            moneyRange(event.min_price, event.max_price, event.currency))))));
}
