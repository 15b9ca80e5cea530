// Paying for held seats: which card, the clock on the hold, giving them back.

import { call, freshKey, Problem } from "./api.js";
import { everySecond } from "./clock.js";
import { declined } from "./ending.js";
import { announce, confirm, freshID, h, icon, put, setText } from "./dom.js";
import { formMessage, whileBusy } from "./form.js";
import { countdown, counted, money, spokenDuration } from "./format.js";
import { hasForm, hasTestCards, PaymentForm } from "./paymentform.js";
import { session } from "./session.js";
import { ticketRows } from "./stub.js";

/** The stub's test cards, where it does not show a form of its own. */
const cards = [
  { method: "pm_card_visa", name: "Visa", digits: "4242" },
  { method: "pm_card_mastercard", name: "Mastercard", digits: "4444" },
  { method: "pm_card_threeDSecure2Required", name: "Visa that asks its bank", digits: "3220" },
  { method: "pm_card_visa_chargeDeclined", name: "Visa that is declined", digits: "0002" },
];

/** Milliseconds before the deadline at which the time left is read out. */
const reminders = [300_000, 120_000, 60_000, 30_000, 10_000];
/** From here on the clock shows that time is short. */
const shortTime = 60_000;

export class Checkout {
  /**
   * @param options.whole milliseconds the hold lasted in all, if it is known from before
   * @param options.byName whether the seats were chosen by name, as far as this device knows
   * @param options.receipt gives what the server said of the seats that are shown, so that no others are paid for
   * @param options.onPaying called when a payment was taken on, and when that is unknown: the line will tell
   * @param options.onGone called when the hold turns out to have ended
   */
  constructor(requestID, { signal, whole, byName, receipt, onPaying, onGone }) {
    this.requestID = requestID;
    this.byName = byName;
    this.receipt = receipt;
    this.whole = whole;
    this.signal = signal;
    this.onPaying = onPaying;
    this.onGone = onGone;
    this.heading = h("h1", { tabindex: "-1" }, "Your seats are held");
    this.clock = h("span", { class: "hold-time" });
    this.bar = h("progress", { class: "hold-bar", "aria-label": "Time left to pay", max: 1, value: 1 });
    this.standingStill = h("p", { class: "quiet", role: "status" });
    this.hold = h("div", { class: "hold" }, icon("clock"),
      h("p", null, "Pay within ", h("strong", null, this.clock)), this.bar, this.standingStill);
    this.tickets = h("div");
    this.amount = h("strong");
    this.message = formMessage();
    this.pay = h("button", { class: "button primary wide" });
    this.others = this.drawAgreement();
    this.form = this.drawForm();
    this.giveBack = h("button",
      { class: "button quiet-button", type: "button", onclick: () => this.cancel() }, "Give the seats back");
    this.node = h("div", { class: "checkout" },
      this.heading, this.hold,
      h("section", { "aria-label": "Your seats" }, this.tickets,
        h("p", { class: "order-total" }, h("span", null, "Total"), this.amount)),
      this.form, this.giveBack);
    everySecond(() => this.tick(), signal);
  }

  drawForm() {
    this.cards = hasForm ? this.drawProvidersForm() : hasTestCards ? this.drawTestCards()
      : h("p", { class: "notice" }, "Cards cannot be entered on this page. The organizer says how to pay.");
    return h("form", { class: "stack", onsubmit: (event) => {
      event.preventDefault();
      this.submit();
    } }, this.message.node, this.cards, this.others, this.pay);
  }

  /** Off until the buyer says so: nobody gets other seats than were shown without having agreed to that. */
  drawAgreement() {
    if (this.byName || !("lateSeats" in document.documentElement.dataset)) return undefined;
    return h("label", { class: "check" }, h("input", { type: "checkbox" }),
      h("span", null, "If these seats are gone when my bank answers, as good ones of the same section will do, for the same money."));
  }

  drawProvidersForm() {
    // Whatever is typed now is another card than the one of which nothing is known. It cannot be charged besides: a place
    // that is paid for takes no other payment.
    this.provider = new PaymentForm(this.signal, () => {
      this.key = this.method = undefined;
    });
    return h("section", { "aria-label": "Pay with" }, this.provider.node);
  }

  drawTestCards() {
    const name = freshID("card");
    const options = cards.map((card, index) => {
      const input = h("input", { type: "radio", name, value: card.method });
      input.checked = index === 0;
      return h("label", { class: "card-choice" }, input, icon("card"),
        h("span", null, h("strong", null, card.name), h("small", null, `ending in ${card.digits}`)));
    });
    return h("fieldset", { class: "cards" },
      h("legend", null, "Pay with"), options,
      h("p", { class: "quiet small" }, "These are test cards: no real money moves."));
  }

  /**
   * Takes the request's newest answer, as often as one likes.
   * @param heardAt when it came, as `performance.now()` says
   */
  update(request, heardAt) {
    const wasDeclined = this.request?.state === "declined";
    this.request = request;
    this.standing = request.hold_time;
    this.expect(request.expires_in_seconds ?? NaN, heardAt);
    this.whole ??= Math.max(1, this.left);
    setText(this.amount, money(request.amount ?? 0, request.currency ?? "EUR"));
    if (request.state === "declined" && !wasDeclined) {
      const { why, advice } = declined(request.reason);
      this.message.show(`${why}. Nothing was charged. Your seats are still held: ${advice}.`);
    }
    this.cards.hidden = this.isFree;
    this.pay.hidden = !this.isFree && !hasForm && !hasTestCards;
    if (this.others) this.others.hidden = this.isFree || this.pay.hidden;
    this.provider?.show(request.amount ?? 0, request.currency ?? "EUR");
    this.tick();
    if (!session()) {
      this.message.show("You are signed out. Sign in to pay; your seats stay held until the time is up.");
      if (this.pay.tagName !== "A") {
        const link = h("a", { class: "button primary wide",
          href: `/account?${new URLSearchParams({ next: location.pathname })}` }, "Sign in");
        this.pay.replaceWith(link);
        this.pay = link;
      }
      this.giveBack.hidden = true;
      return;
    }
    if (this.pay.getAttribute("aria-disabled") !== "true") {
      setText(this.pay, this.isFree ? "Get the tickets"
        : `Pay ${money(request.amount ?? 0, request.currency ?? "EUR")}`);
    }
  }

  /** What costs nothing asks for no card. */
  get isFree() {
    return this.request?.amount === 0;
  }

  showTickets(tickets) {
    put(this.tickets, ticketRows(tickets, this.request.currency));
    setText(this.heading, tickets.length === 1
      ? "Your ticket is held" : `Your ${counted(tickets.length, "ticket")} are held`);
  }

  /** Counts from what the server says is left, on a clock that nobody sets: this device's may be wrong. */
  expect(seconds, heardAt) {
    // While the sale stands still, so does the time to pay.
    this.kept = seconds * 1_000;
    const deadline = heardAt + seconds * 1_000;
    // Whole seconds: what differs by less is the same deadline.
    if (Math.abs(deadline - this.deadline) < 1_500) return;
    this.deadline = deadline;
  }

  get left() {
    return this.standing ? this.kept : Math.max(0, this.deadline - performance.now());
  }

  tick() {
    if (!this.request || Number.isNaN(this.deadline)) return;
    const { left } = this;
    setText(this.clock, countdown(left));
    setText(this.standingStill, {
      paused: "Sales are paused: your time to pay stands still. You may pay all the same.",
      stopped: `${this.isPostponed ? "The event is postponed, and sales wait for its new date" : "Sales are stopped for a moment"}: `
        + "your seats are kept, your time to pay stands still, and no payment starts.",
    }[this.standing] ?? "");
    this.bar.value = Math.min(1, left / this.whole);
    this.hold.classList.toggle("short", left < shortTime);
    const reminder = reminders.find((each) => left <= each && left > each - 1_500);
    if (reminder && reminder !== this.reminded) {
      this.reminded = reminder;
      announce(`${spokenDuration(left)} left to pay.`, reminder <= 30_000);
    }
    if (left === 0 && !this.hasEnded) {
      this.hasEnded = true;
      this.onGone();
    }
  }

  /** What pays: nothing, a test card, or what the provider's form makes of what was typed into it. */
  async choose() {
    if (this.isFree) return {};
    if (!this.provider) return { token: this.cards.querySelector("input:checked").value };
    // One that was sent, and of which nothing is known, is sent again: the same call cannot charge twice.
    return this.key && this.method ? { token: this.method } : this.provider.token();
  }

  async submit() {
    if (this.pay.getAttribute("aria-disabled") === "true" || !this.request) return;
    this.message.clear();
    await whileBusy(this.pay, "Paying…", async () => {
      const { token: method, problem } = await this.choose();
      if (this.signal.aborted) return;
      if (problem) return this.message.show(problem);
      // Kept while the outcome is unknown: trying again with the same key cannot charge twice.
      if (this.method !== method) this.key = undefined;
      this.method = method;
      this.key ??= freshKey();
      try {
        const body = { request_id: this.requestID, payment_method: method, hold: this.receipt?.(),
          other_seats: this.others?.querySelector("input").checked || undefined };
        await call("POST", "/api/ticket/confirm", { body, key: this.key, signal: this.signal });
        // It was heard: whatever comes next is another payment, with another card.
        this.key = this.method = undefined;
        this.onPaying();
      } catch (error) {
        if (error instanceof Problem && error.status >= 400 && error.status < 500) this.key = this.method = undefined;
        if (!this.signal.aborted) this.explain(error);
      }
    });
  }

  explain(error) {
    if (!(error instanceof Problem)) throw error;
    // Without an answer the payment may be under way: the line knows, and pressing again cannot charge twice.
    // A 503 says no more than that: the call may have been carried out, and its answer lost inside.
    if (error.status >= 500 || (error.status === 0 && navigator.onLine)) this.onPaying();
    else if (error.status === 0) {
      this.message.show("You are offline. Your seats stay held until the time is up: pay when you are back.");
    } else if (error.status === 410 || error.status === 409) {
      this.message.show(error.status === 410 ? "The time to pay has run out." : error.message);
      this.onGone();
    } else if (error.status === 403) {
      this.message.show("These seats are held for another account. Sign in as the one who asked for them.");
    } else if (error.code === "too_many_declines") {
      this.message.show(`Too many cards were refused lately. Nothing was charged, and your seats stay held until the time is up: the next card may be tried in ${spokenDuration((error.retryAfter ?? 60) * 1_000)}.`);
    } else if (error.isTemporary) {
      this.message.show("That was a little too fast. Nothing was charged; press again in a moment.");
    } else this.message.show(error.message);
  }

  async cancel() {
    const isSure = await confirm({
      title: "Give the seats back?", text: "They go to the next person in line. Nothing is charged.",
      yes: "Give them back", no: "Keep them",
    });
    if (!isSure || this.signal.aborted) return;
    await leaveLine(this.requestID, { signal: this.signal, message: this.message, onDone: this.onGone });
  }
}

/** Leaves the line, or gives held seats back. */
export async function leaveLine(requestID, { signal, message, onDone }) {
  try {
    await call("DELETE", `/api/request/${encodeURIComponent(requestID)}`, { signal });
    onDone();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    message.show(error.status === 403 ? "This place belongs to another account." : error.message);
    if (error.status === 409) onDone();
  }
}
