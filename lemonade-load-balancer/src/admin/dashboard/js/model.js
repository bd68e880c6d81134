// All that the page knows, and which second of it is shown. Sources write it, views read it.

import { Columns, KEPT } from "./columns.js";

export class Model extends EventTarget {
  /** Samples of the whole balancer, oldest first, at most 15 minutes. */
  samples = [];
  columns = new Columns();
  /** Oldest first. */
  events = [];
  /** Newest first. */
  decisions = [];
  picks = [];
  status = null;
  strategy = null;
  config = null;
  metrics = "";
  /** Address and more of each backend, by name. */
  members = new Map();
  /** Of an offline copy, when it was made; else `null`. */
  takenAt = null;
  connected = false;
  /** When something last came, in milliseconds of the reader's own clock. */
  heard = 0;

  /** The newest sample, with its backends. */
  #newest = null;
  /** The sample that is shown instead, with its backends once they are here. */
  #chosen = null;

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  get live() {
    return this.#chosen === null;
  }

  get newest() {
    return this.#newest;
  }

  /** The sample that is shown; `backends` is absent until it has been loaded. */
  get shown() {
    return this.#chosen ?? this.#newest;
  }

  /** Samples up to the shown one. */
  get past() {
    const shown = this.shown;
    return this.live || !shown ? this.samples : this.samples.slice(0, this.indexOf(shown.id) + 1);
  }

  get eventsThen() {
    return this.#until(this.events);
  }

  get decisionsThen() {
    return this.#until(this.decisions);
  }

  #until(items) {
    if (this.live) return items;
    const end = Date.parse(this.shown.time);
    return items.filter((item) => Date.parse(item.time) <= end);
  }

  indexOf(id) {
    // Numbers rise by one; only a gap makes the search necessary.
    const guess = id - (this.samples[0]?.id ?? 0);
    return this.samples[guess]?.id === id ? guess : this.samples.findIndex((sample) => sample.id === id);
  }

  /** Takes the whole past. `same`: of the process that it was of before, so that the chosen second is still what it was. */
  load(samples, same = false) {
    this.samples = samples.slice(-KEPT);
    if (!same) this.#chosen = null;
  }

  /** A new second; `false` if there is a gap before it. */
  add(sample) {
    const last = this.samples.at(-1)?.id ?? sample.id - 1;
    this.#newest = sample;
    this.columns.add(sample);
    if (sample.id <= last) return sample.id === last;
    // Of the past, the totals are enough.
    const { backends, ...totals } = sample;
    this.samples.push(totals);
    if (this.samples.length > KEPT) this.samples.shift();
    return sample.id === last + 1;
  }

  /** Shows another second, without its backends until [`detail`] brings them. */
  choose(sample) {
    this.#chosen = sample;
    this.changed();
  }

  detail(sample) {
    if (this.#chosen?.id !== sample.id) return;
    this.#chosen = sample;
    this.changed();
  }

  goLive() {
    this.#chosen = null;
    this.changed();
  }
}
