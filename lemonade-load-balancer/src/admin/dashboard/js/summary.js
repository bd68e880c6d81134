// The top of the page: the verdict, the figures under it, and whether what is shown is live.

import { byId, el, mark, say } from "./dom.js";
import { clock, count, duration, percent, rate, span, words } from "./format.js";
import { judge } from "./verdict.js";

const SHAPES = { fine: "✓", notice: "!", trouble: "✕" };
const LABELS = { drain: (press) => `Drain ${press.name}…`, enable: (press) => `Enable ${press.name}…`, decision: () => "Why?", config: () => "What is wrong with it?" };

export class Summary {
  #model;
  #press;
  #points = "";
  #gist = null;

  /** `press` has what a point's button does, by its kind. */
  constructor(model, press) {
    this.#model = model;
    this.#press = press;
  }

  render() {
    const { shown, past, eventsThen: events, decisionsThen: decisions, status } = this.#model;
    this.#about(status);
    if (!shown) return;
    const then = Date.parse(shown.time);
    if (shown.backends) this.#verdict(judge({ sample: shown, past, events, decisions, status, then }));
    this.#figures(shown);
  }

  #verdict({ level, headline, gist, points }) {
    mark(byId("verdict"), "data-level", level);
    say(byId("verdict-shape"), SHAPES[level]);
    say(byId("verdict-text"), headline);
    this.#tell(gist, headline);
    document.title = `${level === "fine" ? "" : `${SHAPES[level]} `}Lemonade`;
    const sign = JSON.stringify(points);
    const list = byId("verdict-points");
    // A button that somebody is on stays.
    if (sign === this.#points || list.contains(document.activeElement)) return;
    this.#points = sign;
    list.replaceChildren(...points.map((point) => this.#point(point)));
  }

  /** Said aloud when something else is wrong than before, not every second. */
  #tell(gist, headline) {
    if (gist === this.#gist) return;
    this.#gist = gist;
    say(byId("verdict-told"), headline);
  }

  #point({ text, press }) {
    if (!press || (this.#model.takenAt !== null && ["drain", "enable"].includes(press.kind))) return el("li", { text });
    const button = el("button", { type: "button", class: "small", text: LABELS[press.kind](press), on: { click: () => this.#press[press.kind](press) } });
    return el("li", {}, el("span", { text }), " ", button);
  }

  #figures(sample) {
    const failed = sample.classes[4];
    say(byId("figure-rate"), rate(sample.requests / sample.seconds));
    say(byId("figure-p50"), duration(sample.p50_seconds));
    say(byId("figure-p99"), duration(sample.p99_seconds));
    say(byId("figure-errors"), percent(sample.requests === 0 ? 0 : failed / sample.requests));
    mark(byId("figure-errors"), "data-bad", failed > 0 ? "yes" : null);
    say(byId("figure-in-flight"), count(sample.in_flight));
    say(byId("figure-connections"), count(sample.connections));
    say(byId("figure-backends"), `${count(sample.backends_usable)} of ${count(sample.backends_all)}`);
    mark(byId("figure-backends"), "data-bad", sample.backends_usable < sample.backends_all ? "yes" : null);
    const { strategy, picks } = sample;
    say(byId("strategy-name"), strategy === picks ? words(strategy) : `${words(strategy)} → ${words(picks)}`);
  }

  #about(status) {
    if (!status) return;
    say(byId("about"), `${status.listen} · version ${status.version} · pid ${status.pid} · up ${span(status.uptime_seconds)}`);
  }

  /** Called every second, whatever comes: what is not heard of grows old. */
  connection() {
    const { connected, live, shown, heard, takenAt } = this.#model;
    const place = byId("connection");
    mark(place, "data-kind", takenAt !== null ? "dump" : connected ? (live ? "live" : "past") : "away");
    say(byId("connection-text"), this.#connectionText(connected, live, shown, heard, takenAt));
  }

  #connectionText(connected, live, shown, heard, takenAt) {
    if (takenAt !== null) return `Support dump of ${new Date(takenAt).toLocaleString("en-GB")}: nothing here is live`;
    if (!connected) return heard === 0 ? "Connecting…" : `Not connected: what is shown is ${span((Date.now() - heard) / 1000)} old. Trying again…`;
    return live ? "Live" : `Showing ${clock(shown.time)}, not now`;
  }
}
