// Numbers, money and dates in the reader's language.

import { currencyDigits } from "./currencies.js";

/**
 * The calendar and the digits of tickets and of everything else on the page, whatever is usual where the reader lives: a
 * year must be the one that the venue prints (2031 is 2574 in Thailand's calendar, and 1410 in Iran's).
 */
const usual = { calendar: "gregory", numberingSystem: "latn" };

const number = new Intl.NumberFormat(undefined, { numberingSystem: usual.numberingSystem });

export function count(value) {
  return number.format(value);
}

/** "1 ticket", "2 tickets". */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

const moneyFormats = new Map();

/** Digits behind the point by ISO 4217, which amounts count in; the browser's own differ for some twenty currencies. */
function digitsOf(currency) {
  return currencyDigits[currency] ?? 2;
}

/** With as many digits as the currency has; those that the browser leaves out are left out of whole amounts. */
function moneyFormat(currency, isWhole) {
  const key = `${currency} ${isWhole}`;
  let format = moneyFormats.get(key);
  if (!format) {
    const digits = digitsOf(currency);
    try {
      const options = { style: "currency", currency, numberingSystem: usual.numberingSystem };
      const shown = new Intl.NumberFormat(undefined, options).resolvedOptions().maximumFractionDigits;
      format = new Intl.NumberFormat(undefined, { ...options, maximumFractionDigits: digits,
        minimumFractionDigits: isWhole ? Math.min(shown, digits) : digits });
    } catch {
      // Not a currency code that Intl takes: the plain number, and the code beside it.
      format = { format: (value) => `${value.toFixed(digits)} ${currency}` };
    }
    moneyFormats.set(key, format);
  }
  return format;
}

/** Minor units as money. */
export function money(amount, currency) {
  if (amount === 0) return "Free";
  return moneyFormat(currency, amount % 10 ** digitsOf(currency) === 0).format(majorUnits(amount, currency));
}

/** Minor units as a plain number of the currency's main unit. */
export function majorUnits(amount, currency) {
  return amount / 10 ** digitsOf(currency);
}

/** A plain number of the currency's main unit in minor units. */
export function minorUnits(value, currency) {
  return Math.round(value * 10 ** digitsOf(currency));
}

/** "€40.00" or "€40.00 – €80.00". */
export function moneyRange(low, high, currency) {
  return low === high ? money(low, currency) : `${money(low, currency)} – ${money(high, currency)}`;
}

/**
 * What formats a moment: on the clocks of the place where something happens, or on the reader's own where `at` names no
 * zone. A browser that does not know the zone shows the venue's hour by its offset.
 */
function clock({ time_zone: zone, date_local: local }, options) {
  const offset = /[+-]\d\d:\d\d$/.exec(local ?? "")?.[0];
  for (const timeZone of [zone, offset]) {
    try {
      if (timeZone) return new Intl.DateTimeFormat(undefined, { timeZone, ...usual, ...options });
    } catch {
      // A zone that is newer than the browser, or an offset in a browser that takes names only.
    }
  }
  return new Intl.DateTimeFormat(undefined, { ...usual, ...options });
}

/** @param at an event, or `{ date, time_zone, date_local }`; without a zone, a moment of the reader's own day */
function formatted(at, options) {
  const date = new Date(at.date);
  return Number.isNaN(date.getTime()) ? String(at.date) : clock(at, options).format(date);
}

const day = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
const hour = { hour: "numeric", minute: "2-digit" };
const zoneName = { timeZoneName: "short" };

/** "Saturday, 14 June 2025". */
export function longDate(at) {
  return formatted(at, { ...day, weekday: "long", month: "long" });
}

/** "Sat, 14 Jun 2025". */
export function shortDate(at) {
  return formatted(at, day);
}

/** "19:30 CEST". */
export function timeOfDay(at) {
  return formatted(at, { ...hour, ...zoneName });
}

/** Day and hour: "Sat, 14 Jun 2025, 10:00 CEST". */
export function dayAndTime(at) {
  return formatted(at, { ...day, ...hour, ...zoneName });
}

/** The same on the reader's own clock, where that shows another day or hour: an aside. */
export function ownDayAndTime(at) {
  const own = { date: at.date };
  const isSame = formatted(at, { ...day, ...hour }) === formatted(own, { ...day, ...hour });
  return isSame ? undefined : dayAndTime(own);
}

/** What an event's page and the list say in place of a date that nobody knows. */
export const postponed = "Postponed, new date to follow";

/** When an event was to be before it was moved. */
export function dateBefore(event) {
  return { date: event.date_was, date_local: event.date_was_local, time_zone: event.time_zone };
}

/** When a sale opens, on the clocks of the venue. */
export function opening(event) {
  return { date: event.onsale_at, date_local: event.onsale_at_local, time_zone: event.time_zone };
}

/** A countdown: "6:05", "1:02:03", "3 d 04:00:00". */
export function countdown(milliseconds) {
  const total = Math.max(0, Math.ceil(milliseconds / 1_000));
  const two = (value) => String(value).padStart(2, "0");
  const [days, hours, minutes, seconds] =
    [Math.floor(total / 86_400), Math.floor(total / 3_600) % 24, Math.floor(total / 60) % 60, total % 60];
  if (days > 0) return `${days} d ${two(hours)}:${two(minutes)}:${two(seconds)}`;
  if (hours > 0) return `${hours}:${two(minutes)}:${two(seconds)}`;
  return `${minutes}:${two(seconds)}`;
}

/** A countdown to be read out: "6 minutes 5 seconds". */
export function spokenDuration(milliseconds) {
  const total = Math.max(0, Math.round(milliseconds / 1_000));
  const minutes = Math.floor(total / 60), seconds = total % 60;
  return [minutes ? counted(minutes, "minute") : "", seconds || !minutes ? counted(seconds, "second") : ""]
    .filter(Boolean).join(" ");
}

/** An estimate in seconds as a range people say: "about 4 to 7 minutes". Nothing without one. */
export function estimate(eta) {
  if (!eta) return undefined;
  const low = Math.max(0, eta.low), high = eta.high;
  if (high !== undefined && high < 10) return "any moment now";
  if (high !== undefined && high < 60) return "less than a minute";
  const hours = (high ?? low) >= 7_200;
  const unit = hours ? 3_600 : 60;
  const name = hours ? "hour" : "minute";
  const from = Math.max(hours ? 0.5 : 1, hours ? Math.round(low / unit * 2) / 2 : Math.floor(low / unit));
  if (high === undefined) return `more than ${counted(from, name)}`;
  const to = hours ? Math.ceil(high / unit * 2) / 2 : Math.ceil(high / unit);
  return from >= to ? `about ${counted(to, name)}` : `${count(from)} to ${counted(to, name)}`;
}

/** How a seat is called: "Row C, seat 12", "Box 7, seat 2" where the row has a name of its own; with the block where
 * there are two rows of the name. */
export function seatName(ticket) {
  if (!ticket.row && !ticket.seat) return "General admission";
  const row = ticket.row && (/^[\p{L}\d]{1,3}$/u.test(ticket.row) ? `Row ${ticket.row}` : ticket.row);
  return [row, ticket.block && `block ${ticket.block}`, ticket.seat && `seat ${ticket.seat}`].filter(Boolean).join(", ");
}

/** What can be bought of an event right now, in words. `tone` is `good`, `few`, `wait` or `none`. */
export function availability(event) {
  const { onsale_state: state, available, held } = event;
  if (event.cancelled || state === "cancelled") return { text: "Cancelled", tone: "none" };
  if (state === "closed") return { text: "Sales have ended", tone: "none" };
  if (state === "sold_out") return { text: "Sold out", tone: "none" };
  if (state === "draft") {
    return { text: event.onsale_at ? `On sale ${dayAndTime(opening(event))}` : "Not on sale yet", tone: "wait" };
  }
  if (available === 0 && held === 0) return { text: "Sold out", tone: "none" };
  if (available === 0 && held > 0) return { text: "All held, some may come back", tone: "wait" };
  if (available === 0) return { text: "None free right now", tone: "wait" };
  if (state === "paused" || state === "stopped") return { text: "Sales are paused", tone: "wait" };
  if (available <= 20) return { text: `Only ${count(available)} left`, tone: "few" };
  return { text: `${count(available)} available`, tone: "good" };
}
