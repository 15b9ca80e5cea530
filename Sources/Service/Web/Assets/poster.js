// A poster for every event, drawn from its name: the same name always gives the same poster.

import { s } from "./dom.js";

/** Paper, two inks and a light; each row was chosen to sit well on light and dark pages. */
const palettes = [
  ["#1f2f6b", "#f2b544", "#e9573f", "#f7efe0"],
  ["#12443f", "#f4d58d", "#e76f51", "#eaf4ee"],
  ["#5b1f3c", "#f3a5a0", "#f2c14e", "#fbeee6"],
  ["#1d2b3a", "#6fb7c9", "#f4a259", "#eef4f6"],
  ["#3b2a68", "#b7a3f0", "#f5cb5c", "#f2eefb"],
  ["#7a2e1d", "#f2c48d", "#2f6f73", "#fbf1e4"],
  ["#20363b", "#9ccf9f", "#f0e27a", "#eef6ee"],
];

function hashed(text) {
  let value = 2_166_136_261;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 16_777_619);
  }
  return value >>> 0;
}

/** A small stream of numbers out of one; plain xorshift. */
function stream(seed) {
  let state = seed || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

const motifs = [
  // Sound: rings around a point.
  (next, [, a, b, light]) => {
    const x = 30 + next(60), y = 40 + next(80);
    return Array.from({ length: 7 }, (_, ring) =>
      s("circle", { cx: x, cy: y, r: 96 - ring * 14, fill: [a, "none", b, "none", light, "none", a][ring],
        stroke: ring % 2 ? light : "none", "stroke-width": 1.5 }));
  },
  // Keys: bars of different heights.
  (next, [, a, b, light]) => Array.from({ length: 8 }, (_, bar) => {
    const height = 30 + next(110);
    const fill = [a, light, b, a][(bar + next(2)) % 4];
    return s("rect", { x: bar * 15, y: 160 - height, width: 15.4, height, fill });
  }),
  // A fan of quarter discs.
  (next, [, a, b, light]) => Array.from({ length: 12 }, (_, cell) => {
    const x = cell % 3 * 40, y = Math.floor(cell / 3) * 40, turn = next(4) * 90;
    return s("path", { d: "M0 0h40a40 40 0 0 1-40 40z", fill: [a, b, light, a, "none"][next(5)],
      transform: `translate(${x} ${y}) rotate(${turn} 20 20)` });
  }),
  // A sun over waves.
  (next, [, a, b, light]) => [
    s("circle", { cx: 30 + next(60), cy: 50 + next(20), r: 30 + next(12), fill: a }),
    ...Array.from({ length: 5 }, (_, wave) => {
      const y = 84 + wave * 17, bend = 8 + next(10);
      return s("path", { d: `M-10 ${y}q20 ${-bend} 40 0t40 0t40 0t40 0v90h-170z`,
        fill: [b, light, a, b, light][wave], opacity: 0.92 });
    }),
  ],
  // Strings: slanted lines across a disc.
  (next, [, a, b, light]) => {
    const lean = 20 + next(50);
    return [
      s("circle", { cx: 60, cy: 80, r: 52, fill: b }),
      ...Array.from({ length: 9 }, (_, line) =>
        s("path", { d: `M${line * 18 - 30} 170L${line * 18 - 30 + lean} -10`, stroke: line % 3 ? light : a,
          "stroke-width": line % 3 ? 2 : 7 })),
    ];
  },
];

/** @returns a decorative SVG, 3:4. */
export function poster(name) {
  const seed = hashed(name);
  const next = stream(Math.imul(seed, 2_654_435_761));
  const palette = palettes[seed % palettes.length];
  return s("svg", { class: "poster", viewBox: "0 0 120 160", preserveAspectRatio: "xMidYMid slice",
    "aria-hidden": "true", focusable: "false" },
  s("rect", { width: 120, height: 160, fill: palette[0] }),
  motifs[(seed >>> 11) % motifs.length](next, palette));
}
