// Names of events that requests and purchases only number.

import { get } from "./api.js";

/** Asked for once while the page lives: name, date and place hardly change. */
const events = new Map();

/** An event, or `undefined` when it cannot be had. Never fails. */
export function eventDetails(eventID) {
  if (!events.has(eventID)) {
    const loading = get(`/api/event/${encodeURIComponent(eventID)}`, { tries: 3 }).catch(() => {
      events.delete(eventID);
      return undefined;
    });
    events.set(eventID, loading);
  }
  return events.get(eventID);
}
