// How requests end that did not become a purchase: what happened, that nothing was charged, and what to do now.

/**
 * @returns `{ title, text, mayRepeat, elsewhere }`: whether asking for the same again makes sense, and what the way
 *   to the event is called
 */
export function ending({ state, reason = "" }) {
  if (state === "rejected" && reason === "seats_taken") {
    return {
      title: "Those seats went to someone ahead of you",
      text: "Nothing was charged. Choose others, or let us find the best that is left.",
      elsewhere: "Choose other seats",
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
      title: "Your card was declined",
      text: "The time to pay ran out before another card went through. Nothing was charged, and the seats went "
        + "back to the line.",
      mayRepeat: true, elsewhere: "Back to the event",
    },
    sold_out: {
      title: "Sold out before your turn",
      text: "Everyone ahead of you took what there was. Nothing was charged. Other sections may still have tickets.",
      elsewhere: "See what is left",
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

function explained(reason) {
  const known = {
    closed: "Sales ended before it was your turn.",
    limit_exceeded: "It would have been more tickets than one person may buy.",
    not_adjacent: "There were no seats side by side any more.",
  };
  if (known[reason]) return known[reason];
  const words = reason.replaceAll("_", " ");
  return words && `${words[0].toUpperCase()}${words.slice(1)}.`;
}
