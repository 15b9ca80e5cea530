// A request's page: the line, the held seats, the payment and the end, at one address that survives everything.

import { Problem } from "./api.js";
import { announce, confirm, h, icon, put, setText } from "./dom.js";
import { Checkout, leaveLine } from "./checkout.js";
import { formMessage, whileBusy } from "./form.js";
import { count, counted, dayAndTime, estimate, money } from "./format.js";
import { eventDetails } from "./known.js";
import { hasEnded, Line } from "./line.js";
import { explainReserve, reserve } from "./order.js";
import { poster } from "./poster.js";
import { followSale } from "./sale.js";
import { place, remember, session } from "./session.js";
import { stubs } from "./stub.js";

/** Milliseconds between announcements of the place to screen readers. */
const announcePause = 30_000;

export function queueView(context) {
  const page = new QueuePage(context);
  return { title: "Your place in line", node: page.node };
}

class QueuePage {
  constructor(context) {
    this.context = context;
    this.signal = context.signal;
    this.id = context.parameter;
    this.event = place(this.id) ?? {};
    this.head = h("header", { class: "queue-head" });
    this.scene = h("div", { class: "queue-scene" }, h("h1", { tabindex: "-1" }, "Finding your place…"));
    this.stubs = h("div");
    this.status = h("p", { class: "live", role: "status" });
    this.node = h("div", { class: "queue" }, h("div", { class: "queue-card panel" }, this.head, this.scene), this.status);
    this.drawHead();
    this.line = new Line(this.id, {
      signal: this.signal, onUpdate: (request) => this.update(request),
      onTrouble: (problem, wait) => this.drawTrouble(problem, wait),
    });
  }

  // MARK: What comes in

  update(request) {
    this.request = request;
    if (!this.isFollowing) {
      this.isFollowing = true;
      this.learnEvent(request);
    }
    remember(this.id, { event_id: request.event_id, state: request.state, ended: hasEnded(request),
      position: request.position, ...(this.from === undefined ? {} : { from: this.from }) });
    this.show();
    this.drawStatus();
  }

  async learnEvent(request) {
    const stop = new AbortController();
    this.stopFollowing = () => stop.abort();
    followSale(request.event_id, { signal: AbortSignal.any([stop.signal, this.signal]), onUpdate: (queue) => {
      this.queue = queue;
      if (hasEnded(this.request)) return this.stopFollowing();
      // The crowd's document is newer than our last answer: it moves the count, and says when our turn has come.
      const isDue = this.request.state === "queued" && queue.head >= this.request.position;
      if (isDue && Date.now() - (this.hurriedAt ?? 0) > 2_000) {
        this.hurriedAt = Date.now();
        this.line.wake({ hurry: true });
      }
      this.show();
    } });
    const event = await eventDetails(request.event_id);
    if (!event || this.signal.aborted) return;
    this.event = { ...this.event, ...event };
    remember(this.id, { name: event.name, date: event.date, location: event.location });
    this.drawHead();
    this.show();
  }

  drawTrouble(problem, wait) {
    this.trouble = problem;
    if (problem && wait === undefined && problem.status !== 0) return this.drawLost(problem);
    this.drawStatus(wait);
  }

  drawStatus(wait) {
    const { trouble, request } = this;
    const tone = trouble ? "off" : "on";
    let text = "";
    if (trouble?.code === "offline" || (trouble && !navigator.onLine)) {
      text = "You are offline. Your place is kept, and this page goes on by itself when you are back.";
    } else if (trouble) {
      text = `The service is busy. Your place is kept. Trying again${wait ? ` in ${Math.ceil(wait / 1_000)} s` : ""}…`;
    } else if (request && !hasEnded(request)) text = "Live. This page updates by itself.";
    this.status.className = `live ${tone}`;
    setText(this.status, text);
  }

  drawLost(problem) {
    put(this.head);
    this.draw("lost", () => {
      const isUnknown = problem.status === 404 || problem.status === 400;
      return [h("h1", { tabindex: "-1" }, isUnknown ? "There is no such place in line" : "This place cannot be shown"),
        h("p", null, isUnknown ? "The address may be cut off, or the sale ended long ago." : problem.message),
        h("div", { class: "actions" }, h("a", { class: "button primary", href: "/" }, "Find an event"),
          h("a", { class: "button", href: "/tickets" }, "My tickets"))];
    });
  }

  // MARK: Scenes

  drawHead() {
    const { name, date, location, event_id: eventID } = this.event;
    if (!name) return put(this.head);
    put(this.head, poster(name), h("div", null,
      h("p", { class: "queue-event" }, h("a", { href: `/event/${encodeURIComponent(this.event.id ?? eventID)}` }, name)),
      h("p", { class: "quiet" }, [date && dayAndTime(date), location].filter(Boolean).join(" · "))));
  }

  /** Draws a scene when it changes, and moves focus to its heading, but not while a dialog is open. */
  draw(name, build) {
    if (this.drawn === name) return;
    const isFirst = this.drawn === undefined;
    const hadFocus = this.scene.contains(document.activeElement);
    this.drawn = name;
    this.sceneEnd?.abort();
    this.sceneEnd = new AbortController();
    this.scene.className = `queue-scene scene-${name}`;
    put(this.scene, build());
    document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close("no"));
    const heading = this.scene.querySelector("h1");
    // On a page that was just loaded focus stays where the browser has it.
    if (!isFirst || hadFocus) heading?.focus({ preventScroll: isFirst });
  }

  show() {
    const { request } = this;
    if (hasEnded(request) && request.state !== "purchased") this.showEnd();
    else if (request.state === "reserved" || request.state === "declined") this.showCheckout();
    else if (request.state === "confirming") this.showConfirming();
    else if (request.state === "purchased") this.showPurchased();
    else this.showLine();
    this.drawTitle();
  }

  get ahead() {
    const { request, queue } = this;
    const told = request.ahead ?? 0;
    if (request.state !== "queued" || !queue || !request.position) return told;
    return Math.min(told, Math.max(0, request.position - queue.head - 1));
  }

  drawTitle() {
    const { request, context } = this;
    if (!request) return;
    const name = this.event.name ?? "Onsale";
    const titles = {
      lobby: "Waiting room", queued: this.ahead === 0 ? "You are next" : `${count(this.ahead)} ahead`,
      standby: "Waiting for returns", confirming: "Paying", purchased: "Bought", expired: "Time ran out",
      sold_out: "Sold out", cancelled: "Cancelled", rejected: "Not possible",
      reserved: "Your turn: pay now", declined: request.expires_at ? "Card declined: try another" : "Declined",
    };
    context.title(`${titles[request.state] ?? request.state} · ${name}`);
  }

  showLine() {
    const { request } = this;
    const scene = request.state;
    this.draw(scene, () => {
      this.number = h("p", { class: "queue-number", "aria-hidden": "true" });
      this.caption = h("p", { class: "queue-caption", "aria-hidden": "true" });
      this.spoken = h("p", { class: "hidden" });
      this.bar = h("progress", { class: "queue-bar", max: 1, "aria-label": "Progress in line" });
      this.facts = h("dl", { class: "queue-facts" });
      this.operator = h("div");
      this.leaveMessage = formMessage();
      const leave = h("button", { class: "button quiet-button", type: "button", onclick: () => this.leave() }, "Leave the line");
      const texts = {
        lobby: ["The waiting room", "Sales have not opened. When they do, everybody here is given a place in line."],
        queued: ["You are in line", "Keep this page open, or come back to it: your place stays yours. When it is your "
          + "turn the seats are held for you."],
        standby: ["You are first in line for returns", "Everything you asked for is held by people who are paying "
          + "right now. The moment someone does not pay, the seats are yours, before anyone behind you."],
      }[scene] ?? ["You are in line", ""];
      return [h("h1", { tabindex: "-1" }, texts[0]), this.number, this.caption, this.spoken,
        scene === "queued" && this.bar, this.operator, this.facts, h("p", { class: "queue-text" }, texts[1]),
        this.leaveMessage.node, leave];
    });
    const { ahead } = this;
    this.from = Math.max(this.from ?? place(this.id)?.from ?? 0, ahead, 1);
    if (scene === "queued") {
      setText(this.number, ahead === 0 ? "Next" : count(ahead));
      setText(this.caption, ahead === 0 ? "It is almost your turn" : ahead === 1 ? "person ahead of you" : "people ahead of you");
      setText(this.spoken, ahead === 0 ? "You are next." : `${counted(ahead, "person", "people")} ahead of you.`);
      this.bar.value = Math.min(0.98, Math.max(0.03, 1 - ahead / this.from));
      this.announcePlace(ahead);
    }
    this.number.hidden = this.caption.hidden = scene !== "queued";
    const isPaused = this.queue?.state === "paused";
    const time = isPaused ? "when sales go on" : estimate(request.eta_seconds);
    const facts = [
      request.position && ["Your place", count(request.position)],
      scene === "queued" && ["Estimated wait", time ?? "not known yet"],
      scene === "standby" && this.queue && ["Held by others", counted(this.queue.held, "ticket")],
    ].filter(Boolean);
    if (JSON.stringify(facts) !== this.factsKey || !this.facts.firstChild) {
      this.factsKey = JSON.stringify(facts);
      put(this.facts, facts.map(([label, value]) => h("div", null, h("dt", null, label), h("dd", null, value))));
    }
    const message = this.queue?.message || (isPaused ? "Sales are paused for a moment. Nobody loses their place." : "");
    if (this.operator.textContent !== message) {
      put(this.operator, message && h("div", { class: "notice info", role: "status" }, icon("info"), h("p", null, message)));
    }
  }

  announcePlace(ahead) {
    const now = Date.now();
    const isNear = ahead <= 5 && ahead !== this.announced;
    if (ahead === this.announced || (!isNear && now - (this.announcedAt ?? 0) < announcePause)) return;
    if (isNear && now - (this.announcedAt ?? 0) < 4_000) return;
    if (this.announced !== undefined) {
      announce(ahead === 0 ? "You are next." : `${counted(ahead, "person", "people")} ahead of you.`);
    }
    this.announced = ahead;
    this.announcedAt = now;
  }

  async leave() {
    if (!session()) return this.leaveMessage.show("Sign in to leave the line.");
    const isSure = await confirm({ title: "Leave the line?",
      text: "Your place goes to the people behind you. If you ask again you start at the back.",
      yes: "Leave the line", no: "Stay" });
    if (!isSure || this.signal.aborted) return;
    this.leaveMessage.clear();
    await leaveLine(this.id, { signal: this.signal, message: this.leaveMessage, onDone: () => this.line.wake({ hurry: true }) });
  }

  showCheckout() {
    const { request } = this;
    this.draw("checkout", () => {
      this.checkout = new Checkout(this.id, { whole: place(this.id)?.hold,
        signal: AbortSignal.any([this.sceneEnd.signal, this.signal]),
        onPaying: () => {
          // Shown at once; the next answer tells whether the payment went through.
          if (!this.trouble) this.showConfirming();
          this.line.wake({ hurry: true });
        },
        onGone: () => this.line.wake({ hurry: true }) });
      this.checkout.update(request);
      remember(this.id, { hold: this.checkout.whole });
      this.checkout.showTickets(request.tickets ?? []);
      return this.checkout.node;
    });
    this.checkout.update(request);
  }

  showConfirming() {
    this.draw("confirming", () => [
      h("div", { class: "spinner", "aria-hidden": "true" }),
      h("h1", { tabindex: "-1" }, "Confirming your payment"),
      h("p", null, "This takes a few seconds. Your seats are safe, and pressing again or reloading cannot charge you twice."),
    ]);
  }

  showPurchased() {
    const { request } = this;
    this.draw("purchased", () => {
      return [h("div", { class: "seal good" }, icon("check")),
        h("h1", { tabindex: "-1" }, "They are yours. Enjoy the show!"),
        h("p", null, `${counted(request.tickets?.length ?? 0, "ticket")}, `,
          h("strong", null, money(request.amount ?? 0, request.currency ?? "EUR")), ", paid once."),
        this.stubs,
        h("div", { class: "actions" }, h("a", { class: "button primary", href: "/tickets" }, "See all my tickets"),
          h("button", { class: "button", type: "button", onclick: () => print() }, "Print"))];
    });
    // Again when the event's name has come.
    const key = this.event.name ?? "";
    if (this.stubsKey === key) return;
    this.stubsKey = key;
    put(this.stubs, stubs(this.event, request.tickets ?? []));
  }

  showEnd() {
    const { request } = this;
    const reason = request.reason ?? "";
    const seatsTaken = reason === "seats_taken";
    const texts = {
      expired: ["Your time to pay ran out", "The seats went back to the line and nothing was charged. You can ask "
        + "again; you start at the back."],
      declined: ["Your card was declined", "The time to pay ran out before another card went through. Nothing was "
        + "charged, and the seats went back to the line."],
      sold_out: ["Sold out before your turn", "Everyone ahead of you took what there was. Nothing was charged. "
        + "Other sections may still have tickets."],
      cancelled: ["You gave up your place", "Nothing was charged. If you change your mind you can ask again; you "
        + "start at the back."],
      rejected: seatsTaken ? ["Those seats went to someone ahead of you", "Nothing was charged. Choose others, or let "
        + "us find the best that is left."]
        : ["This could not be sold", `${explainReason(reason)} Nothing was charged.`],
    }[request.state];
    this.draw(`end-${request.state}`, () => {
      const message = formMessage();
      const ask = place(this.id)?.ask;
      const eventLink = (text, isFirst) => h("a", { class: `button${isFirst ? " primary" : ""}`,
        href: `/event/${encodeURIComponent(request.event_id)}` }, text);
      const canRepeat = ask && !ask.ticket_ids && session() && ["expired", "declined", "cancelled"].includes(request.state);
      const again = canRepeat && h("button", { class: "button primary", type: "button", onclick: (event) =>
        this.askAgain(event.currentTarget, ask, message) }, `Ask again for ${counted(ask.quantity, "ticket")}`);
      return [h("div", { class: "seal" }, icon(request.state === "expired" ? "clock" : "info")),
        h("h1", { tabindex: "-1" }, texts[0]), h("p", null, texts[1]), message.node,
        h("div", { class: "actions" },
          again, eventLink(seatsTaken ? "Choose other seats" : request.state === "sold_out" ? "See what is left" : "Back to the event", !again),
          h("a", { class: "button quiet-button", href: "/" }, "Find another event"))];
    });
  }

  async askAgain(button, ask, message) {
    message.clear();
    try {
      await whileBusy(button, "Asking…", async () => {
        const event = { ...this.event, id: this.request.event_id };
        const request = await reserve(event, ask, { signal: this.signal,
          onWait: (seconds) => setText(button, `Busy. Trying again in ${seconds} s…`) });
        this.context.go(`/queue/${encodeURIComponent(request.request_id)}`);
      });
    } catch (error) {
      if (this.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      message.show(explainReserve(error));
    }
  }
}

function explainReason(reason) {
  const texts = {
    closed: "Sales ended before it was your turn.",
    limit_exceeded: "It would have been more tickets than one person may buy.",
    not_adjacent: "There were no seats side by side any more.",
  };
  return texts[reason] ?? (reason ? `${reason.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase())}.` : "");
}
