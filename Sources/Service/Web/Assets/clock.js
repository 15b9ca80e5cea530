// Time as the server sees it, and waiting that can be cut short.

let skew = 0;
let bestRoundTrip = Infinity;
let sampledAt = 0;

/**
 * Learns the server's clock from a response. `Date` is cut to whole seconds, so half a second is added;
 * answers that came fast say most, and an old estimate gives way after ten minutes.
 */
export function learn(response, sentAt) {
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isNaN(date)) return;
  const now = Date.now();
  const roundTrip = now - sentAt;
  if (roundTrip > bestRoundTrip && now - sampledAt < 600_000) return;
  bestRoundTrip = roundTrip;
  sampledAt = now;
  const estimate = date + 500 - (sentAt + now) / 2;
  // Less than a second cannot be told from the rounding of the header.
  skew = Math.abs(estimate) < 1_000 ? 0 : estimate;
}

/** Milliseconds since 1970 on the server's clock, as well as we know it. */
export function serverNow() {
  return Date.now() + skew;
}

/** Waits; ends early, without an error, when `signal` is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
  });
}

/** Calls `tick` now and every second until `signal` is aborted, aligned to nothing: it is cheap. */
export function everySecond(tick, signal) {
  tick();
  const timer = setInterval(tick, 1_000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
