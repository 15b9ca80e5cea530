// What was bought, and the places in line that are still open on this device.

import { call, get, Problem } from "./api.js";
import { everySecond } from "./clock.js";
import { h, icon, put, setText } from "./dom.js";
import { isLapsed, otherSeats } from "./ending.js";
import { count, countdown, counted, dayAndTime, money, postponed } from "./format.js";
import { eventDetails } from "./known.js";
import { deadline, openPlaces } from "./line.js";
import { poster } from "./poster.js";
import { isSame, takeRequests } from "./requests.js";
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
  loadWaiting();
  return {
    title: "My tickets",
    node: h("div", { class: "my-tickets" },
      h("h1", { tabindex: "-1" }, "My tickets"),
      waiting, status, list),
  };

  /** What the server knows of, on whichever device it began, and what only this browser remembers. */
  async function loadWaiting() {
    let told = [];
    try {
      told = takeRequests(await get("/api/me/requests", { signal }));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
    }
    const others = await openPlaces(places().filter((each) => !told.some((other) => isSame(each, other))), signal);
    if (!signal.aborted) drawWaiting([...told, ...others]);
  }

  function drawWaiting(open) {
    waiting.hidden = open.length === 0;
    const drawn = open.map((each) => waitingPlace(each));
    put(waitingList, drawn.map((each) => each.node));
    everySecond(() => drawn.forEach((each) => each.tick()), signal);
  }

  async function load() {
    try {
      const { purchases, unpaid = [] } = await get("/api/me/tickets", { signal });
      setText(status, "");
      if (purchases.length + unpaid.length === 0) return drawNone();
      put(list, unpaid.map((purchase) => drawUnpaid(purchase)), purchases.map((purchase) => drawPurchase(purchase)));
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

  /** What the buyer was told is theirs, and is not paid: how that stands now the place itself says. */
  function drawUnpaid(purchase) {
    const event = `/event/${encodeURIComponent(purchase.event_id)}`;
    const place = `/queue/${encodeURIComponent(purchase.request_id)}`;
    const now = h("p", { role: "status" });
    const way = h("div", { class: "actions" });
    call("GET", `/api/request/${encodeURIComponent(purchase.request_id)}`, { signal }).then((request) => {
      const until = deadline(request);
      const isPaying = ["confirming", "action_required"].includes(request.state);
      setText(now, until ? `The tickets are kept for you until ${dayAndTime({ date: new Date(until).toISOString() })}.`
        : isPaying ? "Your new payment is under way."
          : "They were not paid once more in time, and are on sale again.");
      put(way, until || isPaying
        ? h("a", { class: "button primary", href: place }, until ? "Pay once more" : "See how it goes")
        : h("a", { class: "button", href: event }, "Back to the event"));
    }, () => {
      put(way, h("a", { class: "button primary", href: place }, "See how it stands"));
    });
    return h("section", { class: "purchase" }, h("h2", null, h("a", { href: event }, purchase.event_name)),
      h("p", { class: "quiet" }, `${counted(purchase.tickets.length, "ticket")} · ${money(purchase.amount, purchase.currency)} · not paid`),
      h("div", { class: "notice bad" }, icon("alert"), h("div", null,
        h("p", null, h("strong", null, "Your payment did not go through. "), "The tickets were yours, and then your bank let "
          + "go of the payment before it could be taken. Nothing was charged."),
        now, way)));
  }

  function drawPurchase(purchase) {
    const title = h("h2");
    const moved = h("div");
    const body = h("div");
    const bought = `bought ${dayAndTime({ date: purchase.purchased_at })}`;
    const paid = h("p", { class: "quiet" }, purchase.tickets.length === 0 ? `No tickets left · ${bought}`
      : `${counted(purchase.tickets.length, "ticket")} · ${money(purchase.amount, purchase.currency)} · ${bought}`);
    const disputed = (purchase.disputes ?? []).map((dispute) => disputeNotice(dispute, purchase.currency));
    const cancelled = purchase.event_cancelled != null && h("div", { class: "notice bad", role: "note" }, icon("alert"),
      h("div", null, h("p", null, h("strong", null, "Cancelled. "), purchase.event_cancelled),
        purchase.tickets.length > 0 && h("p", null, "You get your money back; there is nothing you need to do.")));
    const back = (purchase.refunds ?? []).map((refund) => refundNotice(refund, purchase.currency));
    draw({ name: purchase.event_name });
    // The purchase says what was bought; when and where, the event knows.
    eventDetails(purchase.event_id).then((event) => {
      // When and where, the purchase was told a moment ago.
      if (event && !signal.aborted) {
        draw({ ...event, date: purchase.event_date, location: purchase.event_location,
          postponed: purchase.event_postponed });
      }
    });
    const others = purchase.other_seats && purchase.tickets.length > 0 && h("p", { class: "notice" }, otherSeats);
    return h("section", { class: "purchase" }, title, paid, cancelled, others, back, disputed, moved, body);

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
  const isPostponed = purchase.event_postponed;
  if (!dateWas && !placeWas && !isPostponed) return undefined;
  const at = (time) => dayAndTime({ date: time, time_zone: zone });
  return h("div", { class: "notice", role: "note" }, icon("alert"), h("div", null,
    isPostponed && h("p", null, h("strong", null, `${postponed}. `), `It was to be on ${at(date)}. Your tickets stay valid.`),
    dateWas && !isPostponed && h("p", null, `Moved from ${at(dateWas)} to ${at(date)}. Your tickets stay valid.`),
    placeWas && h("p", null, `Moved from ${placeWas} to ${place}. Your tickets stay valid.`)));
}

/** Says what was given back, and which tickets are not the buyer's any more. */
function refundNotice({ state, amount, tickets }, currency) {
  const seats = tickets.map(({ section, row, seat }) => [section, row && `row ${row}`, seat && `seat ${seat}`]
    .filter(Boolean).join(" ")).join("; ");
  return h("div", { class: "notice", role: "note" }, icon("alert"), h("div", null,
    h("p", null, state === "succeeded"
      ? `Refunded: ${money(amount, currency)}. It takes your bank some days to show it.`
      : `A refund of ${money(amount, currency)} is on its way.`),
    seats && h("p", { class: "quiet" }, state === "succeeded" ? `Not valid any more: ${seats}` : seats)));
}

/** Says that the buyer's bank was asked to take a payment back. */
function disputeNotice({ amount, status }, currency) {
  if (status === "won" || status === "warning_closed") return undefined;
  return h("div", { class: "notice", role: "note" }, icon("alert"), h("div", null,
    h("p", null, status === "lost"
      ? `Your bank has taken ${money(amount, currency)} back.`
      : `Your bank was asked to take ${money(amount, currency)} back, and has not decided yet.`),
    h("p", { class: "quiet" }, "Ask the organizer what that means for your tickets.")));
}

function waitingPlace(each) {
  const heardAt = Date.now();
  const states = {
    declined: isLapsed(each) ? "Your payment did not go through: pay once more" : "Card declined: try another", confirming: "Paying",
    action_required: "Confirm with your bank",
    standby: "Waiting for returns", lobby: "In the waiting room",
    rejected: "Not what you asked for: choose now, your place is kept for a moment",
  };
  const state = h("p", { class: "quiet" });
  const tick = () => {
    const left = each.until && (each.standing ? `${countdown(each.until - heardAt)} left, and the time stands still`
      : `${countdown(each.until - Date.now())} left`);
    setText(state, each.state === "reserved" ? `Your turn: ${each.until > Date.now() || each.standing ? left : "pay now"}`
      : [states[each.state] ?? (each.ahead > 0 ? `In line · ${count(each.ahead)} ahead` : "In line"), left].filter(Boolean).join(" · "));
  };
  const node = h("li", null, h("a", { class: "result compact", href: `/queue/${encodeURIComponent(each.id)}` },
    poster(each.name ?? "Onsale"),
    h("div", { class: "result-text" },
      h("h3", null, each.name ?? "Your place in line"),
      state)));
  return { node, tick };
}
