// What was bought, and the places in line that are still open on this device.

import { get } from "./api.js";
import { h, icon, put, setText } from "./dom.js";
import { counted, dayAndTime, money } from "./format.js";
import { eventDetails } from "./known.js";
import { openPlaces } from "./line.js";
import { poster } from "./poster.js";
import { places } from "./session.js";
import { stubs } from "./stub.js";

export function ticketsView(context) {
  const { signal } = context;
  const status = h("p", { class: "quiet", role: "status" }, "Loading…");
  const list = h("div", { class: "purchases" });
  const waitingList = h("ul");
  const waiting = h("section", { class: "waiting", "aria-labelledby": "waiting-title", hidden: true },
    h("h2", { id: "waiting-title" }, "In line now"), waitingList);
  load();
  openPlaces(places(), signal).then(drawWaiting);
  return {
    title: "My tickets",
    node: h("div", { class: "my-tickets" },
      h("h1", { tabindex: "-1" }, "My tickets"),
      waiting, status, list),
  };

  function drawWaiting(open) {
    waiting.hidden = open.length === 0;
    put(waitingList, open.map(waitingPlace));
  }

  async function load() {
    try {
      const { purchases } = await get("/api/me/tickets", { signal });
      setText(status, "");
      if (purchases.length === 0) return drawNone();
      put(list, purchases.map((purchase) => drawPurchase(purchase)));
    } catch (error) {
      if (signal.aborted) return;
      setText(status, "");
      put(list, h("div", { class: "notice bad", role: "alert" }, icon("alert"),
        h("div", null, h("p", null, error.message),
          h("button", { class: "button", type: "button", onclick: () => load() }, "Try again"))));
    }
  }

  function drawNone() {
    put(list, h("div", { class: "empty" }, icon("ticket"), h("p", null, "Nothing bought yet."),
      h("a", { class: "button primary", href: "/" }, "Find an event")));
  }

  function drawPurchase(purchase) {
    const title = h("h2");
    const moved = h("div");
    const body = h("div");
    const paid = h("p", { class: "quiet" }, `${counted(purchase.tickets.length, "ticket")} · `,
      `${money(purchase.amount, purchase.currency)} · bought ${dayAndTime({ date: purchase.purchased_at })}`);
    draw({ name: purchase.event_name });
    // The purchase says what was bought; when and where, the event knows.
    eventDetails(purchase.event_id).then((event) => {
      if (event && !signal.aborted) draw(event);
    });
    return h("section", { class: "purchase" }, title, paid, moved, body);

    function draw(event) {
      const href = `/event/${encodeURIComponent(purchase.event_id)}`;
      put(title, h("a", { href }, event.name ?? "Your event"));
      put(moved, movedNotice(purchase, event.time_zone));
      put(body, stubs(event, purchase.tickets));
    }
  }
}

/** Says what a buyer may not know yet: that the event is at another time or place than it was when its sale began. */
function movedNotice(purchase, zone) {
  const { event_date: date, event_date_was: dateWas, event_location: place, event_location_was: placeWas } = purchase;
  if (!dateWas && !placeWas) return undefined;
  const at = (time) => dayAndTime({ date: time, time_zone: zone });
  return h("div", { class: "notice", role: "note" }, icon("alert"), h("div", null,
    dateWas && h("p", null, `Moved from ${at(dateWas)} to ${at(date)}. Your tickets stay valid.`),
    placeWas && h("p", null, `Moved from ${placeWas} to ${place}. Your tickets stay valid.`)));
}

function waitingPlace(each) {
  const states = {
    reserved: "Seats held: pay now", declined: "Card declined: try another", confirming: "Paying",
    action_required: "Confirm with your bank",
    standby: "Waiting for returns", lobby: "In the waiting room",
    rejected: "Not what you asked for: choose now, your place is kept for a moment",
  };
  return h("li", null, h("a", { class: "result compact", href: `/queue/${encodeURIComponent(each.id)}` },
    poster(each.name ?? "Onsale"),
    h("div", { class: "result-text" },
      h("h3", null, each.name ?? "Your place in line"),
      h("p", { class: "quiet" }, states[each.state] ?? "In line"))));
}
