// The seats of an event as a plan: where each is drawn, what is around it. No document here.
//
// The API names section, row and seat; it knows no coordinates. So rows are laid out behind each other in the
// order they come, each centred on the stage and bent a little towards it. Many short rows, such as boxes, are
// set side by side. One unit is the distance of two seats.

/** Height of a row, and of a section's title, in units. */
const rowHeight = 1.16;
const titleHeight = 2.6;
const sectionGap = 1.4;
/** Room for the stage. */
const stageHeight = 4.2;
/** Between rows side by side: their labels stand here. */
const aisle = 2.6;
/** How far the end of the widest row leans forward. */
const bend = 2.2;

/** Rows are set side by side when there are this many times more of them than seats in one. */
const isTall = (rows, seats) => rows >= 2 * seats;

/** One row of a section: its `seats` from left to right, `left` and `y` of its corner, `line` it stands in. */
class Row {
  constructor(label, section) {
    this.label = label;
    this.section = section;
    this.seats = [];
  }

  get right() {
    return this.left + this.seats.length;
  }
}

/**
 * The plan. `seats` is flat, in drawing order: `ticket`, `index`, `row` (a `Row`), `place` (index in the row).
 * `lines` are the rows from the stage backwards, over all sections, those side by side together; `rows` are the
 * same in one list.
 */
export class SeatPlan {
  /**
   * @param tickets as the API gives them; those without row and seat are left out, nobody picks those by place
   * @param sections the event's, in their order
   * @param sectionOf finds a ticket's section, an object of `sections`
   */
  constructor(tickets, sections, sectionOf) {
    this.seats = [];
    this.lines = [];
    this.blocks = [];
    this.byTicket = new Map();
    const bySection = new Map(sections.map((section) => [section, new Map()]));
    for (const ticket of tickets) {
      const rows = bySection.get(sectionOf(ticket));
      if (!rows || (!ticket.row && !ticket.seat)) continue;
      const label = ticket.row ?? "";
      if (!rows.has(label)) rows.set(label, new Row(label, sectionOf(ticket)));
      rows.get(label).seats.push({ ticket, row: rows.get(label), index: 0, place: 0 });
    }
    const longest = (rows) => rows.reduce((most, row) => Math.max(most, row.seats.length), 1);
    const widest = longest([...bySection.values()].flatMap((rows) => [...rows.values()]));
    this.width = widest + 4;
    this.curve = Math.min(bend, widest / 10);
    let y = stageHeight + this.curve;
    for (const [section, labelled] of bySection) {
      const rows = [...labelled.values()];
      if (rows.length === 0) continue;
      this.blocks.push({ section, y });
      y += titleHeight;
      const length = longest(rows);
      const columns = isTall(rows.length, length) ? Math.floor((widest + aisle) / (length + aisle)) : 1;
      for (let first = 0; first < rows.length; first += columns) {
        this.addLine(rows.slice(first, first + columns), y);
        y += rowHeight;
      }
      y += sectionGap;
    }
    this.height = y;
    this.rows = this.lines.flat();
  }

  addLine(rows, y) {
    const width = rows.reduce((sum, row) => sum + row.seats.length, 0) + aisle * (rows.length - 1);
    let left = (this.width - width) / 2;
    for (const row of rows) {
      row.line = this.lines.length;
      row.left = left;
      row.y = y;
      left = row.right + aisle;
      row.seats.forEach((seat, place) => {
        seat.place = place;
        seat.index = this.seats.push(seat) - 1;
        this.byTicket.set(seat.ticket.id, seat);
      });
    }
    this.lines.push(rows);
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

  /** The seat whose cell holds a point, or `undefined`. Lines are sorted, so this is a binary search. */
  at(x, y) {
    const straight = y + this.lean(x);
    let low = 0, high = this.lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.lines[middle][0].y <= straight) low = middle;
      else high = middle - 1;
    }
    const row = this.lines[low]?.find((each) => x >= each.left && x < each.right);
    if (!row || straight < row.y || straight > row.y + rowHeight) return undefined;
    return row.seats[Math.floor(x - row.left)];
  }

  /** The seat that an arrow key leads to from `seat`; itself at the edge. */
  step(seat, dx, dy) {
    const { row } = seat;
    const line = this.lines[Math.min(this.lines.length - 1, Math.max(0, row.line + dy))];
    if (dx) {
      const beside = line[line.indexOf(row) + dx];
      return row.seats[seat.place + dx] ?? beside?.seats.at(dx > 0 ? 0 : -1) ?? seat;
    }
    const x = this.x(seat);
    const distance = (each) => Math.max(each.left - x, x - each.right, 0);
    const nearest = line.reduce((best, each) => (distance(each) < distance(best) ? each : best));
    const place = Math.floor(x - nearest.left);
    return nearest.seats[Math.min(nearest.seats.length - 1, Math.max(0, place))];
  }

  /** The next seat that can be chosen after `seat`, or before it; `undefined` when there is none. */
  nextFree(seat, direction) {
    for (let index = seat.index + direction; this.seats[index]; index += direction) {
      if (this.seats[index].ticket.available) return this.seats[index];
    }
    return undefined;
  }
}
