// The seats of an event as a plan: where each is drawn, what is around it. No document here.
//
// The API names section, row and seat; it knows no coordinates. So rows are laid out behind each other in the
// order they come, each centred on the stage and bent a little towards it. One unit is the distance of two seats.

/** Height of a row, and of a section's title, in units. */
const rowHeight = 1.16;
const titleHeight = 2.6;
const sectionGap = 1.4;
/** How far the end of the widest row leans forward. */
const bend = 2.2;

/** One row of a section. */
class Row {
  constructor(label, section) {
    this.label = label;
    this.section = section;
    this.seats = [];
    this.y = 0;
    this.left = 0;
  }
}

/**
 * The plan. `seats` is flat, in drawing order: `ticket`, `index`, `row` (a `Row`), `place` (index in the row).
 * `rows` are all rows from the stage backwards, over all sections.
 */
export class SeatPlan {
  /**
   * @param tickets as the API gives them; those without row and seat are left out, nobody picks those by place
   * @param sections the event's, in their order
   * @param sectionOf finds a ticket's section, an object of `sections`
   */
  constructor(tickets, sections, sectionOf) {
    this.seats = [];
    this.rows = [];
    this.byTicket = new Map();
    this.blocks = [];
    const bySection = new Map(sections.map((section) => [section, new Map()]));
    for (const ticket of tickets) {
      if (!ticket.row && !ticket.seat) continue;
      const section = sectionOf(ticket);
      const rows = bySection.get(section);
      if (!rows) continue;
      const label = ticket.row ?? "";
      if (!rows.has(label)) rows.set(label, new Row(label, section));
      rows.get(label).seats.push({ ticket, row: rows.get(label), index: 0, place: 0 });
    }
    const all = [...bySection.values()].flatMap((rows) => [...rows.values()]);
    const widest = all.reduce((most, row) => Math.max(most, row.seats.length), 1);
    this.width = widest + 4;
    this.curve = Math.min(bend, widest / 10);
    let y = 4.2 + this.curve;
    for (const [section, rows] of bySection) {
      if (rows.size === 0) continue;
      const block = { section, y, bottom: 0, count: 0 };
      y += titleHeight;
      for (const row of rows.values()) {
        row.y = y;
        row.left = (this.width - row.seats.length) / 2;
        y += rowHeight;
        this.rows.push(row);
        row.index = this.rows.length - 1;
        row.seats.forEach((seat, place) => {
          seat.place = place;
          seat.index = this.seats.push(seat) - 1;
          this.byTicket.set(seat.ticket.id, seat);
        });
        block.count += row.seats.length;
      }
      block.bottom = y;
      y += sectionGap;
      this.blocks.push(block);
    }
    this.height = y;
  }

  /** How far forward things at `x` lean. */
  lean(x) {
    const half = this.width / 2;
    return this.curve * ((x - half) / half) ** 2;
  }

  x(seat) {
    return seat.row.left + seat.place + 0.5;
  }

  y(seat) {
    return seat.row.y + 0.5 - this.lean(this.x(seat));
  }

  /** The seat whose cell holds a point, or `undefined`. Rows are sorted, so this is a binary search. */
  at(x, y) {
    const straight = y + this.lean(x);
    let low = 0, high = this.rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.rows[middle].y <= straight) low = middle;
      else high = middle - 1;
    }
    const row = this.rows[low];
    if (!row || straight < row.y || straight > row.y + rowHeight) return undefined;
    return row.seats[Math.floor(x - row.left)];
  }

  /** The seat that an arrow key leads to from `seat`; itself at the edge. */
  step(seat, dx, dy) {
    if (dx) return seat.row.seats[seat.place + dx] ?? seat;
    const row = this.rows[Math.min(this.rows.length - 1, Math.max(0, seat.row.index + dy))];
    const x = this.x(seat);
    const place = Math.round(x - 0.5 - row.left);
    return row.seats[Math.min(row.seats.length - 1, Math.max(0, place))];
  }

  /** The next seat that can be chosen after `seat`, or before it; `undefined` when there is none. */
  nextFree(seat, direction) {
    for (let index = seat.index + direction; this.seats[index]; index += direction) {
      if (this.seats[index].ticket.available) return this.seats[index];
    }
    return undefined;
  }
}
