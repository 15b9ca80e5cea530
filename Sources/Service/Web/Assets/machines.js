// What search engines read of an event, who do not look at pages.

import { h } from "./dom.js";
import { majorUnits } from "./format.js";

function availability(event) {
  if (event.onsale_state === "draft") return "PreSale";
  if (event.cancelled || ["paused", "closed"].includes(event.onsale_state)) return "OutOfStock";
  return event.available ? "InStock" : event.held ? "LimitedAvailability" : "SoldOut";
}

/** schema.org's description, as data that search engines read and browsers do not run. */
export function describeForMachines(event, signal) {
  const prices = event.sections.flatMap((each) => [each.price, each.max_price]);
  const price = (amount) => majorUnits(amount, event.currency);
  const script = h("script", { type: "application/ld+json" }, JSON.stringify({
    "@context": "https://schema.org", "@type": "Event", name: event.name, startDate: event.date_local ?? event.date,
    eventStatus: "https://schema.org/Event" + (event.cancelled ? "Cancelled" : event.postponed ? "Postponed"
      : event.date_was ? "Rescheduled" : "Scheduled"),
    previousStartDate: event.date_was_local ?? event.date_was ?? (event.postponed ? event.date_local : undefined),
    description: event.description || undefined,
    location: { "@type": "Place", name: event.location, address: event.location },
    offers: prices.length ? { "@type": "AggregateOffer", url: location.href, priceCurrency: event.currency,
      lowPrice: price(Math.min(...prices)), highPrice: price(Math.max(...prices)),
      validFrom: event.onsale_at_local ?? event.onsale_at ?? undefined,
      availability: `https://schema.org/${availability(event)}` } : undefined,
  }));
  // What came with the page may be of another event by now.
  for (const old of document.head.querySelectorAll('script[type="application/ld+json"]')) old.remove();
  document.head.append(script);
  signal.addEventListener("abort", () => script.remove());
}
