// Painting a seat plan. Separate from the map's behaviour, and free of any state but what it is given.

/** Colours come from the style sheet, so that light, dark and high contrast are decided in one place. */
function colours(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    tiers: [1, 2, 3, 4, 5].map((tier) => read(`tier-${tier}`)),
    taken: read("seat-taken"), chosen: read("seat-chosen"), chosenMark: read("seat-mark"),
    number: read("seat-number"), ring: read("focus"), text: read("ink"), quiet: read("ink-quiet"),
    stage: read("stage"), font: style.fontFamily,
  };
}

/**
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

  drawStage(context, plan, ink, toX, toY, scale);

  // Seats of one colour are one path: filling 70,000 shapes one by one would take many times as long.
  const free = ink.tiers.map(() => new Path2D());
  const taken = new Path2D(), chosen = new Path2D();
  const marks = [];
  const side = scale * (scale < 7 ? 0.86 : 0.78);
  const radius = scale < 7 ? 0 : side * 0.3;
  const top = (-view.y) / scale - 3 - plan.curve, bottom = (size.height - view.y) / scale + 3 + plan.curve;
  for (const row of plan.rows) {
    if (row.y < top || row.y > bottom) continue;
    const first = Math.max(0, Math.floor(-view.x / scale - row.left) - 1);
    const last = Math.min(row.seats.length - 1, Math.ceil((size.width - view.x) / scale - row.left) + 1);
    for (let place = first; place <= last; place += 1) {
      const seat = row.seats[place];
      const x = toX(plan.x(seat)), y = toY(plan.y(seat));
      if (map.isSelected(seat.ticket)) {
        box(chosen, x, y, side * 1.08, radius);
        marks.push([x, y, seat]);
      } else if (seat.ticket.available) {
        box(free[Math.min(tierOf(seat.ticket.price), free.length - 1)], x, y, side, radius);
        if (scale >= 22) marks.push([x, y, seat]);
      } else box(taken, x, y, side * 0.46, radius * 0.46);
    }
    if (scale >= 9) rowLabels(context, plan, row, ink, toX, toY, scale);
  }
  context.fillStyle = ink.taken;
  context.fill(taken);
  free.forEach((path, tier) => {
    context.fillStyle = ink.tiers[tier];
    context.fill(path);
  });
  context.fillStyle = ink.chosen;
  context.fill(chosen);
  for (const [x, y, seat] of marks) mark(context, x, y, seat, map.isSelected(seat.ticket), ink, scale);
  for (const block of plan.blocks) title(context, plan, block, ink, toX, toY, scale);
  if (map.hovered?.ticket.available) ring(context, map.hovered, plan, ink.chosen, 1.5, toX, toY, side);
  if (map.cursor && map.box.matches(":focus-visible")) {
    ring(context, map.cursor, plan, ink.ring, 3, toX, toY, side);
  }
}

function box(path, x, y, side, radius) {
  if (radius > 0) path.roundRect(x - side / 2, y - side / 2, side, side, radius);
  else path.rect(x - side / 2, y - side / 2, side, side);
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

function rowLabels(context, plan, row, ink, toX, toY, scale) {
  if (!row.label) return;
  context.fillStyle = ink.quiet;
  context.font = `500 ${Math.max(9, Math.min(13, scale * 0.55))}px ${ink.font}`;
  context.textBaseline = "middle";
  const y = (x) => toY(row.y + 0.5 - plan.lean(x));
  const left = row.left - 0.3, right = row.left + row.seats.length + 0.3;
  context.textAlign = "right";
  context.fillText(row.label, toX(left), y(left));
  context.textAlign = "left";
  context.fillText(row.label, toX(right), y(right));
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
