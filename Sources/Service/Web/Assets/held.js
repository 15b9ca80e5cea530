// Seats that wait to be paid for, on every page: until when, and the way there.

import { everySecond } from "./clock.js";
import { announce, h, icon, put, retract, setText } from "./dom.js";
import { countdown, spokenDuration } from "./format.js";
import { isWatched, openPlaces } from "./line.js";
import { places, session } from "./session.js";

const holding = new Set(["reserved", "declined"]);

/** Whose bank is to be answered: their seats are kept meanwhile, and nobody counts down. */
const asksBank = (place) => place.state === "action_required";

/** Places whose seats are held, as far as this browser knows, the one that ends first before others. */
function heldPlaces() {
  if (!session()) return [];
  return places().filter((each) => !each.ended
    && (asksBank(each) || (holding.has(each.state) && each.until > Date.now())))
    .sort((a, b) => (a.until ?? 0) - (b.until ?? 0));
}

/** Fills `node` while seats are held, and asks the server whether they are when `look` is called. */
export class HeldSeats {
  /**
   * @param options.onCount called every second with the time that is left while seats wait to be paid for, and with nothing
   *   when there is none to tell of
   */
  constructor(node, { onCount }) {
    this.node = node;
    this.onCount = onCount;
    this.clock = h("strong", { class: "hold-time" });
    everySecond(() => this.draw(), new AbortController().signal);
  }

  /** The view has changed: what is remembered may be old. On the place's own page that page knows. */
  look() {
    this.draw();
    // Also what was bought, and may not be paid after all.
    const known = session() ? [...heldPlaces(), ...places().filter(isWatched)] : [];
    if (known.length) openPlaces(known, AbortSignal.timeout(10_000)).then(() => this.draw());
  }

  draw() {
    const [place] = heldPlaces();
    const path = place && `/queue/${encodeURIComponent(place.id)}`;
    const isShown = Boolean(place) && location.pathname !== path;
    this.node.hidden = !isShown;
    if (!isShown) {
      // What was read out of them is not true any more.
      if (this.told) retract(this.told);
      this.told = this.key = undefined;
      this.hasLooked = true;
      this.onCount();
      return;
    }
    const left = asksBank(place) ? "Confirm" : countdown(place.until - Date.now());
    if (!asksBank(place)) setText(this.clock, left);
    this.onCount(left);
    const key = `${place.id} ${place.state}`;
    if (key === this.key && this.node.hasChildNodes()) return;
    this.key = key;
    const [words, way] = asksBank(place)
      ? [["Your seats are kept until you have answered your bank"], "Confirm"]
      : [[h("strong", null, "It is your turn. "), "Your seats are held, ", this.clock], "Pay now"];
    put(this.node, h("div", { class: "held-inside" }, icon("clock"),
      h("p", null, h("span", null, words), place.name && h("small", null, place.name)),
      h("a", { class: "button primary", href: path }, way)));
    this.told = asksBank(place) ? "Your bank waits for your answer. Your seats are kept until then."
      : `It is your turn. Your seats are held. ${spokenDuration(place.until - Date.now())} left to pay.`;
    // Who was already reading when it became their turn hears it at once.
    announce(this.told, this.hasLooked);
    this.hasLooked = true;
  }
}
