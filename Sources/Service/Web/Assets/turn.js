// "It is your turn", on every page and every device: a banner, the title and the icon, which count. Asked for as long as
// something is open, at the pace that the server tells, by one tab of this browser for all.

import { call, Problem, waitAfter } from "./api.js";
import { pause } from "./clock.js";
import { setIcon } from "./favicon.js";
import { HeldSeats } from "./held.js";
import { takeRequests } from "./requests.js";
import { session } from "./session.js";

const dueKey = "onsale.requests";
/** Milliseconds after which it is looked again whether something was got elsewhere, when somebody comes back to a page. */
const idle = 30_000;
/** A call that takes longer than this is somebody else's to repeat, too: milliseconds. */
const patience = 8_000;
/** Milliseconds over which the tabs of a browser wake up that wait for the same moment. */
const spread = 800;
/** No pause is longer, whatever clocks did. */
const longest = 60_000;

/** When the next look is due and whether something was open at the last, of all tabs of this browser. */
function due() {
  try {
    const { at = 0, open = false, user } = JSON.parse(localStorage.getItem(dueKey)) ?? {};
    return user === session()?.user_id ? { wait: Math.min(longest, at - Date.now()), open } : { wait: 0, open: false };
  } catch {
    return { wait: 0, open: false };
  }
}

function postpone(milliseconds, open) {
  try {
    localStorage.setItem(dueKey, JSON.stringify({ at: Date.now() + milliseconds, open, user: session()?.user_id }));
  } catch {
    // Without storage each tab asks for itself.
  }
}

export class Turn {
  /**
   * @param options.onTitle called with what the title of the page begins with, or nothing
   */
  constructor(node, { onTitle }) {
    this.held = new HeldSeats(node, { onCount: (count) => {
      onTitle(count && `${count} · Your turn`);
      setIcon(count && "!", "turn", this);
    } });
    const look = () => {
      if (!document.hidden) this.look();
    };
    for (const name of ["online", "session", "pageshow"]) addEventListener(name, look);
    document.addEventListener("visibilitychange", look);
    // What is not answered any more is for the next page to ask.
    addEventListener("pagehide", () => {
      if (this.isAsking) postpone(0, true);
    });
    this.look();
  }

  /** Looks, unless that was done a moment ago, and goes on for as long as something is open. */
  async look() {
    this.held.look();
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      while (session() && await this.step());
    } finally {
      this.isLooking = false;
    }
  }

  /** One look, or the pause before it. Gives whether there is reason for another. */
  async step() {
    const { wait, open } = due();
    if (wait > 0) {
      if (!open) return false;
      // Tabs wake together: whoever comes first asks for all.
      await pause(wait + Math.random() * spread);
      this.held.draw();
      return true;
    }
    // Other tabs wait meanwhile, and ask themselves should this one go.
    postpone(patience, true);
    this.isAsking = true;
    try {
      const answer = await call("GET", "/api/me/requests");
      takeRequests(answer);
      this.failures = 0;
      postpone(answer.poll_after_ms || idle, answer.poll_after_ms > 0);
      this.held.draw();
      return answer.poll_after_ms > 0;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.failures = (this.failures ?? 0) + 1;
      // Without an answer there may be something: this page asks again, or the one that comes after it.
      postpone(error.isTemporary ? waitAfter(error, Math.min(this.failures, 5)) : longest, error.isTemporary);
      return error.isTemporary;
    } finally {
      this.isAsking = false;
    }
  }
}
