// A request's page: the line, the held seats, the payment, the end; at one address that survives everything.

import { Problem } from "./api.js";
import { Checkout } from "./checkout.js";
import { everySecond } from "./clock.js";
import { announce, h, icon, put, setText } from "./dom.js";
import { ending, isLapsed, offers, otherSeats } from "./ending.js";
import { formMessage, whileBusy } from "./form.js";
import {
  count, countdown, counted, dayAndTime, money, ownDayAndTime, postponed, spokenDuration,
} from "./format.js";
import { eventDetails } from "./known.js";
import { setIcon, short } from "./favicon.js";
import { deadline, hasEnded, isKept, Line } from "./line.js";
import { explainReserve, reserve } from "./order.js";
import { Pace } from "./pace.js";
import { poster } from "./poster.js";
import { followSale } from "./sale.js";
import { place, places, remember, session, what } from "./session.js";
import { stubs } from "./stub.js";
import { drawOperator, WaitingScene } from "./waiting.js";

/** Milliseconds without an answer after which nothing is called live, beyond the pause that the server asked for. */
const silence = 4_000;

/** Milliseconds for which an event may be told as it was, after which not everybody asks at once. */
const eventAge = 2_000;

/** What nobody takes away while there is no connection. */
const safe = {
  reserved: "Your seats are held until the time is up", declined: "Your seats are held until the time is up",
  confirming: "Your payment goes on",
  action_required: "Your seats are held until you have answered your bank",
};

/** Milliseconds between hurried polls when the queue document says that our turn has come. */
const hurryPause = 2_000;
/** Milliseconds after a place was last seen alive in which its loss is answered by asking again. */
const returnGrace = 120_000;

/** Milliseconds before a kept place is gone at which that is read out. */
const keptReminders = [30_000, 10_000];
const noLongerKept = "Your place in line is no longer kept. You can still ask; you start at the back.";

/** Milliseconds after paying for which an older answer is not shown. */
const paymentGrace = 2_500;

export function queueView(context) {
  // Where the bank sends its customers back to: it knows no more of their place than that there is one.
  if (context.parameter === "return") {
    const paying = places().find((each) => ["action_required", "confirming"].includes(each.state));
    queueMicrotask(() =>
      context.go(paying ? `/queue/${encodeURIComponent(paying.id)}` : "/tickets", { replace: true }));
    return { title: "Your place in line", node: h("div") };
  }
  const page = new QueuePage(context);
  return { title: "Your place in line", node: page.node };
}

/** What somebody in line is told who had seats already. */
const heldBefore = {
  hold_returning: "The seats that were held for you are being given back after a failure on our side.",
  hold_lost: "The seats that were held for you were lost by a failure on our side, and others have them by now. Nothing "
    + "was charged, and you stand in line where you stood.",
};

function notice(text) {
  return h("div", { class: "notice info", role: "status" }, icon("info"), h("p", null, text));
}

class QueuePage {
  constructor(context) {
    this.context = context;
    this.signal = context.signal;
    this.id = context.parameter;
    this.event = place(this.id) ?? {};
    this.head = h("header", { class: "queue-head" });
    this.scene = h("div", { class: "queue-scene" }, h("h1", { tabindex: "-1" }, "Finding your place…"));
    this.status = h("p", { class: "live", role: "status" });
    this.stubs = h("div");
    this.pace = new Pace();
    this.node = h("div", { class: "queue" },
      h("div", { class: "queue-card panel" }, this.head, this.scene), this.status);
    this.drawHead();
    this.heardAt = performance.now();
    this.pause = 0;
    everySecond(() => {
      this.drawStatus();
      if (this.request) this.drawTitle();
      // Between two looks the line moves on.
      if (this.request?.state === "queued" && !this.isPaying) this.showLine();
    }, this.signal);
    this.signal.addEventListener("abort", () => setIcon(undefined, undefined, this));
    this.line = new Line(this.id, {
      signal: this.signal, hold: this.event.receipt, onUpdate: (request) => this.update(request),
      onTrouble: (problem, wait) => this.drawTrouble(problem, wait),
    });
  }

  // MARK: What comes in

  update(request) {
    this.request = request;
    this.answeredAt = performance.now();
    this.heard();
    this.headThen = this.queue?.head;
    // Counted from here: the server says how long, not until when.
    this.keptUntil = isKept(request) ? Date.now() + request.answer_within_seconds * 1_000 : 0;
    // Who watched it happen goes back to their place without a click; an address of long ago asks for nothing.
    const isLost = request.state === "rejected" && request.reason === "queue_lost";
    this.comesBack = isLost && (this.comesBack || Date.now() - (place(this.id)?.seen ?? 0) < returnGrace);
    remember(this.id, { event_id: request.event_id, position: request.position, state: request.state,
      ended: hasEnded(request) && !isKept(request), until: deadline(request),
      ...(request.hold ? { receipt: request.hold } : {}), ...(isLost ? { lost: true } : { seen: Date.now() }) });
    if (!this.isFollowing) {
      this.isFollowing = true;
      this.follow(request.event_id);
      this.learnEvent(request.event_id);
    }
    this.show();
    this.drawStatus();
  }

  follow(eventID) {
    const stop = new AbortController();
    followSale(eventID, { signal: AbortSignal.any([stop.signal, this.signal]), onUpdate: (queue) => {
      // A sale is stopped, or goes on, for a reason that the event may tell.
      const before = this.queue?.state ?? "open";
      if ((queue.state === "stopped") !== (before === "stopped")) this.learnAgain(eventID);
      // And the time of those who hold seats stands still, or goes on.
      if (queue.state !== before && ["reserved", "declined"].includes(this.request.state)) this.line.wake({ hurry: true });
      this.queue = queue;
      this.pace.learn(queue);
      this.saleTrouble = undefined;
      this.heard(queue.poll_after_ms);
      this.headThen ??= queue.head;
      if (hasEnded(this.request)) {
        stop.abort();
        return this.show();
      }
      // The crowd's document is newer than our last answer: it moves the count, and tells when our turn has come.
      const isDue = this.request.state === "queued" && queue.head >= this.request.position;
      if (isDue && Date.now() - (this.hurriedAt ?? 0) > hurryPause) {
        this.hurriedAt = Date.now();
        this.line.wake({ hurry: true });
      }
      this.show();
    }, onFailure: (problem) => {
      this.saleTrouble = problem;
      this.drawStatus();
    } });
  }

  /** The server lives, and what it says is as new as can be. */
  heard(pause) {
    this.heardAt = performance.now();
    if (pause) this.pause = pause;
  }

  learnAgain(eventID) {
    setTimeout(() => {
      if (!this.signal.aborted) this.learnEvent(eventID, { again: true });
    }, eventAge * (1 + Math.random()));
  }

  async learnEvent(eventID, options) {
    const event = await eventDetails(eventID, options);
    if (!event || this.signal.aborted) return;
    this.event = { ...this.event, ...event };
    remember(this.id, what(event));
    this.drawHead();
    this.show();
  }

  // MARK: How the connection is

  drawTrouble(problem, wait) {
    if (problem && problem.status !== 0 && wait === undefined) {
      this.isLost = true;
      return this.drawLost(problem);
    }
    this.trouble = problem;
    this.triesAt = wait && performance.now() + wait;
    this.drawStatus();
  }

  /** Says how the connection is: "live" only as long as answers come. */
  drawStatus() {
    const { request } = this;
    const trouble = this.trouble ?? this.saleTrouble;
    const isOver = this.isLost || (request && hasEnded(request));
    const silent = performance.now() - this.heardAt;
    const kept = safe[request?.state] ?? "Your place is kept";
    let text = "";
    if (isOver) text = "";
    else if (!navigator.onLine) {
      text = `You are offline. ${kept}, and this page goes on by itself when you are back.`;
    } else if (trouble?.code === "offline") text = "Back online. Asking where you stand…";
    else if (trouble?.status > 0) {
      const when = this.triesAt > performance.now() ? ` in ${Math.ceil((this.triesAt - performance.now()) / 1_000)} s` : "";
      text = `The service is busy. ${kept}. Trying again${when}…`;
    } else if (trouble || silent > this.pause + silence) {
      text = `The server does not answer right now. ${kept}, and this page keeps asking.`;
    } else if (request) text = "Live. This page updates by itself.";
    this.status.className = `live ${text.startsWith("Live") ? "on" : "off"}`;
    setText(this.status, text);
  }

  drawLost(problem) {
    put(this.head);
    setText(this.status, "");
    const isUnknown = problem.status === 404 || problem.status === 400;
    this.draw("lost", () => [
      h("h1", { tabindex: "-1" }, isUnknown ? "There is no such place in line" : "This place cannot be shown"),
      h("p", null, isUnknown ? "The address may be cut off, or the sale ended long ago." : problem.message),
      h("div", { class: "actions" },
        h("a", { class: "button primary", href: "/" }, "Find an event"),
        h("a", { class: "button", href: "/tickets" }, "My tickets")),
    ]);
  }

  // MARK: Frame

  drawHead() {
    const { name, date, location, postponed: isPostponed } = this.event;
    const own = date && !isPostponed && ownDayAndTime(this.event);
    if (!name) return put(this.head);
    const eventID = this.event.id ?? this.event.event_id;
    put(this.head, poster(name), h("div", null,
      h("p", { class: "queue-event" }, h("a", { href: `/event/${encodeURIComponent(eventID)}` }, name)),
      h("p", { class: "quiet" }, [isPostponed ? postponed : date && dayAndTime(this.event), location].filter(Boolean).join(" · ")),
      own && h("p", { class: "quiet small" }, `${own}, where you are`)));
  }

  drawTitle() {
    const { request } = this;
    const titles = {
      lobby: "Waiting room", queued: this.ahead === 0 ? "You are next" : `${count(this.ahead)} ahead`,
      standby: "Waiting for returns", reserved: `${this.timeLeft}Your turn: pay now`,
      declined: !request.expires_at ? "Declined" : isLapsed(request) ? "Pay once more" : "Declined: try another card", confirming: "Paying",
      action_required: "Confirm with your bank",
      purchased: "Bought", expired: request.reason ? "Not possible" : "Time ran out", sold_out: "Sold out", cancelled: "Cancelled",
      rejected: this.offers.length ? ending(request, this.ask, this.unsold).title : "Not possible",
    };
    this.context.title(`${titles[request.state] ?? request.state} · ${this.event.name ?? "your tickets"}`);
    const isMine = ["reserved", "action_required"].includes(request.state) || (request.state === "declined" && request.expires_at);
    setIcon(isMine ? "!" : request.state === "queued" ? short(this.ahead) : undefined, isMine ? "turn" : "line", this);
  }

  /** What the title says first while seats are held. */
  get timeLeft() {
    const { request } = this;
    if (!(request.expires_in_seconds > 0)) return "";
    const passed = request.hold_time ? 0 : performance.now() - this.answeredAt;
    return `${countdown(request.expires_in_seconds * 1_000 - passed)} · `;
  }

  /** How many are decided before us: the crowd's document is often newer than our own answer. */
  get ahead() {
    const { request, queue } = this;
    const told = request.ahead ?? 0;
    if (request.state !== "queued" || !queue) return told;
    const head = this.pace.head;
    const between = Math.max(0, request.position - head - 1);
    // Where more are ahead than stand before the head, they are those who want the same: it moves no faster than all do.
    const isOfTheSame = told > request.position - this.headThen - 1;
    const left = isOfTheSame ? Math.max(between, told - (head - this.headThen)) : between;
    // That it is our turn only the server says.
    return Math.min(told, queue.head === head ? left : Math.max(1, left));
  }

  /** What was asked for, where this browser knows it. */
  get ask() {
    return place(this.id)?.ask;
  }

  /** How many tickets are free or held in the whole house, if that is known. */
  get unsold() {
    return this.queue && this.queue.available + this.queue.held;
  }

  /** What may be had instead, to somebody who can ask for it. */
  get offers() {
    const isWhole = this.event.sections?.length === 1;
    return session() ? offers(this.request, this.ask, this.unsold, isWhole) : [];
  }

  /** Draws a scene when it is another one, and moves focus to its heading. */
  draw(name, build) {
    if (this.drawn === name) return;
    const isFirst = this.drawn === undefined;
    const hadFocus = this.scene.contains(document.activeElement);
    this.drawn = name;
    this.sceneEnd?.abort();
    this.sceneEnd = new AbortController();
    this.sceneSignal = AbortSignal.any([this.sceneEnd.signal, this.signal]);
    // A question about the scene that is gone has no answer any more.
    document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close("no"));
    this.scene.className = `queue-scene scene-${name}`;
    put(this.scene, build());
    // On a page that was just loaded focus stays where the browser has it.
    if (!isFirst || hadFocus) this.scene.querySelector("h1")?.focus({ preventScroll: isFirst });
  }

  // MARK: Scenes

  show() {
    const { request } = this;
    this.drawTitle();
    if (request.state === "purchased") this.showPurchased();
    else if (request.state === "action_required") this.showAction();
    else if (request.state === "confirming" || this.isPaying) this.showConfirming();
    else if (hasEnded(request)) this.showEnd();
    else if (request.state === "reserved" || request.state === "declined") this.showCheckout();
    else this.showLine();
  }

  showLine() {
    const { request, ahead } = this;
    // Where it began is kept, so that the bar does not start anew with a reload.
    this.from = Math.max(this.from ?? place(this.id)?.from ?? 0, ahead, 1);
    remember(this.id, { from: this.from });
    this.draw(`${request.state}-${request.reason ?? ""}`, () => {
      this.waiting = new WaitingScene(this.id, request.state, {
        signal: this.sceneSignal, onLeft: () => this.line.wake({ hurry: true }),
      });
      return [...this.waiting.nodes, request.reason in heldBefore && notice(heldBefore[request.reason])];
    });
    this.waiting.update(request, this.queue, ahead, this.from, this.event.postponed);
  }

  showCheckout() {
    const { request } = this;
    // Others than before are another scene: nobody pays for seats that they have not seen.
    const seats = (request.tickets ?? []).map(({ id }) => id).sort().join();
    this.areOthers ||= request.reason === "hold_lost" || (this.seats !== undefined && this.seats !== seats);
    this.seats = seats;
    this.draw(`checkout-${seats}`, () => {
      this.checkout = new Checkout(this.id, {
        signal: this.sceneSignal, whole: isLapsed(request) ? undefined : place(this.id)?.hold,
        byName: Boolean(this.ask?.ticket_ids), receipt: () => this.line.hold,
        onPaying: () => this.pay(),
        onGone: () => this.line.wake({ hurry: true }),
      });
      this.checkout.update(request, this.answeredAt);
      this.checkout.showTickets(request.tickets ?? []);
      remember(this.id, { hold: this.checkout.whole });
      return [this.areOthers && notice("These are other seats than before: those were lost by a failure on our side. "
        + "Nothing was charged."), this.checkout.node];
    });
    this.checkout.isPostponed = this.event.postponed;
    this.checkout.update(request, this.answeredAt);
  }

  /** Shows the payment at once. For a moment an answer from before it, still on its way, is not believed. */
  pay() {
    this.paid = { at: Date.now(), state: this.request.state };
    this.line.wake({ hurry: true });
    this.show();
    setTimeout(() => {
      if (!this.signal.aborted) this.show();
    }, paymentGrace);
  }

  get isPaying() {
    return this.paid?.state === this.request.state && Date.now() - this.paid.at < paymentGrace;
  }

  showConfirming() {
    this.draw("confirming", () => [
      h("div", { class: "spinner", "aria-hidden": "true" }),
      h("h1", { tabindex: "-1" }, "Confirming your payment"),
      h("p", null, "This takes a few seconds. Your seats are safe, and pressing again or reloading cannot charge "
        + "you twice."),
    ]);
  }

  /** The buyer's bank wants to hear from them: on a page of its own, from which they come back to this one. */
  showAction() {
    const { request } = this;
    const url = request.action?.redirect_url ?? "";
    this.draw("action", () => [
      h("div", { class: "seal" }, icon("card")),
      h("h1", { tabindex: "-1" }, "Your bank wants to hear from you"),
      h("p", null, "Confirm the payment of ", h("strong", null, money(request.amount ?? 0, request.currency ?? "EUR")),
        " with your bank. Your seats are safe meanwhile, and nothing is charged before you do."),
      h("div", { class: "actions" },
        /^https?:\/\//.test(url) && h("a", { class: "button primary wide", href: url }, "Continue to your bank")),
    ]);
  }

  showPurchased() {
    const { request } = this;
    this.draw("purchased", () => [
      h("div", { class: "seal good" }, icon("check")),
      h("h1", { tabindex: "-1" }, "They are yours. Enjoy the show!"),
      h("p", null, `${counted(request.tickets?.length ?? 0, "ticket")}, `,
        h("strong", null, money(request.amount ?? 0, request.currency ?? "EUR")), ", paid once."),
      request.reason === "other_seats" && h("p", { class: "notice" }, otherSeats),
      this.stubs,
      h("div", { class: "actions" },
        h("a", { class: "button primary", href: "/tickets" }, "See all my tickets"),
        h("a", { class: "button", href: `/event/${encodeURIComponent(request.event_id)}/event.ics`, download: true },
          "Add to calendar"),
        h("button", { class: "button", type: "button", onclick: () => print() }, "Print")),
    ]);
    // Once, and again when the event's name has come.
    const name = this.event.name ?? "";
    if (this.stubsFor === name) return;
    this.stubsFor = name;
    put(this.stubs, stubs(this.event, request.tickets ?? []));
  }

  showEnd() {
    const { request } = this;
    const { ask } = this;
    this.draw(`end-${request.state}-${request.reason ?? ""}`, () => {
      const { title, text, mayRepeat, elsewhere } = ending(request, ask, this.unsold);
      const message = this.message = formMessage();
      this.kept = h("div");
      this.operator = h("div");
      this.offered = h("div", { class: "actions" });
      // Exactly the same seats may be gone; those are chosen anew on the map, unless the old order counts.
      const again = mayRepeat && ask && (request.reason === "queue_lost" || !ask.ticket_ids) && session()
        && h("button", { class: "button primary", type: "button", onclick: (event) =>
          this.askAgain(event.currentTarget, ask, message) }, `Ask again for ${counted(ask.quantity ?? ask.ticket_ids.length, "ticket")}`);
      if (again && this.comesBack) this.askAgain(again, ask, message);
      return [
        h("div", { class: "seal" }, icon(request.state === "expired" ? "clock" : "info")),
        h("h1", { tabindex: "-1" }, title), h("p", null, text), this.operator, this.kept, message.node, this.offered,
        h("div", { class: "actions" },
          again,
          h("a", { class: again || this.offers.length ? "button" : "button primary",
            href: `/event/${encodeURIComponent(request.event_id)}` }, elsewhere),
          h("a", { class: "button quiet-button", href: "/" }, "Find another event")),
      ];
    });
    this.drawOffers();
    drawOperator(this.operator, this.queue?.message);
  }

  /** Anew only when they are others: a button that has focus, or is busy, stays. */
  drawOffers() {
    const found = this.offers;
    const key = JSON.stringify(found);
    if (this.offered === this.offersIn && key === this.offersKey) return;
    const isFirst = this.offered !== this.offersIn;
    [this.offersIn, this.offersKey] = [this.offered, key];
    put(this.offered, found.map(({ text, ask }, index) =>
      h("button", { class: index ? "button" : "button primary", type: "button", onclick: (event) =>
        this.askAgain(event.currentTarget, ask, this.message) }, text)));
    if (isFirst && this.keptUntil) this.keepTime();
    else if (isFirst && found.length) put(this.kept, h("p", null, noLongerKept));
  }

  /** Counts down for how long the place is kept, in sight and aloud. */
  keepTime() {
    const clock = h("strong", { class: "hold-time" });
    put(this.kept, h("div", { class: "hold" }, icon("clock"),
      h("p", null, "Your place in line is kept for ", clock)));
    let reminded;
    everySecond(() => {
      const left = this.keptUntil - Date.now();
      if (left > 0) {
        setText(clock, countdown(left));
        const reminder = keptReminders.find((each) => left <= each && left > each - 1_500);
        if (reminder && reminder !== reminded) {
          reminded = reminder;
          announce(`Your place in line is kept for ${spokenDuration(left)} more.`);
        }
      } else if (this.keptUntil) {
        this.keptUntil = 0;
        remember(this.id, { ended: true });
        put(this.kept, h("p", null, noLongerKept));
        announce(noLongerKept);
      }
    }, this.sceneSignal);
  }

  async askAgain(button, ask, message) {
    message.clear();
    try {
      await whileBusy(button, "Asking…", async () => {
        const event = { ...this.event, id: this.request.event_id };
        const rejoin = this.request.reason === "queue_lost" ? this.id : undefined;
        const request = await reserve(event, ask, { signal: this.signal, rejoin,
          onWait: (seconds) => setText(button, `Busy. Trying again in ${seconds} s…`) });
        // What was held is given back with the place, if nobody else has it.
        const { receipt } = place(this.id) ?? {};
        if (rejoin && receipt && request.position === this.request.position) {
          remember(request.request_id, { receipt });
        }
        this.context.go(`/queue/${encodeURIComponent(request.request_id)}`);
      });
    } catch (error) {
      if (this.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      message.show(explainReserve(error));
    }
  }
}
