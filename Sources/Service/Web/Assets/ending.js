// How requests end that did not become a purchase: what happened, that nothing was charged, and what to do now.

import { count, counted } from "./format.js";
import { mayBePaid } from "./line.js";

/**
 * @param ask what was asked for, where this browser knows it
 * @param unsold how many tickets are free or held in the whole house, if that is known
 * @returns `{ title, text, mayRepeat, elsewhere }`: whether asking for the same again makes sense, and what the way
 *   to the event is called
 */
export function ending({ state, reason = "", left }, ask, unsold) {
  if (state === "rejected" && want[reason]) {
    return { elsewhere: "Choose for yourself", ...want[reason](ask, left, unsold) };
  }
  if (state === "rejected" && reason === "seats_taken") {
    return {
      title: "Those seats went to someone ahead of you",
      text: "Nothing was charged. Choose others, or let us find the best that is left.",
      elsewhere: "Choose other seats",
    };
  }
  if (state === "rejected" && reason === "closed") {
    return {
      title: "Sales ended before it was your turn",
      text: "Nothing was charged.",
      elsewhere: "Back to the event",
    };
  }
  if (reason === "event_cancelled") {
    return {
      title: "The event is cancelled",
      text: "It does not take place, and nothing is sold any more. Nothing was charged.",
      elsewhere: "Back to the event",
    };
  }
  if (state === "expired" && reason === "tickets_taken") {
    return {
      title: "Your seats had been sold",
      text: "They went to somebody else before your payment was begun, so nothing was charged. You can ask again; you "
        + "start at the back.",
      mayRepeat: true, elsewhere: "Back to the event",
    };
  }
  if (state === "expired" && reason === "authorisation_lapsed") {
    return {
      title: "Your payment did not go through",
      text: "The tickets were yours, and then the payment provider could not take the money. Nothing was charged, and "
        + "they are on sale again.",
      mayRepeat: true, elsewhere: "Back to the event",
    };
  }
  if (state === "rejected" && reason === "queue_lost") {
    return {
      title: "Your place in line was lost",
      text: "The line had to be begun anew after a failure on our side. Nothing was charged. "
        + "Those who were in it and ask again at once keep their order.",
      mayRepeat: true, elsewhere: "Back to the event",
    };
  }
  return {
    expired: {
      title: "Your time to pay ran out",
      text: "The seats went back to the line and nothing was charged. You can ask again; you start at the back.",
      mayRepeat: true, elsewhere: "Back to the event",
    },
    declined: {
      title: declined(reason).why,
      text: reason === "too_late" ? "By then the time to pay had run out, and the seats were not free any more. The "
          + "payment was cancelled: nothing is charged."
        : "The time to pay ran out before a payment went through. Nothing was charged, and the seats went back to the line."
          + (mayBePaid({ state, reason }) ? " Should your bank still say yes while they are free, and you have not asked "
            + "again, they are yours, and are charged; or as good ones are, if you said that these will do. This page tells you."
            : ""),
      mayRepeat: true, elsewhere: "Back to the event",
    },
    sold_out: {
      title: "Sold out before your turn",
      text: "Every ticket was bought by people ahead of you. Nothing was charged.",
      elsewhere: "Back to the event",
    },
    cancelled: {
      title: "You gave up your place",
      text: "Nothing was charged. If you change your mind you can ask again; you start at the back.",
      mayRepeat: true, elsewhere: "Back to the event",
    },
    rejected: {
      title: "This could not be sold",
      text: `${explained(reason)} Nothing was charged.`.trim(),
      elsewhere: "Back to the event",
    },
  }[state];
}

/** What was asked for cannot be had any more, and something else may: in whose words, and with what number. */
const want = {
  only_n_left: (ask, left = 0, unsold) => ({
    title: `Only ${count(left)} left${ask?.section && left !== unsold ? ` in ${ask.section}` : ""}`,
    text: `${ask?.quantity ? `You asked for ${count(ask.quantity)}. ` : ""}Nothing was charged.`,
  }),
  not_together: (ask) => ({
    title: `No ${ask?.quantity ? `${count(ask.quantity)} ` : ""}seats side by side are left`,
    text: `${ask?.section ? `${ask.section} still has` : "There are still"} enough seats, but not next to each other. `
      + "Nothing was charged.",
  }),
  section_sold_out: (ask) => ({
    title: `${ask?.section ? `Section ${ask.section}` : "This section"} is sold out`,
    text: "The people ahead of you bought what it had. Nothing was charged.",
  }),
};

/**
 * Smaller or looser wishes that may be had instead, the nearest first: `{ text, ask }`. None where nobody knows what was
 * asked for.
 * @param unsold how many tickets are free or held in the whole house, if that is known
 * @param isWhole whether the section is all that the house has: what it cannot give nobody finds elsewhere
 */
export function offers({ state, reason, left }, ask, unsold = Infinity, isWhole = false) {
  if (state !== "rejected" || !want[reason] || !ask?.quantity || ask.ticket_ids) return [];
  const { quantity, section, adjacent } = ask;
  const found = [];
  if (reason === "only_n_left" && left > 0 && left < quantity) {
    // Side by side is tried first in any case; insisting on it could cost the place.
    found.push({ text: `Take ${count(left)}`, ask: { quantity: left, ...(section ? { section } : {}) } });
  }
  if (reason === "not_together") {
    found.push({ text: `Take ${counted(quantity, "seat")} apart`, ask: { quantity, ...(section ? { section } : {}) } });
  }
  if (isWhole) return found;
  if (section && unsold >= quantity) {
    found.push({ text: reason === "only_n_left" ? `${count(quantity)} anywhere in the house` : "Anywhere in the house",
      ask: { quantity, ...(adjacent ? { adjacent } : {}) } });
  } else if (section && unsold > 0 && reason === "section_sold_out") {
    found.push({ text: `Take ${count(unsold)} anywhere in the house`, ask: { quantity: unsold } });
  }
  return found;
}

/** Told with tickets that are others than the buyer was shown. */
export const otherSeats = "Your bank answered late, and by then somebody else had the seats that you were shown. These are others "
  + "of the same section, as you agreed, for the same money.";

/** Whether what was bought could not be paid after all. */
export const isLapsed = ({ reason }) => reason === "authorisation_lapsed";

/** Why a payment was declined, and what to do about it, by the provider's code. Nothing was charged in any case. */
export function declined(reason) {
  const another = "try another card";
  const [why, advice] = {
    insufficient_funds: ["Your card has not enough money for this", another],
    expired_card: ["Your card has expired", another],
    incorrect_cvc: ["The security code does not fit the card", "enter the card again"],
    authentication_required: ["Your bank wanted to ask you first, and that did not happen", "pay again, and confirm it with your bank"],
    authorisation_lapsed: ["Your bank let go of the payment before it could be taken", "pay once more"],
    payment_intent_authentication_failure: ["Your bank was not convinced that it is you", "pay again, or try another card"],
    card_velocity_exceeded: ["Your card was used too often in a short time", another],
    withdrawal_count_limit_exceeded: ["Your card's limit is reached", another],
    currency_not_supported: ["Your card does not take this currency", another],
    card_not_supported: ["Your card does not take this kind of payment", another],
    too_late: ["Your bank agreed too late", "pay again"],
    processing_error: ["The payment could not be processed", "pay again in a moment"],
    amount_too_small: ["The amount is below the least that can be charged", "ask the organizer"],
    amount_too_large: ["The amount is above what can be charged at once", "give the seats back, and ask for fewer"],
    resource_missing: ["The payment provider does not know this card", another],
    processing_timeout: ["Your bank did not answer in time", another],
    payments_busy: ["The payment provider is too busy right now", "pay again in a moment"],
    payments_unavailable: ["Payments do not work right now, which is our fault", "pay again in a moment"],
    payment_unknown: ["The payment provider did not answer in time", "pay again in a moment"],
  }[reason] ?? ["Your card was declined", another];
  return { why, advice };
}

function explained(reason) {
  const known = {
    limit_exceeded: "It would have been more tickets than one person may buy.",
    max_amount_exceeded: "The tickets would have cost more than you allowed.",
    unknown_seats: "These seats are not on sale.",
    unknown_section: "The event does not have this section.",
  };
  if (known[reason]) return known[reason];
  const words = reason.replaceAll("_", " ");
  return words && `${words[0].toUpperCase()}${words.slice(1)}.`;
}
