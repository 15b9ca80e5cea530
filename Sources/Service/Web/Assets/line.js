// Following one request: a long poll that survives busy servers, lost networks and closed laptops.

import { call, Problem, waitAfter } from "./api.js";
import { pause } from "./clock.js";
import { remember } from "./session.js";

/** Seconds the server may hold an answer back, and milliseconds after which no answer is coming. */
const longPoll = 20;
const longPollPatience = 32_000;
const shortest = 300;
const longest = 60_000;
/** A poll this old may hang on a connection that died while the machine slept; milliseconds. */
const stale = 4_000;

/** Milliseconds between looks at what is bought, while its page is open; and between those from other pages. */
const boughtLook = 300_000;
const boughtLookElsewhere = 3_600_000;
/** For so long money may turn out not to have come: no authorisation lasts longer. */
const boughtWatch = 8 * 86_400_000;

/** States after which nothing happens any more, unless what was bought cannot be paid after all. `declined` joins them when its hold has ended. */
const ended = new Set(["purchased", "expired", "sold_out", "cancelled", "rejected"]);

/** Whether the end can still be answered with a smaller or looser wish, which keeps the place. */
export function isKept(request) {
  return request.state === "rejected" && request.answer_within_seconds > 0;
}

export function hasEnded(request) {
  return ended.has(request.state) || (request.state === "declined" && !request.expires_at);
}

/** Nobody refused these payments, and nobody took them in time: they may be authorised after all. */
const undecided = new Set(["processing_timeout", "authentication_required", "payments_unavailable", "payments_busy",
  "payment_unknown", "processing_error"]);
/** How often it is looked whether they were, and for how long; milliseconds. */
const latePause = 5_000;
const lateFor = 3_600_000;

/** Whether a request whose hold has ended may become a purchase all the same. */
export function mayBePaid(request) {
  return request.state === "declined" && !request.expires_at && undecided.has(request.reason);
}

/** Until when its seats are held, on this device's clock; nothing where none are. */
export function deadline(request) {
  const isHeld = request.state === "reserved" || request.state === "declined";
  return isHeld && request.expires_in_seconds > 0 ? Date.now() + request.expires_in_seconds * 1_000 : undefined;
}

/** Whether a place's purchase is to be looked at once more: its money may not have come, and then its buyer is asked again. */
export function isWatched({ state, at, looked = 0 }) {
  return state === "purchased" && Date.now() < at + boughtWatch && Date.now() > looked + boughtLookElsewhere;
}

/** Asks once where remembered places stand, since their pages may be closed; resolves to those still open. */
export async function openPlaces(remembered, signal) {
  const open = await Promise.all(remembered.filter((each) => (!each.ended || isWatched(each)) && each.event_id).map(async (each) => {
    try {
      // What was held is shown from every page, should it be lost.
      const shown = each.receipt ? `?hold=${encodeURIComponent(each.receipt)}` : "";
      const request = await call("GET", `/api/request/${encodeURIComponent(each.id)}${shown}`, { signal });
      const ended = hasEnded(request) && !isKept(request);
      const until = deadline(request);
      remember(each.id, { state: request.state, ended, until, ...(ended ? { looked: Date.now() } : {}) });
      return ended ? [] : [{ ...each, state: request.state, reason: request.reason, position: request.position, until }];
    } catch (error) {
      // Nobody knows it any more, or nobody can tell right now: then what we remember stands.
      if (error.status !== 404) return each.ended ? [] : [each];
      remember(each.id, { ended: true });
      return [];
    }
  }));
  // A place may have been told with two ids.
  return open.flat().filter(({ event_id: event, position }, index, all) => position === undefined
    || all.findIndex((other) => other.event_id === event && other.position === position) === index);
}

export class Line {
  /**
   * Starts following, until `signal` is aborted or the request has ended.
   * @param hold what an earlier answer said of the seats that were held, if there was one
   * @param onUpdate called with every answer
   * @param onTrouble called when no answer comes, with a `Problem` and the milliseconds until the next try, and
   *   with nothing when answers come again
   */
  constructor(requestID, { signal, hold, onUpdate, onTrouble }) {
    this.requestID = requestID;
    // What was held, signed: shown whenever it may have been forgotten, and until something else is held.
    this.hold = hold;
    this.signal = signal;
    this.onUpdate = onUpdate;
    this.onTrouble = onTrouble;
    this.waiting = new AbortController();
    const wake = () => {
      if (!document.hidden) this.wake();
    };
    // What was under way when the network went is not coming any more.
    addEventListener("online", () => this.wake({ hurry: true }), { signal });
    addEventListener("pageshow", wake, { signal });
    addEventListener("focus", wake, { signal });
    document.addEventListener("visibilitychange", wake, { signal });
    const offline = new Problem(0, "offline", "You are offline.");
    addEventListener("offline", () => this.onTrouble(offline), { signal });
    this.run();
  }

  /** Asks now instead of waiting. With `hurry`, gives up a long poll under way, too. */
  wake({ hurry = false } = {}) {
    this.waiting.abort();
    if (this.polling && (hurry || Date.now() - this.polledAt > stale)) {
      this.isHurried = true;
      this.polling.abort();
    }
  }

  async run() {
    let failures = 0;
    // The first answer is wanted at once; later ones when something changes.
    let wait = 0;
    while (!this.signal.aborted) {
      this.waiting = new AbortController();
      const waitSignal = AbortSignal.any([this.waiting.signal, this.signal]);
      this.polling = new AbortController();
      this.polledAt = Date.now();
      this.isHurried = false;
      let rest;
      try {
        // Naming the state we know lets the server wait in every state, also while seats are held.
        const query = new URLSearchParams({
          ...(wait ? { wait, state: this.state } : {}), ...(this.hold ? { hold: this.hold } : {}),
        }).toString();
        const request = await call("GET", `/api/request/${encodeURIComponent(this.requestID)}${query && `?${query}`}`,
          { signal: AbortSignal.any([this.polling.signal, this.signal]), timeout: longPollPatience });
        failures = 0;
        this.state = request.state;
        this.hold = request.hold ?? this.hold;
        this.onTrouble();
        this.onUpdate(request);
        const isBought = request.state === "purchased";
        const isOver = hasEnded(request) && !isBought;
        if (isOver) this.endedAt ??= Date.now();
        if (isOver && (!mayBePaid(request) || Date.now() > this.endedAt + lateFor)) return;
        const slowly = isBought ? boughtLook : isOver ? latePause : 0;
        rest = slowly || (wait ? Math.min(longest, Math.max(shortest, request.poll_after_ms ?? 1_000)) : shortest);
        wait = slowly ? 0 : longPoll;
      } catch (error) {
        if (this.signal.aborted) return;
        if (this.isHurried) {
          // After a wake-up what is shown may be old: the next answer is wanted at once again.
          wait = 0;
          continue;
        }
        if (error.status === 400 && this.hold) {
          // Whatever it was, it says nothing here: the place itself does.
          this.hold = undefined;
          continue;
        }
        if (error instanceof Problem && !error.isTemporary) {
          // Of what is bought the page has said all there is to say.
          if (this.state !== "purchased") this.onTrouble(error);
          return;
        }
        rest = waitAfter(error, failures);
        failures += 1;
        wait = 0;
        this.onTrouble(error, rest);
      } finally {
        this.polling = undefined;
      }
      await pause(rest, waitSignal);
      if (this.waiting.signal.aborted) wait = 0;
    }
  }
}
