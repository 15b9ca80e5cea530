// Asking for tickets: one call that may be repeated until the server has taken it, and what was asked kept.

import { freshKey, Problem, send, waitAfter } from "./api.js";
import { pause } from "./clock.js";
import { remember, samePlace, what } from "./session.js";

/** How often a busy or silent server is asked again before the buyer is. */
const tries = 30;

/**
 * Asks for tickets and resolves to the request. Busy answers are waited out, as long as `signal` allows.
 * @param event what to remember with the place: id, name, date, location
 * @param ask `{ quantity, section?, adjacent? }` or `{ ticket_ids }`
 * @param options.onWait called with the seconds until the next try
 * @param options.rejoin the id of a place that was lost, whose order is kept
 */
export async function reserve(event, ask, { signal, onWait, rejoin } = {}) {
  // One key for all tries, so that an answer that was lost on its way does not ask twice.
  const key = freshKey();
  for (let attempt = 0; ; attempt += 1) {
    try {
      const { status, answer } = await send("POST", "/api/ticket/reserve",
        { body: { event_id: event.id, ...ask, rejoin }, key, signal });
      const isNew = status !== 200;
      // A place that had ended and is there again goes on with this wish; any other keeps its own.
      const isAnswer = !isNew && samePlace(event.id, answer)?.state === "rejected";
      remember(answer.request_id, {
        event_id: event.id, ...what(event), state: answer.state, position: answer.position, ended: false,
        ...(isNew ? { from: answer.ahead } : {}), ...(isNew || isAnswer ? { ask } : {}),
      });
      return { ...answer, isNew };
    } catch (error) {
      if (!(error instanceof Problem) || !error.isTemporary || attempt + 1 >= tries) throw error;
      const milliseconds = waitAfter(error, Math.min(attempt, 4));
      onWait?.(Math.ceil(milliseconds / 1_000), error);
      await pause(milliseconds, signal);
      signal?.throwIfAborted();
    }
  }
}

/** Why asking failed, in words that say what to do. */
export function explainReserve(problem) {
  const texts = {
    not_open: "Sales have not opened yet. This page will tell you the moment they do.",
    closed: "Sales for this event have ended.",
    sold_out: "Everything is sold. Nothing was charged.",
    queue_full: "The line is full right now. Try again in a moment.",
    offline: "You are offline. Go online and ask again.",
  };
  return texts[problem.code] ?? problem.message;
}
