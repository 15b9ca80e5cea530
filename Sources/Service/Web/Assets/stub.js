// How tickets look: rows while they are held, stubs once they are bought.

import { h } from "./dom.js";
import { dayAndTime, money, postponed, seatName } from "./format.js";
import { poster } from "./poster.js";

function named(ticket) {
  return ticket.section || ticket.seat || ticket.row ? seatName(ticket) : `Ticket ${ticket.id}`;
}

/** Held tickets, one a row, with their prices. */
export function ticketRows(tickets, currency) {
  return h("ul", { class: "ticket-rows" }, tickets.map((ticket) =>
    h("li", null,
      h("span", null, h("strong", null, named(ticket)), ticket.section && h("small", null, ticket.section)),
      ticket.price !== undefined && h("span", { class: "ticket-price" }, money(ticket.price, currency)))));
}

/** One bought ticket. */
export function stub(event, ticket) {
  const part = (label, value) => value && h("div", null, h("dt", null, label), h("dd", null, value));
  return h("li", { class: "stub" },
    h("div", { class: "stub-art" }, poster(event.name ?? "Onsale")),
    h("div", { class: "stub-body" },
      h("p", { class: "stub-name" }, event.name ?? "Your event"),
      h("p", { class: "stub-when" },
        [event.postponed ? postponed : event.date && dayAndTime(event), event.location].filter(Boolean).join(" · ")),
      h("dl", null, part("Section", ticket.section), part("Row", ticket.row), part("Seat", ticket.seat),
        !ticket.row && !ticket.seat && part("Place", "General admission"))),
    h("p", { class: "stub-number" }, h("span", null, "No. "), String(ticket.id)));
}

export function stubs(event, tickets) {
  return h("ul", { class: "stubs" }, tickets.map((ticket) => stub(event, ticket)));
}
