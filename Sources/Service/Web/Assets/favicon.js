// The page's icon, with a count on it.

const link = document.querySelector('link[rel="icon"]');
const plain = link.href;
const ticket = "M5 7h22a2 2 0 0 1 2 2v4a3 3 0 0 0 0 6v4a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-4a3 3 0 0 0 0-6V9a2 2 0 0 1 2-2z";
const tones = { turn: "#c2410c", line: "#1f2937" };
let owner;

/**
 * Puts a few signs on the icon, or takes them away.
 * @param text none for the plain icon
 * @param tone `turn` or `line`
 * @param by whose they are: who has put none there takes none away
 */
export function setIcon(text, tone, by) {
  if (!text && owner !== by) return;
  owner = text ? by : undefined;
  const size = text?.length > 2 ? 13 : 17;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#2f4bdb" d="${ticket}"/>`
    + `<rect x="8" y="11" width="24" height="21" rx="7" fill="${tones[tone]}"/><text x="20" y="${size > 13 ? 28 : 26}" fill="#fff" `
    + `font-family="sans-serif" font-weight="700" font-size="${size}" text-anchor="middle">${text}</text></svg>`;
  const href = text ? `data:image/svg+xml,${encodeURIComponent(svg)}` : plain;
  if (link.href !== href) link.href = href;
}

/** A number in three signs at most, rounded up. */
export function short(number) {
  if (number < 1_000) return String(number);
  return number < 99_000 ? `${Math.ceil(number / 1_000)}k` : "99+";
}
