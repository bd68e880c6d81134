// Why the engine switched, or did not: each decision with what it rests on, whom it considered, and what came of it.

import { byId, el, say } from "./dom.js";
import { clock, duration, percent, rate, words } from "./format.js";

const MOST = 50;
const VERDICTS = { kept: "promise kept", broken: "promise broken", load_changed: "load changed: not comparable", too_few: "too few answers to tell" };

export class Decisions {
  #model;
  #list = byId("decisions");
  #drawn = "";

  constructor(model) {
    this.#model = model;
  }

  render() {
    const decisions = this.#model.decisionsThen.slice(0, MOST);
    const sign = decisions.map(({ id, effect }) => `${id}${effect ? "!" : ""}`).join();
    const { shown, strategy } = this.#model;
    say(byId("no-decisions"), decisions.length > 0 ? "" : none(shown, strategy));
    if (sign === this.#drawn) return;
    this.#drawn = sign;
    const open = new Set([...this.#list.querySelectorAll("details[open]")].map((details) => details.id));
    this.#list.replaceChildren(...decisions.map((decision) => item(decision, open)));
  }

  /** Opens one and goes there. */
  reveal(id) {
    const details = byId(`decision-${id}`);
    if (!details) return;
    details.open = true;
    details.querySelector("summary").focus();
    details.scrollIntoView({ block: "nearest" });
  }
}

function none(shown, strategy) {
  if (shown && shown.strategy !== "adaptive") return `None: ${words(shown.strategy)} was asked for, so nothing is decided.`;
  return `None: ${words(shown?.picks ?? strategy?.picks)} has picked from the start, and nothing spoke for another.`;
}

function item(decision, open) {
  const id = `decision-${decision.id}`;
  const summary = el(
    "summary",
    {},
    el("time", { datetime: decision.time, text: clock(decision.time) }),
    el("strong", { text: `${words(decision.from)} → ${words(decision.to)}` }),
    el("span", { class: "tag", text: outcome(decision) }),
    el("span", { text: `rule “${words(decision.rule)}”, traffic ${words(decision.regime)}` }),
  );
  const details = el("details", { id, open: open.has(id) }, summary, promise(decision), evidence(decision), alternatives(decision));
  return el("li", { class: decision.suppressed ? "suppressed" : "made" }, details);
}

function outcome({ suppressed, effect }) {
  if (suppressed) return `not made: ${words(suppressed)}`;
  return effect ? VERDICTS[effect.verdict] ?? words(effect.verdict) : "made";
}

function promise({ promised_p99_seconds: promised, effect }) {
  const parts = [];
  if (promised !== undefined) parts.push(`p99 foretold: ${duration(promised)}.`);
  if (effect) {
    const { before_p99_seconds: before, after_p99_seconds: after } = effect;
    parts.push(`p99 before ${duration(before)}, after ${duration(after)}; ${rate(effect.before_rate)} then ${rate(effect.after_rate)} requests a second.`);
  }
  return el("p", { text: parts.join(" ") });
}

function evidence({ evidence: facts }) {
  const rows = facts.map(({ what, value, threshold }) => [what, value, threshold]);
  return table("Evidence", ["Measured", "Value", "Held against"], rows);
}

function alternatives({ alternatives: all }) {
  const rows = all.map((one) => [words(one.strategy), duration(one.p50_seconds), duration(one.p99_seconds), percent(one.errors), one.rejected ?? "taken"]);
  return table("Alternatives", ["Strategy", "p50", "p99", "Errors", "Why not"], rows);
}

function table(title, head, rows) {
  if (rows.length === 0) return null;
  const cells = (kind, row) => el("tr", {}, ...row.map((text) => el(kind, { text, scope: kind === "th" ? "col" : false })));
  const content = el("table", {}, el("caption", { text: title }), el("thead", {}, cells("th", head)), el("tbody", {}, ...rows.map((row) => cells("td", row))));
  return el("div", { class: "inner-scroll", tabindex: 0, role: "region", "aria-label": title }, content);
}
