// An event's page: what it is, what is left, and asking for tickets.

import { get, Problem } from "./api.js";
import { everySecond, pause, serverNow } from "./clock.js";
import { announce, h, icon, put, setText } from "./dom.js";
import { whileBusy } from "./form.js";
import {
  availability, count, countdown, counted, dateBefore, dayAndTime, longDate, money, moneyRange, opening,
  ownDayAndTime, postponed, seatName, timeOfDay,
} from "./format.js";
import { openPlaces } from "./line.js";
import { describeForMachines } from "./machines.js";
import { explainReserve, reserve } from "./order.js";
import { Picker } from "./picker.js";
import { poster } from "./poster.js";
import { followSale } from "./sale.js";
import { keepWish, keptWish, place, places, session } from "./session.js";
import { drawWall, signInPath } from "./wall.js";

/** Milliseconds between reloads of an event's numbers, and of its seats, while they change. */
const eventPause = 8_000;
const seatsPause = 12_000;
/** What an event allows each buyer when it does not say. */
const usualLimit = 4;

/** What a place in line is called by its state, and the way to it. Of held seats every page says so by itself. */
const placeTexts = {
  lobby: ["You are in the waiting room.", "See when it begins"],
  queued: ["You have a place in this line.", "See where you are"],
  standby: ["You are in line for returns.", "See where you are"],
  confirming: ["Your payment is being confirmed.", "See how it goes"],
  rejected: ["What you asked for cannot be had any more, and your place is kept for a moment.", "Choose what to do"],
};

export function eventView(context) {
  const heading = h("h1", { tabindex: "-1" }, "Loading…");
  const node = h("article", { class: "event", "aria-busy": "true" }, heading);
  const path = `/api/event/${encodeURIComponent(context.parameter)}`;
  load();
  return { title: "Event", node };

  async function load() {
    try {
      const event = await get(path, { signal: context.signal });
      node.removeAttribute("aria-busy");
      context.title(event.name);
      setText(heading, event.name);
      keepingFocus(() => new EventPage(context, event, node, heading));
    } catch (error) {
      if (!context.signal.aborted) fail(error);
    }
  }

  function fail(error) {
    node.removeAttribute("aria-busy");
    const isMissing = error instanceof Problem && error.status === 404;
    setText(heading, isMissing ? "There is no such event" : "The event could not be loaded");
    keepingFocus(() => put(node, h("div", { class: "narrow" }, heading,
      h("p", null, isMissing ? "It may have been withdrawn, or the address is mistyped." : error.message),
      h("div", { class: "actions" },
        !isMissing && h("button", { class: "button primary", type: "button",
          onclick: () => context.go(location.pathname, { replace: true }) }, "Try again"),
        h("a", { class: "button", href: "/" }, "Find an event")))));
  }

  /** The heading is what was focused when this page came up; moving it must not drop the focus. */
  function keepingFocus(work) {
    const hadFocus = document.activeElement === heading;
    work();
    if (hadFocus) heading.focus({ preventScroll: true });
  }
}

class EventPage {
  constructor(context, event, node, heading) {
    this.context = context;
    this.signal = context.signal;
    this.event = event;
    this.loadedAt = this.seatsAt = Date.now();
    this.notice = h("div", { class: "sale-notice" });
    this.line = h("p", { class: "line-now", hidden: true });
    this.picker = new Picker(event, {
      limit: event.per_user_limit ?? usualLimit, signal: this.signal, onChange: (change) => this.draw(change),
    });
    this.button = h("button", { class: "button primary wide", type: "button", onclick: () => this.order() });
    this.chosen = h("ul", { class: "chosen" });
    this.over = h("div", { class: "empty", hidden: true }, icon("ticket"), h("p"),
      h("a", { class: "button", href: "/" }, "Find another event"));
    this.totalText = h("span");
    this.amount = h("strong");
    this.message = h("div", { role: "alert", class: "order-message" });
    this.wall = h("p", { class: "quiet small order-fine" });
    this.summary = h("aside", { class: "order panel", "aria-labelledby": "order-title" },
      h("h2", { id: "order-title" }, "Your tickets"),
      this.chosen,
      h("p", { class: "order-total" }, this.totalText, this.amount),
      this.message, this.button, this.line,
      h("p", { class: "quiet small order-fine" },
        "Nothing is charged now. When it is your turn the seats are held for you while you pay."), this.wall);
    put(node,
      h("header", { class: "event-head" }, poster(event.name),
        h("div", null,
          heading,
          h("ul", { class: "event-facts" },
            h("li", null, icon("calendar"), when(event)),
            h("li", null, icon("place"), h("span", null, event.location))),
          (event.onsale_state !== "draft" || event.onsale_at) && h("p", { class: "event-more" },
            h("a", { href: calendarPath(event.id), download: true }, "Add to calendar"))),
        this.notice),
      h("section", { class: "event-main", "aria-label": "Choose your tickets" },
        this.picker.node, this.over,
        event.description && h("section", { class: "about" }, h("h2", null, "About"),
          String(event.description).split(/\n{2,}/).map((text) => h("p", null, text)))),
      this.summary);
    describeForMachines(event, this.signal);
    this.draw();
    this.takeUp();
    this.findMine();
    followSale(event.id, { signal: this.signal, onUpdate: (queue) => this.update(queue),
      untilOpening: () => this.opensIn });
    everySecond(() => this.tick(), this.signal);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.reload();
    }, { signal: this.signal });
  }

  // MARK: What the sale does

  get opensIn() {
    const opens = Date.parse(this.event.onsale_at ?? "");
    return Number.isNaN(opens) ? undefined : opens - serverNow();
  }

  get isOpen() {
    return ["open", "paused", "stopped"].includes(this.state);
  }

  get isClosedForGood() {
    return this.event.cancelled || this.state === "cancelled";
  }

  get isClosed() {
    return this.state === "closed" || this.state === "cancelled";
  }

  /** The queue knows first; the event's own word is a cached one. */
  get state() {
    return this.queue?.state ?? this.event.onsale_state;
  }

  update(queue) {
    const before = this.state;
    this.queue = queue;
    if (before !== this.state && this.state === "open") announce("Sales are open.");
    const isOld = ["available", "held", "sold"].some((name) => queue[name] !== sum(this.event, name));
    if (before !== this.state || isOld) this.reload();
    this.drawSale();
    this.drawButton();
  }

  /** Whether this buyer already has a place in the line. */
  async findMine() {
    const remembered = places().filter((each) => each.event_id === this.event.id);
    [this.mine] = await openPlaces(remembered, this.signal);
    if (!this.signal.aborted) this.drawSale();
  }

  /** What was chosen before signing in is chosen again. */
  takeUp() {
    const wish = keptWish();
    if (wish?.event_id !== this.event.id) return;
    this.picker.choose(wish.choice);
    if (session()) keepWish();
  }

  keep() {
    keepWish({ event_id: this.event.id, name: this.event.name, choice: this.picker.choice });
  }

  /** Asks who has no account to make one, or to sign in. */
  signIn() {
    this.keep();
    this.context.go(signInPath());
  }

  async reload() {
    const now = Date.now();
    if (now - this.loadedAt < eventPause) return;
    this.loadedAt = now;
    try {
      const path = `/api/event/${encodeURIComponent(this.event.id)}`;
      this.event = await get(path, { signal: this.signal, tries: 1 });
      this.picker.refresh(this.event);
      if (this.picker.mode === "seats" && now - this.seatsAt > seatsPause) {
        this.seatsAt = now;
        this.picker.loadPlan({ again: true });
      }
      this.draw({ isReload: true });
    } catch {
      // What is shown stays; the next round tries again.
    }
  }

  tick() {
    if (this.opensIn === undefined || this.opensIn < -60_000) return;
    this.drawSale();
    this.drawButton();
  }

  // MARK: Drawing

  draw(change = {}) {
    if (!this.button) return;
    const { picker, event } = this;
    const { low, high } = picker.total;
    const isEmpty = !picker.ask;
    setText(this.totalText, isEmpty ? "No seats chosen yet" : counted(picker.ask.quantity, "ticket"));
    setText(this.amount, isEmpty ? "" : moneyRange(low, high, event.currency));
    put(this.chosen, picker.mode === "seats" && [...picker.chosen.values()].map((ticket) => this.chip(ticket)));
    if (change.full) {
      this.say(`You can choose up to ${counted(picker.limit, "seat")}. Let one go to take another.`);
    } else if (change.lost) this.say("A seat you chose was just taken. Choose another.");
    // What was said of the last action stays until the next.
    else if (!change.isReload) this.say();
    this.drawSale();
    this.drawButton();
  }

  /** A chosen seat, with a button to let it go. */
  chip(ticket) {
    const letGo = () => {
      this.picker.toggle(ticket);
      (this.chosen.querySelector("button") ?? this.button).focus();
    };
    return h("li", null,
      h("span", null, h("strong", null, seatName(ticket)),
        h("small", null, `${ticket.section} · ${money(ticket.price, this.event.currency)}`)),
      h("button", { type: "button", class: "icon-button", "aria-label": `Let go of ${seatName(ticket)}`,
        onclick: letGo }, icon("close")));
  }

  say(text) {
    put(this.message, text && h("p", { class: "form-message" }, icon("alert"), h("span", null, text)));
  }

  drawSale() {
    const { queue } = this;
    const notices = this.notices();
    const key = notices.map((notice) => notice.key).join("|");
    if (key !== this.noticeKey) {
      this.noticeKey = key;
      put(this.notice, notices.map((each) =>
        h("div", { class: `notice ${each.tone}` }, icon(each.icon), h("p", null, each.nodes))));
    }
    const ahead = queue ? Math.max(0, queue.tail - queue.head) : 0;
    this.line.hidden = !this.isOpen || ahead < 2;
    setText(this.line, this.line.hidden ? "" : `${count(ahead)} people are in line right now.`);
  }

  /** What is to be said about the sale, most important first: `key` tells whether it changed. */
  notices() {
    const { event, queue, opensIn } = this;
    const found = [];
    const { mine } = this;
    if (mine && place(mine.id)?.state in placeTexts) {
      const { state } = place(mine.id);
      const [text, link] = placeTexts[state];
      found.push({ tone: "good", icon: "ticket", key: `${mine.id} ${state}`, nodes: [
        h("strong", null, text), " ", h("a", { href: `/queue/${encodeURIComponent(mine.id)}` }, link),
      ] });
    }
    const isPostponed = event.postponed && !this.isClosedForGood;
    if (isPostponed) {
      found.push({ tone: "wait", icon: "calendar", key: "postponed", nodes: [
        h("strong", null, `${postponed}.`), " Tickets that were bought stay valid.",
      ] });
    }
    const moved = [!isPostponed && event.date_was && `from ${dayAndTime(dateBefore(event))} to ${dayAndTime(event)}`,
      event.location_was && `from ${event.location_was} to ${event.location}`].filter(Boolean).join(", and ");
    if (moved) {
      found.push({ tone: "wait", icon: "calendar", key: moved, nodes: [
        h("strong", null, "Moved"), ` ${moved}. Tickets that were bought stay valid.`,
      ] });
    }
    const message = queue?.message ?? event.message;
    if (message) found.push({ tone: "info", icon: "info", key: message, nodes: [message] });
    if (!this.isOpen && !this.isClosed && this.state !== "sold_out") {
      const when = opensIn === undefined ? "Not on sale yet" : opensIn > 0 ? "On sale " : "Opening now…";
      found.push({ tone: "wait", icon: "clock", key: when, nodes: [
        h("strong", null, when), opensIn > 0 && [dayAndTime(opening(event)), aside(opening(event))],
      ] });
      return found;
    }
    const free = availability({ onsale_state: this.state, available: queue?.available ?? sum(event, "available"),
      held: queue?.held ?? sum(event, "held") });
    found.push({ tone: free.tone, icon: free.tone === "none" ? "alert" : "ticket", key: free.text, nodes: [
      h("strong", null, free.text),
      this.isOpen && free.tone === "wait" && queue?.held > 0
        && ". Tickets come back when a buyer does not pay, and go to those in line, in its order.",
    ] });
    if (!queue && event.holds_known === false) {
      found.push({ tone: "wait", icon: "alert", key: "holds", nodes: [
        "Other buyers may hold some of these seats. That cannot be seen right now.",
      ] });
    }
    return found;
  }

  drawButton() {
    if (this.button.getAttribute("aria-disabled") === "true") return;
    const opens = this.opensIn;
    const gone = this.state === "sold_out"
      || (this.isOpen && this.queue && this.queue.available === 0 && this.queue.held === 0);
    // With nothing left to choose, choosing is only in the way.
    const isOver = gone || this.isClosed;
    this.picker.node.hidden = this.summary.hidden = isOver;
    this.over.hidden = !isOver;
    setText(this.over.querySelector("p"), gone
      ? "Every ticket has been bought. Nothing is held that could come back."
      : "Tickets are no longer sold here.");
    const blocked = !this.isOpen || gone || !this.picker.ask;
    let text = "Get tickets";
    if (this.isClosed) text = this.state === "cancelled" ? "The event is cancelled" : "Sales have ended";
    else if (gone) text = "Sold out";
    else if (!this.isOpen) {
      text = opens === undefined ? "Not on sale yet"
        : opens > 0 ? `On sale in ${countdown(opens)}` : "Opening now…";
    } else if (!this.picker.ask) text = "Choose your seats";
    else if (this.queue && this.queue.tail - this.queue.head > 20) text = "Join the line";
    setText(this.button, text);
    this.button.disabled = blocked;
    drawWall(this.wall, opens > 0 && !this.isOpen, () => this.keep());
  }

  // MARK: Ordering

  async order() {
    if (this.button.getAttribute("aria-disabled") === "true") return;
    if (!session()) return this.signIn();
    const { ask } = this.picker;
    this.say();
    try {
      await whileBusy(this.button, "Asking for your place…", async () => {
        const request = await reserve(this.event, ask, { signal: this.signal,
          onWait: (seconds) => setText(this.button, `Very busy. Trying again in ${seconds} s…`) });
        if (!request.isNew) announce("You already had a place in this line. Here it is.");
        this.context.go(`/queue/${encodeURIComponent(request.request_id)}`);
      });
    } catch (error) {
      if (this.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      // The session has ended, as everywhere when the password is changed.
      if (!session()) return this.signIn();
      this.say(explainReserve(error));
      this.loadedAt = 0;
      await pause(300, this.signal);
      this.reload();
      this.drawButton();
    }
  }
}

/** The day and the hour, or what is known instead. */
function when(event) {
  const time = h("time", { datetime: event.date_local ?? event.date }, `${longDate(event)}, ${timeOfDay(event)}`);
  if (!event.postponed) return h("span", null, time, aside(event));
  return h("span", null, postponed, h("small", { class: "own-time" }, "It was to be on ", time));
}

function sum(event, name) {
  return event.sections.reduce((total, section) => total + section[name], 0);
}

/** Where an event is for calendars. */
function calendarPath(eventID) {
  return `/event/${encodeURIComponent(eventID)}/event.ics`;
}

/** For whose clock shows something else: when that is, there. */
function aside(at) {
  const own = ownDayAndTime(at);
  return own && h("small", { class: "own-time" }, `${own}, where you are`);
}
