"""Checks that any view must pass, done in the browser: names, structure, contrast, sizes. Each returns findings."""

import functools
from pathlib import Path

import axe_playwright_python

# Names and structure, where this project asks for more than axe does.
_ACCESSIBILITY = """() => {
  const found = [];
  const seen = (e) => e.checkVisibility() && !e.closest('[aria-hidden=true]');
  const say = (text, e) => found.push(`${text}: ${e.outerHTML.slice(0, 120)}`);
  const text = (e) => (e.innerText || e.textContent || '').trim();
  const named = (e) => text(e) || e.getAttribute('aria-label')
    || (e.getAttribute('aria-labelledby') && text(document.getElementById(e.getAttribute('aria-labelledby')) ?? e));
  if (!document.documentElement.lang) found.push('the document has no language');
  if (!document.title) found.push('the document has no title');
  for (const name of ['header', 'main', 'nav', 'footer']) {
    if (document.querySelectorAll(`body > ${name}, body > header ${name}`).length !== 1) found.push(`one ${name} expected`);
  }
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].filter(seen).map((e) => Number(e.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) found.push(`one h1 expected: ${levels}`);
  levels.forEach((level, i) => { if (level > (levels[i - 1] ?? 0) + 1) found.push(`headings skip a level: ${levels}`); });
  for (const e of document.querySelectorAll('input, select, textarea')) {
    if (seen(e) && ![...(e.labels ?? [])].some(text) && !e.getAttribute('aria-label')) say('no label', e);
  }
  for (const e of document.querySelectorAll('button, a[href], [role=listbox], progress, dialog')) {
    if (seen(e) && !named(e)) say('no name', e);
  }
  for (const e of document.querySelectorAll('fieldset')) if (seen(e) && !e.querySelector('legend')) say('no legend', e);
  for (const e of document.querySelectorAll('svg, canvas, img')) {
    if (e.checkVisibility() && e.getAttribute('aria-hidden') !== 'true' && !named(e)) say('no text instead', e);
  }
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => found.push(`id twice: ${id}`));
  for (const name of ['for', 'aria-describedby', 'aria-labelledby', 'aria-activedescendant', 'aria-controls']) {
    for (const e of document.querySelectorAll(`[${name}]`)) {
      for (const id of e.getAttribute(name).split(/\\s+/)) if (!document.getElementById(id)) say(`${name} leads nowhere`, e);
    }
  }
  for (const e of document.querySelectorAll('[tabindex]')) if (e.tabIndex > 0) say('positive tabindex', e);
  for (const list of document.querySelectorAll('ul, ol')) {
    for (const child of list.children) if (child.tagName !== 'LI') say('not an item', child);
  }
  return found;
}"""

# WCAG 2 contrast of every visible text against what is painted behind it.
_CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((value, i) => value * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility({ opacityProperty: true })
      || e.closest('.hidden, noscript, [hidden]')) continue;
    // Controls that are off are exempt, as in WCAG.
    if (e.closest(':disabled') || e.closest('label')?.control?.disabled) continue;
    const style = getComputedStyle(e);
    const under = behind(e);
    const ink = over(rgba(style.color), under);
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return found;
}"""

# Whatever can be pressed is at least 44 by 44, counting the label that belongs to it; links in a text are exempt.
_SMALL_TARGETS = """() => {
  const found = [];
  for (const e of document.querySelectorAll('button, a[href], input, select, summary, [role=listbox]')) {
    if (!e.checkVisibility() || e.closest('.hidden') || e.classList.contains('skip')) continue;
    if (e.tagName === 'A' && e.closest('p, h2, dd') && !e.classList.contains('button')) continue;
    const box = (e.closest('label') ?? e).getBoundingClientRect();
    if (box.width < 44 || box.height < 44) {
      found.push(`${Math.round(box.width)}x${Math.round(box.height)} ${e.outerHTML.slice(0, 100)}`);
    }
  }
  return found;
}"""

# What is wider than the page, and text that hangs out of its row or button.
_OVERFLOWING = """() => {
  const told = (e) => e.outerHTML.slice(0, 100);
  const wide = document.documentElement.scrollWidth > innerWidth
    ? [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
      .map(told).slice(0, 5).concat('overflows')
    : [];
  const hanging = [...document.querySelectorAll('label, li, button, dd, td')].filter((e) =>
    e.clientHeight > 0 && e.scrollHeight > e.clientHeight + 2 && getComputedStyle(e).overflowY === 'visible'
      && !e.closest('.hidden')).map((e) => `${e.scrollHeight} in ${e.clientHeight}: ${told(e)}`);
  return wide.concat(hanging.slice(0, 5));
}"""


# Everything that axe knows of WCAG 2.2 A and AA, and what it thinks good besides.
_AXE = """async () => (await axe.run(document, { resultTypes: ['violations'] })).violations.flatMap((rule) =>
  rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)} (${node.any[0]?.message ?? rule.help})`))"""


@functools.cache
def _axe():
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def accessibility(page):
    # Past the page's content security policy, which lets no such script in.
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_axe())
    return page.evaluate(_ACCESSIBILITY) + page.evaluate(_AXE)


def contrasts(page):
    return page.evaluate(_CONTRASTS)


def small_targets(page):
    return page.evaluate(_SMALL_TARGETS)


def overflowing(page):
    return page.evaluate(_OVERFLOWING)


def inks_at_the_edge(page):
    """The colours, of few shades, in the strip at the left edge of the seat map where rows have their names."""
    return page.evaluate(
        """() => {
          const canvas = document.querySelector('.seat-box canvas'), ratio = Math.min(devicePixelRatio || 1, 3);
          const copy = new OffscreenCanvas(28 * ratio, canvas.height).getContext('2d', { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, copy.canvas.width, copy.canvas.height);
          const colours = new Set();
          for (let i = 0; i < data.length; i += 4) colours.add([data[i] >> 5, data[i + 1] >> 5, data[i + 2] >> 5].join());
          return [...colours];
        }"""
    )
