// Painting a seat plan. Separate from the map's behaviour, and free of any state but what it is given.

/** Seats in view up to which they are painted as shapes; beyond that they are too small for one to tell. */
const pathLimit = 4_000;

/** Colours come from the style sheet, so that light, dark and high contrast are decided in one place. */
function colours(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    tiers: [1, 2, 3, 4, 5].map((tier) => read(`tier-${tier}`)),
    taken: read("seat-taken"), chosen: read("seat-chosen"), chosenMark: read("seat-mark"),
    number: read("seat-number"), ring: read("focus"), text: read("ink"), quiet: read("ink-quiet"),
    stage: read("stage"), paper: read("card"), line: read("line"), font: style.fontFamily,
  };
}

/** Pixels at the left edge of a magnified map in which the names of its rows stand, wherever it was moved. */
const gutter = 30;
/** Pixels between seats from which on a map may show less than whole rows. */
const magnified = 20;

export function gutterWidth({ view, isFitting }) {
  return !isFitting && view.scale >= magnified ? gutter : 0;
}

/**
 * @returns the rows of which there is something to be seen
 * @param map what is drawn: `canvas`, `box`, `plan`, `view`, `size`, `cursor`, `hovered`, `isSelected`
 * @param tierOf a price's rank among the event's prices, 0 for the highest
 */
export function drawSeats(map, tierOf) {
  const { canvas, plan, view, size } = map;
  const context = canvas.getContext("2d");
  const ink = colours(map.box);
  context.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
  context.clearRect(0, 0, size.width, size.height);
  const { scale } = view;
  const toX = (x) => x * scale + view.x;
  const toY = (y) => y * scale + view.y;

  const side = scale * (scale < 7 ? 0.86 : 0.78);
  const rows = plan.drawing ? plan.visible(view, size) : visibleRows(plan, view, size);
  const count = rows.reduce((sum, { first, last }) => sum + Math.max(0, last - first + 1), 0);
  if (plan.drawing) drawAreas(context, plan, ink, size, view);
  const brush = count > pathLimit
    ? new PixelBrush(context, size, Boolean(plan.drawing)) : new PathBrush(context, scale < 7 ? 0 : 0.3);
  for (const { x, y } of plan.drawing?.blocked.map((place) => plan.point(place)) ?? []) {
    brush.add(ink.taken, toX(x), toY(y), side * 0.46);
  }
  const marks = [];
  for (const { row, first, last } of rows) {
    for (let place = first; place <= last; place += 1) {
      const seat = row.seats[place];
      const x = toX(plan.x(seat)), y = toY(plan.y(seat));
      if (map.isSelected(seat.ticket)) {
        brush.add(ink.chosen, x, y, side * 1.08);
        marks.push([x, y, seat]);
      } else if (seat.ticket.available) {
        brush.add(ink.tiers[Math.min(tierOf(seat.ticket.price), ink.tiers.length - 1)], x, y, side);
        if (scale >= 22) marks.push([x, y, seat]);
      } else brush.add(ink.taken, x, y, side * 0.46);
    }
  }
  brush.paint();
  if (!plan.drawing) drawStage(context, plan, ink, toX, toY, scale);
  const label = plan.drawing ? drawnLabels : rowLabels;
  const labels = [];
  const hasGutter = gutterWidth(map) > 0;
  if (scale >= 9) for (const { row } of rows) label(context, plan, row, ink, toX, toY, scale, labels, hasGutter);
  for (const [x, y, seat] of marks) mark(context, x, y, seat, map.isSelected(seat.ticket), ink, scale);
  for (const block of plan.blocks) title(context, plan, block, ink, toX, toY, scale);
  if (map.hovered?.ticket.available) ring(context, map.hovered, plan, ink.chosen, 1.5, toX, toY, side);
  if (map.cursor && map.box.matches(":focus-visible")) {
    ring(context, map.cursor, plan, ink.ring, 3, toX, toY, side);
  }
  const seen = plan.drawing ? rows : rows.filter(({ row, first, last }) =>
    first <= last && toY(row.y + 1) > 0 && toY(row.y) < size.height);
  if (hasGutter) {
    const names = plan.drawing ? drawnNames(plan, seen, toY) : namesOfRows(plan, seen, (gutter - view.x) / scale, toY);
    drawGutter(context, names, ink, size);
  }
  return seen.map(({ row }) => row);
}

/** Where the names of rows stand; of those side by side, of the first that is in view. */
function namesOfRows(plan, seen, x, toY) {
  const names = new Map();
  for (const { row } of seen) {
    if (!row.label || names.has(row.line)) continue;
    names.set(row.line, { label: row.label, y: toY(row.y + 0.5 - plan.lean(Math.max(x, row.left))) });
  }
  return names.values();
}

/** The same in a drawn plan, where a row may lie as it likes: beside the leftmost of its seats that is in view. */
function drawnNames(plan, seen, toY) {
  const ends = seen.filter(({ row }) => row.label).map(({ row, first, last }) => {
    const seats = row.seats.slice(first, last + 1);
    const seat = seats.reduce((left, other) => (plan.x(other) < plan.x(left) ? other : left));
    return { label: row.label, x: plan.x(seat), y: plan.y(seat) };
  }).sort((a, b) => a.x - b.x);
  const names = [];
  for (const end of ends) {
    if (names.every(({ y }) => Math.abs(y - end.y) > 0.6)) names.push(end);
  }
  return names.map(({ label, y }) => ({ label, y: toY(y) }));
}

/** The names of the rows along the left edge. */
function drawGutter(context, names, ink, size) {
  context.fillStyle = ink.paper;
  context.fillRect(0, 0, gutter, size.height);
  context.fillStyle = ink.line;
  context.fillRect(gutter, 0, 1, size.height);
  context.fillStyle = ink.text;
  context.font = `600 13px ${ink.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { label, y } of names) context.fillText(label, gutter / 2, y, gutter - 4);
}

/** The rows that can be seen, and from which seat to which. */
function visibleRows(plan, view, size) {
  const { scale } = view;
  const top = -view.y / scale - 3 - plan.curve, bottom = (size.height - view.y) / scale + 3 + plan.curve;
  return plan.rows.filter((row) => row.y >= top && row.y <= bottom).map((row) => ({
    row,
    first: Math.max(0, Math.floor(-view.x / scale - row.left) - 1),
    last: Math.min(row.seats.length - 1, Math.ceil((size.width - view.x) / scale - row.left) + 1),
  }));
}

/** Paints seats as one path a colour, with round corners. */
class PathBrush {
  constructor(context, rounding) {
    this.context = context;
    this.rounding = rounding;
    this.paths = new Map();
  }

  add(colour, x, y, side) {
    let path = this.paths.get(colour);
    if (!path) this.paths.set(colour, path = new Path2D());
    box(path, x, y, side, side * this.rounding);
  }

  paint() {
    for (const [colour, path] of this.paths) {
      this.context.fillStyle = colour;
      this.context.fill(path);
    }
  }
}

/** Paints seats pixel by pixel: 70,000 of them in a seventh of the time that paths take without a GPU. */
class PixelBrush {
  /** @param keeps whether what is on the canvas stays behind the seats */
  constructor(context, { ratio }, keeps) {
    this.context = context;
    this.ratio = ratio;
    this.keeps = keeps;
    this.image = context.createImageData(context.canvas.width, context.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.words = new Map();
  }

  /** A colour as it lies in memory: red first, whatever the machine's byte order. */
  word(colour) {
    let word = this.words.get(colour);
    if (word === undefined) {
      this.context.fillStyle = colour;
      // The canvas gives opaque colours back as #rrggbb, however they were written.
      const [red, green, blue] = this.context.fillStyle.match(/[0-9a-f]{2}/g).map((text) => parseInt(text, 16));
      word = new Uint32Array(new Uint8Array([red, green, blue, 255]).buffer)[0];
      this.words.set(colour, word);
    }
    return word;
  }

  add(colour, x, y, side) {
    const { width, height } = this.image;
    const length = Math.max(1, Math.round(side * this.ratio));
    const left = Math.max(0, Math.round(x * this.ratio - length / 2));
    const top = Math.max(0, Math.round(y * this.ratio - length / 2));
    const right = Math.min(width, left + length), bottom = Math.min(height, top + length);
    const word = this.word(colour);
    for (let line = top; line < bottom; line += 1) {
      this.pixels.fill(word, line * width + left, Math.max(line * width + left, line * width + right));
    }
  }

  /** Replaces everything painted before, unless that is kept. */
  paint() {
    if (!this.keeps) return this.context.putImageData(this.image, 0, 0);
    const layer = new OffscreenCanvas(this.image.width, this.image.height);
    layer.getContext("2d").putImageData(this.image, 0, 0);
    this.context.save();
    this.context.resetTransform();
    this.context.drawImage(layer, 0, 0);
    this.context.restore();
    return undefined;
  }
}

function box(path, x, y, side, radius) {
  if (radius > 0) path.roundRect(x - side / 2, y - side / 2, side, side, radius);
  else path.rect(x - side / 2, y - side / 2, side, side);
}

/** The areas of a seating plan as it has them: shape, place, rotation and colours, and what is written in them. */
function drawAreas(context, plan, ink, size, view) {
  context.save();
  context.translate(view.x - plan.left * view.scale, view.y - plan.top * view.scale);
  const scale = view.scale / plan.unit;
  context.scale(scale, scale);
  for (const area of plan.drawing.areas) {
    context.save();
    context.translate(area.x, area.y);
    context.rotate(area.rotation * Math.PI / 180);
    const path = shape(area);
    if (area.color) {
      context.fillStyle = area.color;
      context.fill(path);
    }
    if (area.border_color) {
      context.strokeStyle = area.border_color;
      context.lineWidth = 1 / scale;
      context.stroke(path);
    }
    if (area.text && area.text.size * scale >= 4) {
      context.fillStyle = area.text.color ?? ink.text;
      context.font = `600 ${area.text.size}px ${ink.font}`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(area.text.text, area.text.x, area.text.y);
    }
    context.restore();
  }
  context.restore();
}

function shape({ shape: kind, width = 0, height = 0, radius_x: across = 0, radius_y: down = 0, points = [] }) {
  const path = new Path2D();
  if (kind === "rectangle") path.rect(0, 0, width, height);
  else if (kind === "polygon") {
    for (const { x, y } of points) path.lineTo(x, y);
    path.closePath();
  } else if (across > 0 && down > 0) path.ellipse(0, 0, across, down, 0, 0, 2 * Math.PI);
  return path;
}

/** `others`: the boxes of names that are drawn already. One that would lie on them is left out until there is room. */
function drawnLabels(context, plan, row, ink, toX, toY, scale, others) {
  if (!row.label) return;
  const height = Math.max(9, Math.min(13, scale * 0.55));
  context.fillStyle = ink.quiet;
  context.font = `500 ${height}px ${ink.font}`;
  context.textBaseline = "middle";
  context.textAlign = "center";
  const width = Math.min(context.measureText(row.label).width, 2 * scale) + 2;
  for (const { x, y } of plan.labels(row)) {
    // Where another row goes on there is no room.
    if (plan.at(x, y)) continue;
    const box = { x: toX(x), y: toY(y), width };
    const hides = (other) =>
      Math.abs(other.x - box.x) * 2 < other.width + width && Math.abs(other.y - box.y) < height;
    if (others.some(hides)) continue;
    others.push(box);
    context.fillText(row.label, box.x, box.y, 2 * scale);
  }
}

function drawStage(context, plan, ink, toX, toY, scale) {
  const middle = plan.width / 2, half = Math.min(plan.width * 0.3, 14);
  context.beginPath();
  context.moveTo(toX(middle - half), toY(1.2));
  context.lineTo(toX(middle + half), toY(1.2));
  context.quadraticCurveTo(toX(middle + half * 0.8), toY(3.3), toX(middle), toY(3.5));
  context.quadraticCurveTo(toX(middle - half * 0.8), toY(3.3), toX(middle - half), toY(1.2));
  context.fillStyle = ink.stage;
  context.fill();
  context.fillStyle = ink.text;
  context.font = `600 ${Math.max(10, Math.min(14, scale * 1.1))}px ${ink.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText("Stage", toX(middle), toY(2.25));
}

/** @param hasGutter whether the names of rows stand at the left edge already */
function rowLabels(context, plan, row, ink, toX, toY, scale, others, hasGutter) {
  if (!row.label) return;
  context.fillStyle = ink.quiet;
  context.font = `500 ${Math.max(9, Math.min(13, scale * 0.55))}px ${ink.font}`;
  context.textBaseline = "middle";
  const label = (x, align) => {
    context.textAlign = align;
    context.fillText(row.label, toX(x), toY(row.y + 0.5 - plan.lean(x)), 2 * scale);
  };
  if (!hasGutter) label(row.left - 0.3, "right");
  // Between rows side by side there is room for one.
  if (plan.lines[row.line].length === 1) label(row.right + 0.3, "left");
}

function title(context, plan, block, ink, toX, toY, scale) {
  const height = Math.max(11, Math.min(16, scale * 0.9));
  if (scale * 2.6 < height) return;
  context.fillStyle = ink.text;
  context.font = `650 ${height}px ${ink.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(block.section.name, toX(plan.width / 2), toY(block.y + 1.3), plan.width * scale);
}

function mark(context, x, y, seat, isChosen, ink, scale) {
  if (isChosen) {
    // A tick, so that chosen is not told by colour alone.
    const size = scale * 0.2;
    context.strokeStyle = ink.chosenMark;
    context.lineWidth = Math.max(1, scale * 0.1);
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(x - size, y + size * 0.05);
    context.lineTo(x - size * 0.25, y + size * 0.75);
    context.lineTo(x + size, y - size * 0.65);
    context.stroke();
    return;
  }
  context.fillStyle = ink.number;
  context.font = `600 ${Math.min(14, scale * 0.38)}px ${ink.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(seat.ticket.seat ?? "", x, y + 0.5, scale * 0.7);
}

function ring(context, seat, plan, colour, width, toX, toY, side) {
  const path = new Path2D();
  box(path, toX(plan.x(seat)), toY(plan.y(seat)), side * 1.2 + width, side * 0.4);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}
