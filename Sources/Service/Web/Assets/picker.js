// Choosing tickets: how many and where, or exactly which seats.

import { get } from "./api.js";
import { announce, freshID, h, icon, put, setText } from "./dom.js";
import { DrawnPlan } from "./drawnplan.js";
import { count, counted, moneyRange } from "./format.js";
import { SeatMap } from "./seatmap.js";
import { SeatPlan } from "./seats.js";

/** Above this many tickets the map shows one section at a time: less to load, and easier to read. */
const wholePlanLimit = 3_000;
/** Sections tried at first in search of one that has numbered seats. */
const guessLimit = 3;

/**
 * What the buyer asks for. `onChange` is called after every change.
 * The choice itself: `mode` "best" or "seats", `quantity`, `section` (or `null` for anywhere), `adjacent`,
 * and `chosen`, tickets by id.
 */
/** Each once, the highest first. */
function distinct(prices) {
  return [...new Set(prices)].sort((a, b) => b - a);
}

export class Picker {
  constructor(event, { limit, signal, onChange }) {
    this.event = event;
    this.limit = limit;
    this.signal = signal;
    this.onChange = onChange;
    this.mode = "best";
    this.quantity = Math.min(2, limit);
    this.section = null;
    this.adjacent = false;
    this.chosen = new Map();
    this.prices = distinct(event.sections.flatMap((each) => [each.price, each.max_price]));
    this.legend = h("ul", { class: "legend", "aria-label": "Legend" });
    this.bestNode = this.drawBest();
    this.seatsNode = h("div", { class: "pick-seats", hidden: true });
    // Where everybody finds a place on the spot there is nothing to choose on a map.
    this.node = h("div", { class: "picker" }, this.drawModes(), this.bestNode, this.seatsNode);
    this.modes.hidden = !this.hasSeats;
    this.refresh(event);
  }

  /** What goes into the request; `undefined` while nothing is chosen. */
  get ask() {
    if (this.mode === "seats") {
      const ids = [...this.chosen.keys()];
      return ids.length ? { quantity: ids.length, ticket_ids: ids } : undefined;
    }
    return { quantity: this.quantity, ...(this.section === null ? {} : { section: this.section }),
      ...(this.adjacent && this.canSitTogether ? { adjacent: true } : {}) };
  }

  /** All that is chosen, to be kept where the page is left. */
  get choice() {
    const { mode, quantity, section, adjacent } = this;
    return { mode, quantity, section, adjacent, tickets: [...this.chosen.values()] };
  }

  /** Chooses what was chosen before; what there is not any more is left out. */
  choose({ mode, quantity, section, adjacent, tickets }) {
    this.section = this.sectionOf(section)?.name ?? this.section;
    this.adjacent = this.besideInput.checked = adjacent;
    this.chosen = new Map(tickets.filter((each) => this.sectionOf(each.section)).slice(0, this.limit)
      .map((ticket) => [ticket.id, ticket]));
    this.setQuantity(quantity);
    this.refresh(this.event);
    this.setMode(this.hasSeats ? mode : "best");
  }

  /** Whether any of the event's tickets, or those of the chosen section, are for seats. */
  get hasSeats() {
    return this.event.sections.some((each) => each.has_seats !== false);
  }

  get canSitTogether() {
    if (this.quantity < 2) return false;
    return this.section === null ? this.hasSeats : this.sectionOf(this.section)?.has_seats !== false;
  }

  /** Lowest and highest total of what is asked. */
  get total() {
    if (this.mode === "seats") {
      const sum = [...this.chosen.values()].reduce((total, ticket) => total + ticket.price, 0);
      return { low: sum, high: sum };
    }
    const sections = this.section === null
      ? this.event.sections.filter((each) => each.available + each.held > 0) : [this.sectionOf(this.section)];
    const prices = sections.flatMap((each) => (each ? [each.price, each.max_price] : []));
    const among = prices.length ? prices : this.prices;
    return { low: Math.min(...among) * this.quantity, high: Math.max(...among) * this.quantity };
  }

  sectionOf(name) {
    return this.event.sections.find((each) => each.name === name);
  }

  tierOf = (price) => {
    const rank = this.prices.indexOf(price);
    return rank < 0 ? 0 : this.prices.length <= 5 ? rank : Math.floor(rank * 5 / this.prices.length);
  };

  swatch(price) {
    return `swatch tier-${this.tierOf(price) + 1}`;
  }

  // MARK: Modes

  drawModes() {
    const name = freshID("mode");
    const mode = (value, text, detail) => {
      const input = h("input", { type: "radio", name, value, onchange: () => this.setMode(value) });
      input.checked = this.mode === value;
      return h("label", { class: "segment" }, input,
        h("span", null, h("strong", null, text), h("small", null, detail)));
    };
    this.modes = h("fieldset", { class: "segments" },
      h("legend", { class: "hidden" }, "How do you want to choose?"),
      mode("best", "Best available", "Seats together"), mode("seats", "Choose seats", "On the map"));
    return this.modes;
  }

  setMode(mode) {
    this.mode = mode;
    for (const input of this.modes.querySelectorAll("input")) input.checked = input.value === mode;
    this.bestNode.hidden = mode !== "best";
    this.seatsNode.hidden = mode !== "seats";
    if (mode === "seats" && !this.map) this.openMap();
    this.onChange();
  }

  // MARK: Best available

  drawBest() {
    const output = h("output", { class: "stepper-value", "aria-live": "polite" });
    const button = (label, name, onclick) =>
      h("button", { type: "button", class: "icon-button", "aria-label": label, onclick }, icon(name));
    const less = button("Fewer tickets", "minus", () => set(this.quantity - 1));
    const more = button("More tickets", "plus", () => set(this.quantity + 1));
    const adjacent = this.besideInput = h("input", { type: "checkbox", onchange: () => {
      this.adjacent = adjacent.checked;
      this.onChange();
    } });
    const beside = h("label", { class: "check" }, adjacent,
      h("span", null, h("strong", null, "Side by side only"),
        h("small", null, "Otherwise we try side by side first, and take the nearest seats we find.")));
    const set = this.setQuantity = (quantity) => {
      this.quantity = Math.min(this.limit, Math.max(1, quantity));
      setText(output, counted(this.quantity, "ticket"));
      less.disabled = this.quantity === 1;
      more.disabled = this.quantity === this.limit;
      this.drawBeside();
      this.onChange();
    };
    this.drawBeside = () => {
      beside.hidden = !this.canSitTogether;
    };
    this.sectionList = h("div", { class: "section-list" });
    const node = h("div", { class: "pick-best" },
      h("div", { class: "stepper", role: "group", "aria-label": "Number of tickets" }, less, output, more,
        h("p", { class: "quiet" }, `Up to ${counted(this.limit, "ticket")} each`)),
      h("fieldset", { class: "sections" }, h("legend", null, "Where"), this.sectionList),
      beside);
    queueMicrotask(() => set(this.quantity));
    return node;
  }

  /** Takes the event's new numbers and keeps the choice. */
  refresh(event) {
    this.event = event;
    const active = document.activeElement;
    const focused = this.sectionList.contains(active) ? active.value : undefined;
    const name = this.sectionGroup ??= freshID("section");
    const choice = (value, text, detail, range, tone, disabled) => {
      const input = h("input", { type: "radio", name, value: String(value ?? ""), disabled, onchange: () => {
        this.section = value;
        this.drawBeside();
        this.onChange();
      } });
      input.checked = this.section === value;
      return h("label", { class: "section-choice" }, input,
        h("span", { class: value === null ? "swatch any" : this.swatch(range[0]) }),
        h("span", { class: "section-name" }, h("strong", null, text), h("small", { class: tone }, detail)),
        h("span", { class: "section-price" }, moneyRange(...range, event.currency)));
    };
    const choices = event.sections.map((each) => {
      const gone = each.available === 0 && each.held === 0;
      const detail = gone ? "Sold out"
        : each.available === 0 ? `All held, ${count(each.held)} may come back`
          : each.available <= 20 ? `Only ${count(each.available)} left` : `${count(each.available)} available`;
      const tone = each.available > 0 || gone ? "" : "waiting";
      return choice(each.name, each.name, detail, [each.price, each.max_price], tone, gone);
    });
    put(this.sectionList,
      event.sections.length > 1 && choice(null, "Anywhere", "The best that is free",
        [this.prices.at(-1), this.prices[0]], ""), choices);
    if (event.sections.length === 1) {
      this.section = event.sections[0].name;
      this.sectionList.querySelector("input").checked = true;
    }
    this.drawBeside();
    if (focused === undefined) return;
    this.sectionList.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
  }

  // MARK: Seat map

  openMap() {
    const { event } = this;
    const sections = event.sections.filter((each) => each.has_seats !== false);
    this.isWhole = sections.reduce((sum, each) => sum + each.total, 0) <= wholePlanLimit;
    const [first] = this.chosen.values();
    this.shownSection = sections.find((each) => (first ? each.name === first.section : each.available > 0)) ?? sections[0];
    this.guesses = 0;
    this.map = new SeatMap({ currency: event.currency, tierOf: this.tierOf, signal: this.signal,
      isSelected: (ticket) => this.chosen.has(ticket.id), onToggle: (ticket) => this.toggle(ticket) });
    this.mapStatus = h("p", { class: "quiet", role: "status" });
    const id = freshID("section");
    const select = this.sectionSelect = h("select", { id, onchange: () => {
      this.guesses = guessLimit;
      this.shownSection = this.sectionOf(select.value);
      this.loadPlan();
    } }, sections.map((each) => {
      const free = each.available ? `${count(each.available)} free` : "none free";
      const price = moneyRange(each.price, each.max_price, event.currency);
      return h("option", { value: each.name }, `${each.name} · ${price} · ${free}`);
    }));
    select.value = this.shownSection.name;
    this.drawLegend();
    put(this.seatsNode,
      !this.isWhole && h("div", { class: "field" }, h("label", { for: id }, "Section"), select),
      this.mapStatus,
      this.map.node,
      this.legend);
    this.loadPlan();
  }

  /** What each colour of the map stands for: a price, or those from one to another where there are more than colours. */
  drawLegend() {
    const tiers = new Map();
    for (const price of this.prices) tiers.set(this.tierOf(price), [...tiers.get(this.tierOf(price)) ?? [], price]);
    put(this.legend, [...tiers.values()].map((prices) => h("li", null, h("span", { class: this.swatch(prices[0]) }),
      moneyRange(prices.at(-1), prices[0], this.event.currency))),
    h("li", null, h("span", { class: "swatch is-chosen" }), "Chosen"),
    h("li", null, h("span", { class: "swatch is-taken" }),
      this.event.has_plan ? "Taken, held or not for sale" : "Taken or held"));
  }

  /** Sections tell their lowest and highest price; there may be seats for others. */
  learnPrices(tickets) {
    const prices = distinct([...this.prices, ...tickets.map((ticket) => ticket.price)]);
    if (prices.length === this.prices.length) return;
    this.prices = prices;
    this.drawLegend();
  }

  /** Loads the seats shown, or loads them again. Chosen seats that are gone meanwhile are let go, with a word. */
  async loadPlan({ again = false } = {}) {
    if (!this.map) return;
    this.loading?.abort();
    this.loading = new AbortController();
    const signal = AbortSignal.any([this.loading.signal, this.signal]);
    const shown = this.isWhole ? undefined : this.shownSection;
    const query = shown ? `?section=${encodeURIComponent(shown.name)}` : "";
    if (!again) setText(this.mapStatus, "Loading the seats…");
    try {
      const path = `/api/event/${encodeURIComponent(this.event.id)}/tickets${query}`;
      const { tickets } = await get(path, { signal });
      const drawing = this.event.has_plan ? await this.loadDrawing(signal) : undefined;
      const Plan = drawing ? DrawnPlan : SeatPlan;
      this.learnPrices(tickets);
      const plan = new Plan(tickets, this.event.sections, (ticket) => this.sectionOf(ticket.section), drawing);
      this.dropTaken(tickets);
      if (plan.seats.length === 0 && shown && this.guessAnother()) return;
      this.map.node.hidden = plan.seats.length === 0 && !drawing?.areas.length;
      setText(this.mapStatus, plan.seats.length === 0
        ? "There are no numbered seats here. Use “Best available” and find a place on the spot." : "");
      this.map.show(plan, { keepView: again });
    } catch (error) {
      if (!signal.aborted && !again) setText(this.mapStatus, error.message);
    }
  }

  /** What the seating plan shows beside the seats; it does not change during a sale. */
  async loadDrawing(signal) {
    this.drawing ??= await get(`/api/event/${encodeURIComponent(this.event.id)}/plan`, { signal });
    return this.drawing;
  }

  /** The API does not say which sections have numbered seats, so the first one shown is a guess, and so the next. */
  guessAnother() {
    const next = this.event.sections[this.event.sections.indexOf(this.sectionOf(this.shownSection.name)) + 1];
    if (!next || this.guesses >= guessLimit) return false;
    this.guesses += 1;
    this.shownSection = next;
    this.sectionSelect.value = next.name;
    this.loadPlan();
    return true;
  }

  dropTaken(tickets) {
    const lost = tickets.filter((ticket) => !ticket.available && this.chosen.has(ticket.id));
    for (const ticket of lost) this.chosen.delete(ticket.id);
    if (lost.length === 0) return;
    announce(`${lost.length === 1 ? "A seat" : "Seats"} you chose just went to someone else.`, true);
    this.onChange({ lost });
  }

  toggle(ticket) {
    if (this.chosen.delete(ticket.id)) announce(`Let go. ${counted(this.chosen.size, "seat")} chosen.`);
    else if (this.chosen.size >= this.limit) {
      announce(`You can choose up to ${counted(this.limit, "seat")}. Let one go first.`, true);
      this.onChange({ full: true });
      return;
    } else {
      this.chosen.set(ticket.id, ticket);
      announce(`Chosen. ${counted(this.chosen.size, "seat")} of ${this.limit}.`);
    }
    this.map?.redraw();
    this.onChange();
  }
}
