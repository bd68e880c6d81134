// Going back to any second of the last fifteen minutes, and back to now.

import { byId, mark, say } from "./dom.js";
import { clock, span } from "./format.js";

export class Scrubber {
  #model;
  #source;
  #range = byId("scrubber");

  constructor(model, source) {
    this.#model = model;
    this.#source = source;
    this.#range.addEventListener("input", () => this.choose(Number(this.#range.value)));
    byId("go-live").addEventListener("click", () => this.goLive());
    byId("second-back").addEventListener("click", () => this.step(-1));
    byId("second-on").addEventListener("click", () => this.step(1));
  }

  /** Shows the sample of that number; the newest one is now. */
  choose(id) {
    const { samples } = this.#model;
    const last = samples.at(-1);
    if (!last) return;
    if (id >= last.id) return this.goLive();
    const sample = samples.find((candidate) => candidate.id >= id);
    this.#source.show(sample);
  }

  step(seconds) {
    const { shown } = this.#model;
    if (shown) this.choose(shown.id + seconds);
  }

  goLive() {
    this.#model.goLive();
  }

  render() {
    const { samples, shown, live, takenAt } = this.#model;
    if (samples.length === 0 || !shown) return;
    const last = samples.at(-1);
    mark(this.#range, "min", samples[0].id);
    mark(this.#range, "max", last.id);
    // What somebody drags is theirs.
    if (live) this.#range.value = last.id;
    else if (Number(this.#range.value) !== shown.id) this.#range.value = shown.id;
    const age = (Date.parse(last.time) - Date.parse(shown.time)) / 1000;
    const end = takenAt === null ? "now" : "the end of this dump";
    const text = live ? `${clock(shown.time)}, ${end}` : `${clock(shown.time)}, ${span(age)} before ${end}`;
    mark(this.#range, "aria-valuetext", text);
    say(byId("scrub-time"), text);
    const word = takenAt === null ? "Live" : "End of the dump";
    say(byId("go-live"), live ? word : `Back to ${takenAt === null ? "live" : "its end"}`);
    mark(byId("go-live"), "aria-pressed", live);
    document.documentElement.toggleAttribute("data-past", !live);
  }
}
