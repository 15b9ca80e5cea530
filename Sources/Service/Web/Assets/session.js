// Who is signed in, and the places in line this browser knows. Kept in localStorage, so that a reload, a
// second tab or a laptop that was closed find them again. Signing out forgets both. The tokens themselves are in
// cookies that no script can read.

const sessionKey = "onsale.session";
const placesKey = "onsale.places";
/** Places remembered; the oldest are forgotten first. */
const placeLimit = 40;

function read(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? fallback;
  } catch {
    return fallback;
  }
}

function write(key, value) {
  try {
    if (value === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Full or forbidden storage: the page works on, only a reload forgets.
  }
  memory.set(key, value);
}

const guestKey = "onsale.guest";

/** The token that guests look around with, or nothing. It gives no right that anybody has not, so scripts may read it. */
export function guestToken() {
  const value = read(guestKey, memory.get(guestKey));
  return value?.until > Date.now() ? value.token : undefined;
}

/** Keeps what was told of one, until it is time for the next; with nothing, forgets it. */
export function keepGuest(answer) {
  write(guestKey, answer && { token: answer.token, until: Date.now() + answer.refresh_in_seconds * 1_000 });
}

const wishKey = "onsale.wish";
/** Milliseconds for which somebody who goes away to sign in, be it by a mail, finds what they had chosen. */
const wishLife = 3_600_000;

/** What somebody without an account had chosen, and of which event: `event_id`, `name`, `choice`. */
export function keptWish() {
  const value = read(wishKey, memory.get(wishKey));
  return value?.at > Date.now() - wishLife ? value : undefined;
}

/** Keeps the last one; with nothing, forgets it. */
export function keepWish(wish) {
  write(wishKey, wish && { ...wish, at: Date.now() });
}

/** What storage refused to keep, for the life of the page. */
const memory = new Map();

/** The session, or `null`. An expired one counts as none. */
export function session() {
  const value = read(sessionKey, memory.get(sessionKey) ?? null);
  if (!value?.until) return null;
  return value.until < Date.now() ? null : value;
}

/** What the answer to signing in, or to a renewal, says of the session's times, by this device's own clock. */
function times(answer) {
  return { until: Date.now() + answer.session_expires_in_seconds * 1_000,
    renewAt: Date.now() + answer.refresh_in_seconds * 1_000 };
}

/** Notes that there is a new token. */
export function renewed(answer) {
  const value = session();
  if (value?.user_id === answer.user_id) write(sessionKey, { ...value, ...times(answer) });
}

/** Keeps a new session, as the answer to signing in told it, and tells the page. */
export function begin(answer, { email, name }) {
  const value = { user_id: answer.user_id, email, name, ...times(answer) };
  const before = read(sessionKey, null);
  if (before && before.user_id !== value.user_id) write(placesKey, {});
  write(sessionKey, value);
  window.dispatchEvent(new Event("session"));
}

/** Signs out. With `keepPlaces`, as when a token ran out, the same user finds their places on coming back. */
export function end({ keepPlaces = false } = {}) {
  if (keepPlaces) write(sessionKey, { user_id: read(sessionKey, null)?.user_id });
  else {
    write(sessionKey, null);
    write(placesKey, {});
    keepWish();
  }
  window.dispatchEvent(new Event("session"));
}

/** What is remembered of one request: its event's name, what was asked, how far back it began. */
export function place(requestID) {
  return read(placesKey, {})[requestID];
}

/** Every remembered request, newest first. */
export function places() {
  return Object.entries(read(placesKey, {}))
    .map(([id, value]) => ({ id, ...value }))
    .sort((a, b) => b.at - a.at);
}

/**
 * Two ids may name one place, as after its end was answered with another wish: moves what is remembered to the one that it
 * was told with last, and gives it back.
 */
export function samePlace(eventID, { request_id: requestID, position }) {
  const all = read(placesKey, {});
  const known = Object.keys(all).find((id) => id === requestID
    || (all[id].event_id === eventID && all[id].position === position && !all[id].lost));
  if (!known) return undefined;
  const remembered = all[known];
  if (known !== requestID) {
    delete all[known];
    all[requestID] = remembered;
    write(placesKey, all);
  }
  return remembered;
}

/** What is remembered of a place's event: enough to draw it without asking. */
export function what({ name, date, date_local, time_zone, location }) {
  return { name, date, date_local, time_zone, location };
}

/** Adds to what is remembered of a request. */
export function remember(requestID, change) {
  const all = read(placesKey, {});
  const next = { at: Date.now(), ...all[requestID], ...change };
  if (JSON.stringify(next) === JSON.stringify(all[requestID])) return;
  all[requestID] = next;
  const kept = Object.entries(all).sort((a, b) => b[1].at - a[1].at).slice(0, placeLimit);
  write(placesKey, Object.fromEntries(kept));
}
