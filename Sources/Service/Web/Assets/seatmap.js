// The seat map: seats drawn on a canvas, chosen by mouse, touch or keyboard.
//
// A canvas, because a hall has thousands of seats. For screen readers and the keyboard it is a list box with
// one option at a time, the seat under the cursor: arrows move, space chooses.

import { announce, freshID, h, icon, put, setText } from "./dom.js";
import { money, seatName } from "./format.js";
import { drawSeats, gutterWidth } from "./seatdraw.js";

/** Pixels between seats: a finger needs the first, a mouse the second. */
const fingerPitch = 30;
const mousePitch = 9;
const largestPitch = 46;
/** Pixels a pointer may move and still tap. */
const tapSlack = 8;

export class SeatMap {
  /**
   * @param options.tierOf a price's rank among the event's prices, 0 for the highest
   * @param options.onToggle called with a seat that may be chosen or let go
   * @param options.isSelected whether a ticket is chosen
   */
  constructor({ currency, tierOf, onToggle, isSelected, signal }) {
    this.currency = currency;
    this.tierOf = tierOf;
    this.onToggle = onToggle;
    this.isSelected = isSelected;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.tip = h("div", { class: "seat-tip", hidden: true, "aria-hidden": "true" });
    const hint = freshID("hint");
    this.options = h("div", { class: "hidden" });
    this.box = h("div", { class: "seat-box", role: "listbox", tabindex: "0", "aria-multiselectable": "true",
      "aria-label": "Seat map", "aria-describedby": hint }, this.canvas, this.options, this.tip);
    const zoom = (label, name, factor) => h("button", { type: "button", class: "icon-button",
      "aria-label": label, onclick: () => factor ? this.zoomBy(factor) : this.fit() }, icon(name));
    // What is in view, in words: on a small screen a magnified map shows little more than seats.
    this.where = h("p", { class: "seat-where", "aria-hidden": "true" });
    this.node = h("div", { class: "seat-frame" },
      h("div", { class: "seat-map" },
        h("div", { class: "seat-bar" }, this.where,
          h("div", { class: "seat-zoom" }, zoom("Zoom out", "minus", 1 / 1.6), zoom("Zoom in", "plus", 1.6),
            zoom("Show all", "fit"))),
        this.box),
      h("p", { class: "seat-hint", id: hint },
        "Arrow keys move, space chooses or lets go. N and P find the next and the previous free seat, Home and "
        + "End the ends of a row."));
    this.view = { scale: 1, x: 0, y: 0 };
    this.pointers = new Map();
    this.listen(signal);
  }

  /** Shows a plan. Keeps the cursor and what is seen when it is the same plan refreshed. */
  show(plan, { keepView = false } = {}) {
    const cursor = keepView && this.cursor ? plan.byTicket.get(this.cursor.ticket.id) : undefined;
    this.plan = plan;
    this.cursor = cursor;
    this.hovered = undefined;
    if (keepView && this.size) this.redraw();
    else this.resize({ refit: true });
    // Whoever was here before the seats were: now there is something to read out.
    if (document.activeElement === this.box) this.moveCursor(cursor ?? this.firstSeat(), { quietly: true });
  }

  redraw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = undefined;
      if (this.size && this.plan) setText(this.where, inWords(drawSeats(this, this.tierOf), this.isFitting));
    });
  }

  // MARK: What is seen

  resize({ refit = false } = {}) {
    const width = this.box.clientWidth;
    if (!width || !this.plan) return;
    const wasFitting = !this.size || this.isFitting;
    const height = Math.round(Math.min(Math.max(280, width * this.plan.height / this.plan.width),
      Math.max(340, innerHeight * 0.68)));
    const ratio = Math.min(devicePixelRatio || 1, 3);
    this.size = { width, height, ratio };
    this.box.style.setProperty("block-size", `${height}px`);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (refit || wasFitting) this.fit();
    else this.clampView();
    this.redraw();
  }

  get fittingScale() {
    return Math.min(this.size.width / this.plan.width, this.size.height / this.plan.height, largestPitch);
  }

  get isFitting() {
    return this.view.scale <= this.fittingScale * 1.01;
  }

  fit() {
    this.view.scale = this.fittingScale;
    this.clampView();
  }

  clampScale(scale) {
    return Math.min(Math.max(scale, this.fittingScale), Math.max(largestPitch, this.fittingScale));
  }

  clampView() {
    const { width, height } = this.size;
    const view = this.view;
    view.scale = this.clampScale(view.scale);
    const clamp = (offset, content, room, lead = 0) =>
      content <= room ? (room - content) / 2 : Math.min(lead, Math.max(room - content, offset));
    // The ring around the first seat of a row is whole, beside the names of rows.
    view.x = clamp(view.x, this.plan.width * view.scale, width, gutterWidth(this) / 3);
    view.y = clamp(view.y, this.plan.height * view.scale, height);
    // At rest a finger scrolls the page; in a magnified map it moves the map.
    this.box.classList.toggle("zoomed", !this.isFitting);
    this.redraw();
  }

  /** Magnifies around a point of the canvas, its middle by default. */
  zoomBy(factor, x = this.size.width / 2, y = this.size.height / 2) {
    const view = this.view;
    const before = view.scale;
    view.scale = this.clampScale(before * factor);
    const real = view.scale / before;
    view.x = x - (x - view.x) * real;
    view.y = y - (y - view.y) * real;
    this.clampView();
  }

  /** Brings a seat into view, large enough to see which it is. */
  reveal(seat) {
    const view = this.view;
    const { width, height } = this.size;
    if (view.scale < 14) this.zoomBy(20 / view.scale);
    const margin = view.scale * 2;
    const x = this.plan.x(seat) * view.scale, y = this.plan.y(seat) * view.scale;
    // What lies under the names of rows is not in view.
    const left = Math.max(margin, gutterWidth(this) + view.scale);
    view.x = Math.min(Math.max(view.x, left - x), width - margin - x);
    view.y = Math.min(Math.max(view.y, margin - y), height - margin - y);
    this.clampView();
  }

  // MARK: Input

  listen(signal) {
    const { box } = this;
    const on = (name, handler, options) => box.addEventListener(name, handler, { signal, ...options });
    on("pointerdown", (event) => this.pressed(event));
    on("pointermove", (event) => this.moved(event));
    on("pointerup", (event) => this.released(event));
    on("pointercancel", (event) => this.pointers.delete(event.pointerId));
    on("pointerleave", () => this.hover(undefined));
    on("wheel", (event) => {
      // Plain scrolling stays the page's; the gesture of zooming comes with ctrl.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 160), event.offsetX, event.offsetY);
    }, { passive: false });
    on("keydown", (event) => this.typed(event));
    on("focus", () => this.moveCursor(this.cursor ?? this.firstSeat(), { quietly: true }));
    on("blur", () => this.redraw());
    // In the next frame, because resizing here changes what is observed.
    const observer = new ResizeObserver(() => requestAnimationFrame(() => this.resize()));
    observer.observe(box);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const recolour = () => this.redraw();
    scheme.addEventListener("change", recolour);
    signal.addEventListener("abort", () => {
      observer.disconnect();
      scheme.removeEventListener("change", recolour);
      cancelAnimationFrame(this.frame);
    });
  }

  firstSeat() {
    return this.plan?.seats.find((seat) => this.isSelected(seat.ticket))
      ?? this.plan?.seats.find((seat) => seat.ticket.available) ?? this.plan?.seats[0];
  }

  seatAt(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const { scale, x, y } = this.view;
    // What lies under the names of the rows is not in view.
    if (event.clientX - bounds.left < gutterWidth(this)) return undefined;
    return this.plan?.at((event.clientX - bounds.left - x) / scale, (event.clientY - bounds.top - y) / scale);
  }

  pressed(event) {
    if (event.button > 0) return;
    const { clientX: x, clientY: y } = event;
    this.pointers.set(event.pointerId, { x, y, fromX: x, fromY: y });
    this.isTap = this.pointers.size === 1;
    if (!this.isFitting || event.pointerType === "mouse") this.box.setPointerCapture(event.pointerId);
  }

  moved(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) {
      if (event.pointerType === "mouse") this.hover(this.seatAt(event), event);
      return;
    }
    const { x: oldX, y: oldY } = pointer;
    const others = [...this.pointers.entries()].filter(([id]) => id !== event.pointerId);
    pointer.x = event.clientX;
    pointer.y = event.clientY;
    if (Math.hypot(pointer.x - pointer.fromX, pointer.y - pointer.fromY) > tapSlack) this.isTap = false;
    if (others.length === 1) {
      const [, other] = others[0];
      const bounds = this.canvas.getBoundingClientRect();
      const before = Math.hypot(oldX - other.x, oldY - other.y);
      const after = Math.hypot(pointer.x - other.x, pointer.y - other.y);
      if (before > 0) {
        const middleX = (pointer.x + other.x) / 2, middleY = (pointer.y + other.y) / 2;
        this.zoomBy(after / before, middleX - bounds.left, middleY - bounds.top);
      }
    } else if (!this.isTap && !this.isFitting) {
      this.hover(undefined);
      this.view.x += pointer.x - oldX;
      this.view.y += pointer.y - oldY;
      this.clampView();
    }
  }

  released(event) {
    if (!this.pointers.delete(event.pointerId) || !this.isTap || this.pointers.size) return;
    const pitch = this.view.scale;
    const isMouse = event.pointerType === "mouse";
    const bounds = this.canvas.getBoundingClientRect();
    if (pitch < (isMouse ? mousePitch : fingerPitch * 0.8)) {
      const target = isMouse ? mousePitch * 2.2 : fingerPitch * 1.1;
      this.zoomBy(target / pitch, event.clientX - bounds.left, event.clientY - bounds.top);
      return;
    }
    const seat = this.seatAt(event);
    if (!seat) return;
    this.cursor = seat;
    this.choose(seat);
  }

  choose(seat) {
    if (!seat.ticket.available && !this.isSelected(seat.ticket)) {
      announce(`${this.describe(seat)}.`);
      return;
    }
    this.onToggle(seat.ticket);
    if (this.cursor === seat) this.drawOption();
    this.redraw();
  }

  typed(event) {
    if (!this.plan?.seats.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const cursor = this.cursor ?? this.firstSeat();
    const { plan } = this;
    const moves = {
      ArrowLeft: () => plan.step(cursor, -1, 0),
      ArrowRight: () => plan.step(cursor, 1, 0),
      ArrowUp: () => plan.step(cursor, 0, -1),
      ArrowDown: () => plan.step(cursor, 0, 1),
      PageUp: () => plan.step(cursor, 0, -5),
      PageDown: () => plan.step(cursor, 0, 5),
      Home: () => cursor.row.seats[0],
      End: () => cursor.row.seats.at(-1),
      n: () => plan.nextFree(cursor, 1) ?? cursor,
      p: () => plan.nextFree(cursor, -1) ?? cursor,
    };
    const move = moves[event.key] ?? moves[event.key.toLowerCase()];
    if (move) this.moveCursor(move());
    else if (event.key === " " || event.key === "Enter") this.choose(cursor);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.6);
    else if (event.key === "-") this.zoomBy(1 / 1.6);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  moveCursor(seat, { quietly = false } = {}) {
    if (!seat) return;
    this.cursor = seat;
    if (!quietly) this.reveal(seat);
    this.drawOption();
    this.redraw();
  }

  /** The one option a screen reader sees; a new element each time, so that it is read out. */
  drawOption() {
    const { cursor, plan } = this;
    const option = h("div", { role: "option", id: `seat-${cursor.ticket.id}`,
      "aria-selected": String(this.isSelected(cursor.ticket)),
      "aria-disabled": String(!cursor.ticket.available && !this.isSelected(cursor.ticket)),
      "aria-posinset": cursor.index + 1, "aria-setsize": plan.seats.length }, this.describe(cursor));
    put(this.options, option);
    this.box.setAttribute("aria-activedescendant", option.id);
  }

  describe(seat) {
    const { ticket } = seat;
    const state = this.isSelected(ticket) ? "chosen" : ticket.available ? "free" : "taken";
    return `${seat.row.section.name}, ${seatName(ticket)}, ${money(ticket.price, this.currency)}, ${state}`;
  }

  hover(seat, event) {
    if (seat !== this.hovered) {
      this.hovered = seat;
      this.box.classList.toggle("pointing", Boolean(seat?.ticket.available));
      this.redraw();
    }
    this.tip.hidden = !seat || this.view.scale < mousePitch;
    if (this.tip.hidden) return;
    const worth = seat.ticket.available ? money(seat.ticket.price, this.currency) : "taken";
    put(this.tip, h("strong", null, seatName(seat.ticket)),
      h("span", null, `${seat.row.section.name} · ${worth}`));
    const bounds = this.box.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - bounds.left, 80), bounds.width - 80);
    const y = event.clientY - bounds.top;
    this.tip.style.setProperty("inset-inline-start", `${x}px`);
    this.tip.style.setProperty("inset-block-start", `${y}px`);
    this.tip.classList.toggle("below", y < 90);
  }
}

/** "Stalls · Rows C to F": the rows that are in view, or only the sections where all are, or several. */
function inWords(rows, isWhole) {
  const sections = [...new Set(rows.map((row) => row.section.name))];
  if (isWhole || sections.length !== 1) {
    if (sections.length <= 2) return sections.join(", ");
    return isWhole ? `All ${sections.length} sections` : `${sections[0]} and ${sections.length - 1} more sections`;
  }
  const labels = rows.map((row) => row.label).filter(Boolean);
  if (!labels.length) return sections[0];
  const [first, last] = [labels[0], labels.at(-1)];
  const name = (label) => seatName({ row: label });
  return `${sections[0]} · ${first === last ? name(first) : `${name(first).replace(/^Row /, "Rows ")} to ${last}`}`;
}
