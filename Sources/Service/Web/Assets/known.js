// Names of events that requests and purchases only number.

import { get } from "./api.js";
import { session } from "./session.js";

/** Asked for once while the page lives: name, date and place hardly change. */
const events = new Map();

/** An event, or `undefined` when it cannot be had, as when nobody is signed in. Never fails. */
export function eventDetails(eventID) {
  if (!session()) return Promise.resolve(undefined);
  if (!events.has(eventID)) {
    const loading = get(`/api/event/${encodeURIComponent(eventID)}`, { tries: 3 }).catch(() => {
      events.delete(eventID);
      return undefined;
    });
    events.set(eventID, loading);
  }
  return events.get(eventID);
}
