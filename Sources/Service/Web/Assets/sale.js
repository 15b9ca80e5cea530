// An event's sale as it goes: its queue document, the same bytes for everyone, so a cache carries the crowd.

import { call, waitAfter } from "./api.js";
import { pause } from "./clock.js";

const shortest = 1_000;
const longest = 60_000;
/** Milliseconds after which an answer that comes from memory is not coming. */
const patience = 6_000;

/** Resolves when the page can be seen. Nobody looks at a hidden page, so it asks for nothing. */
function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    document.addEventListener("visibilitychange", done);
    signal.addEventListener("abort", done);
  });
}

/** Waits, but no longer than until the network is back. */
async function pauseOrOnline(milliseconds, signal) {
  const online = new AbortController();
  addEventListener("online", () => online.abort(), { signal: AbortSignal.any([online.signal, signal]) });
  await pause(milliseconds, AbortSignal.any([online.signal, signal]));
  online.abort();
}

/** Milliseconds over which those who wait for the same moment are spread. */
const spread = 500;

/**
 * Calls `onUpdate` with the queue document at once and then at the server's pace, until `signal` is aborted.
 * What is shown stays when no answer comes, and the next answer corrects it.
 * @param options.onFailure called then, with a `Problem` and the milliseconds until the next try
 * @param options.untilOpening gives the milliseconds until the sale opens, if that is known: nobody may be late who
 *   was told to come back after it
 */
export async function followSale(eventID, { signal, onUpdate, onFailure, untilOpening = () => undefined }) {
  for (let failures = 0; !signal.aborted;) {
    let wait;
    try {
      const document = await call("GET", `/api/event/${encodeURIComponent(eventID)}/queue`,
        { signal, timeout: patience });
      failures = 0;
      onUpdate(document);
      wait = Math.min(longest, Math.max(shortest, document.poll_after_ms ?? 3_000));
      const opening = untilOpening();
      if (opening > 0) wait = Math.min(wait, opening + Math.random() * spread);
    } catch (error) {
      if (signal.aborted) return;
      wait = waitAfter(error, failures);
      failures += 1;
      onFailure?.(error, wait);
    }
    await pauseOrOnline(wait, signal);
    await visible(signal);
  }
}
