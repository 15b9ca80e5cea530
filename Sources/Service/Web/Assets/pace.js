// How far a line is between two looks at it, so that its count does not stand still and then jump.

/** Share of the pace that is counted on: too slow is put right by the next look, too fast would have to be taken back. */
const caution = 0.9;

export class Pace {
  /** Takes a queue document. */
  learn({ head, state, granted_per_second: granted }) {
    const now = performance.now();
    const shown = this.head;
    // What was shown does not go back, unless the line began anew.
    this.floor = this.told !== undefined && head >= this.told ? Math.max(head, shown) : head;
    const seconds = (now - this.at) / 1_000;
    const seen = seconds > 1 ? (head - this.told) / seconds : granted;
    // A line that stands still does so from the first look that finds it so.
    this.perSecond = state === "open" && head !== this.told ? Math.max(0, Math.min(seen, granted || seen)) : 0;
    if (this.told === undefined) this.perSecond = state === "open" ? granted || 0 : 0;
    this.told = head;
    this.at = now;
  }

  /** The number of the last place that is decided, as far as can be known. */
  get head() {
    if (this.told === undefined) return 0;
    const seconds = (performance.now() - this.at) / 1_000;
    return Math.max(this.floor, Math.floor(this.told + this.perSecond * caution * seconds));
  }
}
