// Names of events that requests and purchases only number.

import { get } from "./api.js";

/** Asked for once while the page lives: name, date and place hardly change. */
const events = new Map();

/**
 * An event, or `undefined` when it cannot be had. Never fails.
 * @param options.again whether something about it is known to have changed
 */
export function eventDetails(eventID, { again = false } = {}) {
  if (again || !events.has(eventID)) {
    const loading = get(`/api/event/${encodeURIComponent(eventID)}`, { tries: 3 }).catch(() => {
      events.delete(eventID);
      return undefined;
    });
    events.set(eventID, loading);
  }
  return events.get(eventID);
}
