// What happened, newest first, each in a sentence.

import { byId, el, mark, say } from "./dom.js";
import { clock, list, plural, words } from "./format.js";
import { plan } from "./forecast.js";

/** More are in the dump and at `/api/v1/events`. */
const MOST = 100;

const TOLD = {
  state_changed: (event) => [event.to === "healthy" ? "good" : "bad", event.backend, `${event.from} → ${event.to}: ${event.cause}`],
  panic: (event) =>
    event.reason
      ? ["bad", "Panic", `${event.usable} of ${event.all} usable: ${words(event.reason)}`]
      : ["good", "Panic over", `${event.usable} of ${event.all} usable`],
  reloaded: (event) => ["plain", "Reloaded", list(plan(event.plan), 4)],
  reload_refused: (event) => ["bad", "Reload refused", event.error],
  changed_by_hand: (event) => ["plain", "By hand", `${event.change}${event.kept ? " (kept)" : ""}`],
  discovered: (event) => ["plain", `Discovered by ${event.source}`, list(plan(event.plan), 4)],
  source_away: (event) => ["bad", `${event.source} is away`, event.error],
  source_back: (event) => ["good", `${event.source} is back`, ""],
  decision: ({ decision }) => ["plain", decision.suppressed ? "Not switched" : "Switched", `${words(decision.from)} → ${words(decision.to)}: rule “${words(decision.rule)}”`],
  decision_settled: ({ decision }) => ["plain", "Effect known", `of ${words(decision.from)} → ${words(decision.to)}: ${words(decision.effect?.verdict)}`],
  drained: (event) => ["plain", event.backend, event.cut > 0 ? `gone; ${plural(event.cut, "request")} cut off` : "gone; its last request has ended"],
};

/** Newer balancers may know of events that this page does not. */
const unknown = (event) => ["plain", words(event.type), ""];

export class Events {
  #model;
  #list = byId("events");
  #drawn = "";

  constructor(model) {
    this.#model = model;
  }

  render() {
    const events = this.#model.eventsThen;
    const sign = `${events.length} ${events.at(-1)?.id} ${events.at(-1)?.time} ${this.#model.live || this.#model.shown.id}`;
    if (sign === this.#drawn) return;
    this.#drawn = sign;
    this.#list.replaceChildren(...events.slice(-MOST).reverse().map((event) => this.#item(event)));
    say(byId("no-events"), events.length > 0 ? "" : "Nothing has happened.");
  }

  #item(event) {
    const [tone, who, what] = (TOLD[event.type] ?? unknown)(event);
    const item = el("li", { class: tone }, el("time", { datetime: event.time, text: clock(event.time) }), el("strong", { text: who }), el("span", { text: what }));
    mark(item, "data-now", this.#isOfShown(event) ? "yes" : null);
    return item;
  }

  #isOfShown(event) {
    const { live, shown } = this.#model;
    const before = Date.parse(shown?.time) - Date.parse(event.time);
    return !live && before >= 0 && before < 1000;
  }
}
