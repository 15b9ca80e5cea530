// What the signed-in buyer has open, at whichever events and on whichever device they asked for it.

import { deadline } from "./line.js";
import { remember, samePlace } from "./session.js";

/** Whether two places are one; it may have been told with two ids. */
export function isSame(a, b) {
  return a.id === b.id || (a.event_id === b.event_id && a.position === b.position && a.position !== undefined);
}

/**
 * Takes what the server says of all of them, and remembers it as if each had begun in this browser.
 * @returns the places, as they are told: what runs out soonest first
 */
export function takeRequests({ requests }) {
  return requests.map((request) => {
    const { request_id: id, event_id: eventID, event_name: name, state, position, hold, reason, ahead } = request;
    const known = samePlace(eventID, request);
    const until = deadline(request);
    remember(id, { event_id: eventID, state, position, ended: false, until, ...(hold ? { receipt: hold } : {}),
      ...(name && !known?.name ? { name } : {}) });
    return { id, event_id: eventID, name: known?.name ?? name, state, position, reason, ahead, until,
      standing: request.hold_time };
  });
}
