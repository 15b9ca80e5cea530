// The seats of an event where its seating plan draws them, with the plan's areas. No document here.
//
// The same shape as `SeatPlan`, so that the map need not know which of them it shows. One unit is the usual distance
// of two seats.

/** Room around everything, for rows' labels. */
const margin = 2;
/** How far from a seat's middle a finger may be. */
const reach = 0.7;

/** Seats of one label in one section: from one end to the other. */
class DrawnRow {
  constructor(label, section) {
    this.label = label;
    this.section = section;
    this.seats = [];
  }
}

/** `seats`, `rows` and `byTicket` as in `SeatPlan`; `areas` and `blocked` in units. */
export class DrawnPlan {
  /**
   * @param tickets those that have a position are drawn
   * @param drawing what `GET /api/event/ID/plan` answers
   */
  constructor(tickets, sections, sectionOf, drawing) {
    this.drawing = drawing;
    this.blocks = [];
    this.lines = [];
    this.curve = 0;
    this.byTicket = new Map();
    const seats = tickets.filter((ticket) => ticket.x !== undefined);
    this.unit = usualDistance([...seats, ...drawing.blocked]);
    this.frame(seats);
    this.rows = this.group(seats, sections, sectionOf);
    this.seats = this.rows.flatMap((row) => row.seats);
    this.cells = new Map();
    this.seats.forEach((seat, index) => {
      seat.index = index;
      this.byTicket.set(seat.ticket.id, seat);
      const key = this.cell(seat.at.x, seat.at.y);
      this.cells.set(key, [...(this.cells.get(key) ?? []), seat]);
    });
  }

  /** What is seen: the plan as large as it says, and whatever lies outside of that. */
  frame(seats) {
    const { size, areas, blocked } = this.drawing;
    const points = [...seats, ...blocked, ...areas.flatMap(corners)];
    if (points.length === 0) points.push({ x: 0, y: 0 }, { x: size.width, y: size.height });
    const across = points.map((point) => point.x), down = points.map((point) => point.y);
    const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
    const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);
    this.left = least(across) / this.unit - margin;
    this.top = least(down) / this.unit - margin;
    this.width = most(across) / this.unit + margin - this.left;
    this.height = most(down) / this.unit + margin - this.top;
  }

  /** A place of the plan in units. */
  point({ x, y }) {
    return { x: x / this.unit - this.left, y: y / this.unit - this.top };
  }

  group(seats, sections, sectionOf) {
    const rows = new Map();
    for (const ticket of seats) {
      const section = sectionOf(ticket);
      if (!section) continue;
      const key = JSON.stringify([section.name, ticket.row, ticket.block]);
      if (!rows.has(key)) rows.set(key, new DrawnRow(ticket.row ?? "", section));
      const row = rows.get(key);
      row.seats.push({ ticket, row, index: 0, place: 0, at: this.point(ticket) });
    }
    for (const row of rows.values()) {
      // Along the row, which may run down the page.
      const xs = row.seats.map(({ at }) => at.x), ys = row.seats.map(({ at }) => at.y);
      const isDown = Math.max(...ys) - Math.min(...ys) > Math.max(...xs) - Math.min(...xs);
      row.seats.sort((a, b) => (isDown ? a.at.y - b.at.y : a.at.x - b.at.x));
      row.seats.forEach((seat, place) => {
        seat.place = place;
      });
    }
    return [...rows.values()];
  }

  cell(x, y) {
    return `${Math.floor(x)},${Math.floor(y)}`;
  }

  x(seat) {
    return seat.at.x;
  }

  y(seat) {
    return seat.at.y;
  }

  /** Rows with a seat that can be seen, with the seats from the first to the last of these. */
  visible(view, size) {
    const left = -view.x / view.scale - 1, right = (size.width - view.x) / view.scale + 1;
    const top = -view.y / view.scale - 1, bottom = (size.height - view.y) / view.scale + 1;
    const isSeen = ({ at }) => at.x >= left && at.x <= right && at.y >= top && at.y <= bottom;
    return this.rows.map((row) => ({ row, first: row.seats.findIndex(isSeen), last: row.seats.findLastIndex(isSeen) }))
      .filter(({ first }) => first >= 0);
  }

  /** Where the row's label stands: beyond each of its ends. */
  labels(row) {
    const first = row.seats[0].at, last = row.seats.at(-1).at;
    const length = Math.hypot(last.x - first.x, last.y - first.y);
    const step = length ? { x: (last.x - first.x) / length, y: (last.y - first.y) / length } : { x: 1, y: 0 };
    return [{ x: first.x - step.x * 1.1, y: first.y - step.y * 1.1 }, { x: last.x + step.x * 1.1, y: last.y + step.y * 1.1 }];
  }

  /** The seat nearest to a point, if it is under a finger. */
  at(x, y) {
    let best, least = reach;
    for (let across = -1; across <= 1; across += 1) {
      for (let down = -1; down <= 1; down += 1) {
        for (const seat of this.cells.get(this.cell(x + across, y + down)) ?? []) {
          const distance = Math.hypot(seat.at.x - x, seat.at.y - y);
          if (distance < least) [best, least] = [seat, distance];
        }
      }
    }
    return best;
  }

  /** The seat that an arrow key leads to: the nearest one in that direction, what lies aside counting more. */
  step(seat, dx, dy) {
    let here = seat;
    for (let count = Math.max(Math.abs(dx), Math.abs(dy)); count > 0; count -= 1) {
      here = this.neighbour(here, Math.sign(dx), Math.sign(dy));
    }
    return here;
  }

  neighbour(seat, dx, dy) {
    let best = seat, least = Infinity;
    for (const other of this.seats) {
      const ahead = (other.at.x - seat.at.x) * dx + (other.at.y - seat.at.y) * dy;
      if (ahead < 0.3) continue;
      const aside = Math.abs((other.at.x - seat.at.x) * dy) + Math.abs((other.at.y - seat.at.y) * dx);
      const cost = ahead + aside * 3;
      if (cost < least) [best, least] = [other, cost];
    }
    return best;
  }

  nextFree(seat, direction) {
    for (let index = seat.index + direction; this.seats[index]; index += direction) {
      if (this.seats[index].ticket.available) return this.seats[index];
    }
    return undefined;
  }
}

/** The outline of an area, turned as the plan says, as points of the plan. */
function outline(area) {
  const { width = 0, height = 0, radius_x: across = 0, radius_y: down = 0, points = [] } = area;
  if (area.shape === "rectangle") return [[0, 0], [width, 0], [width, height], [0, height]].map(turned(area));
  if (area.shape === "polygon") return points.map(({ x, y }) => turned(area)([x, y]));
  return [[-across, -down], [across, -down], [across, down], [-across, down]].map(turned(area));
}

function corners(area) {
  return [...outline(area), ...(area.text ? [turned(area)([area.text.x, area.text.y])] : [])];
}

function turned({ x, y, rotation }) {
  const angle = rotation * Math.PI / 180;
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  return ([dx, dy]) => ({ x: x + dx * cosine - dy * sine, y: y + dx * sine + dy * cosine });
}

/** The median of some seats' distances to the nearest other one, in the plan's unit; by their neighbours in the list. */
function usualDistance(places) {
  const distances = [];
  for (let index = 1; index < places.length; index += 1) {
    const distance = Math.hypot(places[index].x - places[index - 1].x, places[index].y - places[index - 1].y);
    if (distance > 0) distances.push(distance);
  }
  distances.sort((a, b) => a - b);
  return distances[Math.floor(distances.length / 2)] ?? 25;
}
