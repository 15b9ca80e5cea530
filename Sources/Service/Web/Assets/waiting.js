// The scene of somebody in line: how many are ahead, how long it may take, what the operator says.

import { announce, confirm, h, icon, put, setText } from "./dom.js";
import { leaveLine } from "./checkout.js";
import { formMessage } from "./form.js";
import { count, counted, estimate } from "./format.js";
import { session } from "./session.js";

/** Milliseconds between announcements of the place to screen readers, far from the head and near it. */
const farPause = 30_000;
const nearPause = 4_000;
/** From here on every step is worth saying. */
const near = 5;

const texts = {
  lobby: {
    title: "The waiting room",
    text: "Sales have not opened. When they do, everybody here is given a place in line.",
  },
  queued: {
    title: "You are in line",
    text: "Keep this page open, or come back to it: your place stays yours. When it is your turn the seats are "
      + "held for you. Between updates the number goes on at the pace of the line.",
  },
  standby: {
    title: "You are in line for returns",
    text: "What you asked for is held by people who are paying right now. Whatever comes back goes to the first in line "
      + "whom it suits: nobody behind you who wants the same comes before you.",
  },
};

const button = (text, onclick) => h("button", { class: "button quiet-button", type: "button", onclick }, text);

export class WaitingScene {
  /**
   * @param state the request's: `lobby`, `queued` or `standby`; another one needs another scene
   * @param options.onLeft called when the buyer has left the line
   */
  constructor(requestID, state, { signal, onLeft }) {
    this.requestID = requestID;
    this.state = state;
    const { title, text } = texts[state] ?? texts.queued;
    this.signal = signal;
    this.onLeft = onLeft;
    this.number = h("p", { class: "queue-number", "aria-hidden": "true" });
    this.caption = h("p", { class: "queue-caption", "aria-hidden": "true" });
    // The same as one sentence, for those who hear it.
    this.spoken = h("p", { class: "hidden" });
    this.bar = h("progress", { class: "queue-bar", max: 1, "aria-label": "Progress in line" });
    this.facts = h("dl", { class: "queue-facts" });
    this.operator = h("div");
    this.message = formMessage();
    this.nodes = [
      h("h1", { tabindex: "-1" }, title),
      state === "queued" && [this.number, this.caption, this.spoken, this.bar],
      this.operator, this.facts,
      h("p", { class: "queue-text" }, text),
      this.message.node, button("Leave the line", () => this.leave()),
    ];
  }

  /**
   * @param request its newest answer
   * @param queue the event's queue document, once it is known
   * @param ahead how many are decided before
   * @param from how many were ahead when it began
   * @param isPostponed whether the event has no date any more
   */
  update(request, queue, ahead, from, isPostponed) {
    if (this.state === "queued") {
      setText(this.number, ahead === 0 ? "Next" : count(ahead));
      setText(this.caption, ahead === 0
        ? (isPaused(queue) ? "It is your turn when sales go on" : "It is almost your turn")
        : ahead === 1 ? "person ahead of you" : "people ahead of you");
      setText(this.spoken, spokenPlace(ahead));
      this.bar.value = Math.min(0.98, Math.max(0.03, 1 - ahead / from));
      this.announce(ahead);
    }
    const stands = isPaused(queue);
    // The estimate came with an answer that may be older than the place: it shrinks along.
    this.drawFacts([
      request.position && ["Your place", count(request.position)],
      this.state === "queued"
        && ["Estimated wait", stands ? "when sales go on" : estimate(shrunk(request, ahead)) ?? "not known yet"],
      this.state === "standby" && ahead > 0 && ["Ahead, who want the same", count(ahead)],
      this.state === "standby" && queue && ["Held by others", counted(queue.held, "ticket")],
    ].filter(Boolean));
    drawOperator(this.operator, queue?.message
      || (!stands ? "" : isPostponed
        ? "The event is postponed, and sales wait for its new date. Nobody loses their place."
        : "Sales are paused for a moment. Nobody loses their place."));
  }

  drawFacts(facts) {
    const key = JSON.stringify(facts);
    if (key === this.factsKey) return;
    this.factsKey = key;
    put(this.facts, facts.map(([label, value]) => h("div", null, h("dt", null, label), h("dd", null, value))));
  }

  announce(ahead) {
    if (ahead === this.announced) return;
    const pause = ahead <= near ? nearPause : farPause;
    if (Date.now() - (this.announcedAt ?? 0) < pause) return;
    // The first place is read out with the heading's scene.
    if (this.announced !== undefined) announce(spokenPlace(ahead));
    this.announced = ahead;
    this.announcedAt = Date.now();
  }

  async leave() {
    if (!session()) return this.message.show("Sign in to leave the line.");
    const isSure = await confirm({
      title: "Leave the line?",
      text: "Your place goes to the people behind you. If you ask again you start at the back.",
      yes: "Leave the line", no: "Stay",
    });
    if (!isSure || this.signal.aborted) return;
    this.message.clear();
    await leaveLine(this.requestID, { signal: this.signal, message: this.message, onDone: this.onLeft });
  }
}

/** What the operator of the sale says, in their words. */
export function drawOperator(node, text = "") {
  if (node.textContent === text) return;
  put(node, text && h("div", { class: "notice info", role: "status" }, icon("info"), h("p", null, text)));
}

function isPaused(queue) {
  return queue?.state === "paused" || queue?.state === "stopped";
}

function shrunk({ eta_seconds: eta, ahead: told }, ahead) {
  const part = told > 0 ? ahead / told : 1;
  return eta && { low: eta.low * part, high: eta.high * part };
}

function spokenPlace(ahead) {
  return ahead === 0 ? "You are next." : `${counted(ahead, "person", "people")} ahead of you.`;
}
