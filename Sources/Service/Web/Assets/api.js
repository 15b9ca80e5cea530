// Calls to the server: one timeout, one kind of error, and patience where the server asks for it.

import { learn, pause } from "./clock.js";
import { end, guestToken, keepGuest, renewed, session } from "./session.js";

/** Milliseconds after which a call without a long poll is given up. */
const patience = 15_000;

/** Says that a page of this site asks: without it the server takes no token from a cookie. */
const pageHeader = { "X-Onsale-Page": "1" };

/** What went wrong, in words that can be shown. `status` 0 means no answer: the outcome is unknown. */
export class Problem extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    /** Seconds, where the server named them. */
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may well succeed a little later. */
  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/**
 * Calls the API and gives its answer's body.
 * @param options.body sent as JSON
 * @param options.signal aborting it rejects with an `AbortError`
 * @param options.timeout milliseconds
 * @param options.key value of Idempotency-Key
 */
export async function call(method, path, options) {
  return (await send(method, path, options)).answer;
}

let renewing = null;

/** Gets a new token by the cookie. Gives whether the session goes on; `undefined` where nobody answered. */
function renew() {
  renewing ??= fetch("/api/sessions/refresh", {
    method: "POST", headers: { Accept: "application/json", ...pageHeader }, credentials: "same-origin",
    signal: AbortSignal.timeout(patience),
  }).then(async (response) => {
    if (response.ok) renewed(await response.json());
    return response.ok || (response.status === 401 ? false : undefined);
  }).catch(() => undefined).finally(() => { renewing = null; });
  return renewing;
}

/** What anybody may look at, with a guest's token at least. */
const isForGuests = /^\/api\/(search|event\/[^/]+(\/(tickets|plan))?)(\?|$)/;

let arriving = null;

/** The token of a guest: one for all calls that are made meanwhile. */
async function anyGuestToken() {
  arriving ??= attempt("POST", "/api/sessions/guest", {}).then(({ answer }) => keepGuest(answer))
    .finally(() => { arriving = null; });
  await arriving;
  return guestToken();
}

async function look(path, options) {
  try {
    return await attempt("GET", path, { ...options, token: guestToken() ?? await anyGuestToken() });
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
    // Whatever became of it, one is for the asking.
    keepGuest();
    return attempt("GET", path, { ...options, token: await anyGuestToken() });
  }
}

/** The same, with the status, for where 200 and 202 mean different things. */
export async function send(method, path, options = {}) {
  const known = session();
  const mayLook = method === "GET" && isForGuests.test(path);
  if (!known && mayLook) return look(path, options);
  if (known && Date.now() > known.renewAt) await renew();
  try {
    return await attempt(method, path, options);
  } catch (error) {
    // A token that was refused may just have ended; signing in is not such a case.
    if (!known || !(error instanceof Problem) || error.status !== 401) throw error;
    const goesOn = await renew();
    if (goesOn) return await attempt(method, path, options);
    if (goesOn === false) {
      end({ keepPlaces: true });
      if (mayLook) return look(path, options);
    }
    throw error;
  }
}

async function attempt(method, path, { body, signal, timeout = patience, key, token }) {
  const headers = { Accept: "application/json", ...pageHeader };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const limit = AbortSignal.timeout(timeout);
  const sentAt = Date.now();
  let response, answer;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit, credentials: "same-origin",
    });
    learn(response, sentAt);
    const text = await response.text();
    answer = text ? parse(text) : {};
  } catch (error) {
    if (signal?.aborted) throw error;
    throw navigator.onLine
      ? new Problem(0, "no_answer", "The server did not answer. Check your connection and try again.")
      : new Problem(0, "offline", "You are offline.");
  }
  if (response.ok) return { status: response.status, answer };
  const problem = new Problem(response.status, answer.code ?? "",
    answer.detail ?? answer.title ?? plain(response.status),
    Number(response.headers.get("Retry-After")) || undefined);
  throw problem;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's error page is no JSON; its status says enough.
    return {};
  }
}

function plain(status) {
  if (status === 429) return "That was a little too fast. Try again in a moment.";
  if (status >= 500) return "The service is very busy. Try again in a moment.";
  return "That did not work.";
}

/** Reads, and tries again a few times when the server is busy or silent. */
export async function get(path, { signal, tries = 4 } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call("GET", path, { signal });
    } catch (error) {
      if (!(error instanceof Problem) || !error.isTemporary || attempt + 1 >= tries) throw error;
      await pause(waitAfter(error, attempt), signal);
      signal?.throwIfAborted();
    }
  }
}

/** Milliseconds to wait after a failure: what the server asked for, else doubling; spread so crowds thin out. */
export function waitAfter(problem, attempt) {
  const base = problem?.retryAfter ? problem.retryAfter * 1_000 : Math.min(30_000, 1_000 * 2 ** attempt);
  return base * (1 + Math.random() * 0.3);
}

/** A key that makes repeating a call harmless. `randomUUID` exists only on secure origins. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
