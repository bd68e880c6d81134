// The backends: sorted, filtered, and only as many rows as can be seen, however many backends there are.
//
// The order holds still while somebody points at the table or is in it with the keyboard: a button that moved away under a
// finger would drain the wrong backend.

import { byId, el, mark, say } from "./dom.js";
import { count, duration, percent, rate, weight } from "./format.js";
import * as spark from "./sparkline.js";
import { isDrained, isTrouble, rank, shape } from "./states.js";

/** Rows that are there beyond what can be seen, above and below. */
const BEYOND = 4;
const MOST_ROWS = 60;

const trouble = (backend) => [rank(backend.state), -backend.errors - backend.faults];

/** What can be sorted by: the first click puts what is worst or most on top. */
const COLUMNS = {
  state: { key: trouble, first: 1 },
  name: { key: (backend) => [backend.name], first: 1 },
  share: { key: (backend) => [backend.share], first: -1 },
  requests: { key: (backend) => [backend.requests], first: -1 },
  p50: { key: (backend) => [backend.p50_seconds ?? -1], first: -1 },
  p99: { key: (backend) => [backend.p99_seconds ?? -1], first: -1 },
  errors: { key: (backend) => [backend.errors / Math.max(1, backend.requests), backend.faults], first: -1 },
  in_flight: { key: (backend) => [backend.in_flight], first: -1 },
  weight: { key: (backend) => [backend.weight], first: -1 },
  ejections: { key: (backend) => [backend.ejections], first: -1 },
};

const names = new Intl.Collator("en", { numeric: true });

function compare(one, other) {
  for (let index = 0; index < one.length; index += 1) {
    const [left, right] = [one[index], other[index]];
    const order = typeof left === "string" ? names.compare(left, right) : left - right;
    if (order !== 0) return order;
  }
  return 0;
}

export class Table {
  #model;
  #controls;
  #scroll = byId("backends-scroll");
  #body = byId("backends-body");
  #above = byId("rows-above");
  #below = byId("rows-below");
  #filter = byId("filter");
  #troubleOnly = byId("trouble-only");
  #sortBy = byId("sort-by");
  #rows = new Map();
  #order = [];
  #listed = [];
  #sort = { by: "state", direction: 1 };
  #sample = null;

  constructor(model, controls) {
    this.#model = model;
    this.#controls = controls;
    for (const head of document.querySelectorAll("#backends th[data-sort]")) {
      head.querySelector("button").addEventListener("click", () => this.#sortAgain(head.dataset.sort));
    }
    this.#sortBy.addEventListener("change", () => this.#sortAgain(this.#sortBy.value));
    for (const input of [this.#filter, this.#troubleOnly]) input.addEventListener("input", () => this.#anew());
    this.#scroll.addEventListener("scroll", () => this.#paint(), { passive: true });
    addEventListener("resize", () => this.#paint());
    this.#showSort();
  }

  render() {
    const { shown } = this.#model;
    if (!shown?.backends) return;
    this.#sample = shown;
    this.#arrange();
    this.#paint();
  }

  /** Sorted at once: somebody asked for it. */
  #anew() {
    this.#order = [];
    this.#scroll.scrollTop = 0;
    this.render();
  }

  #sortAgain(by) {
    const again = this.#sort.by === by && this.#sortBy.value === by;
    this.#sort = { by, direction: again ? -this.#sort.direction : COLUMNS[by].first };
    this.#sortBy.value = by;
    this.#showSort();
    this.#anew();
  }

  #showSort() {
    for (const head of document.querySelectorAll("#backends th[data-sort]")) {
      const sorted = head.dataset.sort === this.#sort.by;
      mark(head, "aria-sort", sorted ? (this.#sort.direction > 0 ? "ascending" : "descending") : null);
    }
  }

  #arrange() {
    const wanted = this.#wanted();
    const held = this.#order.length > 0 && (this.#body.matches(":hover") || this.#body.contains(document.activeElement));
    if (held) this.#listed = this.#inOldOrder(wanted);
    else this.#listed = this.#sorted(wanted);
    this.#order = this.#listed.map((backend) => backend.name);
    const all = this.#sample.backends.length;
    say(byId("filter-count"), wanted.length === all ? count(all) : `${count(wanted.length)} of ${count(all)}`);
    mark(byId("backends"), "aria-rowcount", wanted.length + 1);
    byId("no-rows").hidden = wanted.length > 0;
  }

  #wanted() {
    const text = this.#filter.value.trim().toLowerCase();
    const only = this.#troubleOnly.checked;
    return this.#sample.backends.filter((backend) => (!only || isTrouble(backend)) && (text === "" || this.#says(backend, text)));
  }

  #says(backend, text) {
    return [backend.name, this.#address(backend.name), backend.state, backend.why ?? ""].some((part) => part.toLowerCase().includes(text));
  }

  #address(name) {
    const address = this.#model.members.get(name)?.address ?? "";
    return address === name ? "" : address;
  }

  #sorted(backends) {
    const { key } = COLUMNS[this.#sort.by];
    const keyed = backends.map((backend) => ({ backend, key: key(backend) }));
    const { direction } = this.#sort;
    keyed.sort((one, other) => direction * compare(one.key, other.key) || names.compare(one.backend.name, other.backend.name));
    return keyed.map(({ backend }) => backend);
  }

  #inOldOrder(backends) {
    const byName = new Map(backends.map((backend) => [backend.name, backend]));
    const old = this.#order.filter((name) => byName.has(name)).map((name) => byName.get(name));
    const known = new Set(this.#order);
    return [...old, ...backends.filter((backend) => !known.has(backend.name))];
  }

  #paint() {
    if (!this.#sample) return;
    const height = parseFloat(getComputedStyle(this.#scroll).getPropertyValue("--row-height"));
    const first = Math.max(0, Math.floor(this.#scroll.scrollTop / height) - BEYOND);
    const seen = Math.ceil((this.#scroll.clientHeight || 600) / height) + 2 * BEYOND;
    const slice = this.#listed.slice(first, first + Math.min(MOST_ROWS, seen));
    this.#above.style.height = `${first * height}px`;
    this.#below.style.height = `${(this.#listed.length - first - slice.length) * height}px`;
    this.#dropAllBut(slice);
    let place = this.#above.nextSibling;
    slice.forEach((backend, index) => {
      const row = this.#row(backend.name);
      if (row.element === place) place = place.nextSibling;
      else this.#body.insertBefore(row.element, place);
      mark(row.element, "aria-rowindex", first + index + 2);
      this.#fill(row, backend);
    });
  }

  #dropAllBut(slice) {
    const stay = new Set(slice.map((backend) => backend.name));
    for (const [name, row] of this.#rows) {
      if (stay.has(name)) continue;
      row.element.remove();
      this.#rows.delete(name);
    }
  }

  #row(name) {
    const row = this.#rows.get(name) ?? this.#newRow(name);
    this.#rows.set(name, row);
    return row;
  }

  #newRow(name) {
    const cell = (label, kind, ...children) => el("td", { role: "cell", class: kind, data: { label } }, ...children);
    const parts = {
      shape: el("span", { class: "shape", "aria-hidden": "true" }),
      state: el("span"),
      why: el("small"),
      address: el("small", { class: "address" }),
      bar: el("span", { class: "fill" }),
      share: el("span"),
      requests: cell("Rate", "number"),
      p50: cell("p50", "number"),
      p99: cell("p99", "number"),
      errors: cell("Errors", "number"),
      inFlight: cell("In flight", "number"),
      weight: cell("Weight", "number"),
      ejections: cell("Ejections", "number"),
      spark: spark.canvas(),
      move: el("button", { type: "button", class: "small" }),
      setWeight: el("button", { type: "button", class: "small", text: "Weight", "aria-label": `Weight of ${name}` }),
    };
    parts.setWeight.addEventListener("click", () => this.#controls.weight(name));
    parts.move.addEventListener("click", () => this.#controls[parts.move.dataset.call](name));
    const element = el(
      "tr",
      { role: "row", data: { name } },
      cell("State", "state", el("span", { class: "badge" }, parts.shape, parts.state), parts.why),
      el("th", { role: "rowheader", scope: "row", class: "name" }, el("span", { text: name, title: name }), parts.address),
      cell("Share", "share", el("span", { class: "bar", "aria-hidden": "true" }, parts.bar), parts.share),
      parts.requests,
      parts.p50,
      parts.p99,
      parts.errors,
      parts.inFlight,
      parts.weight,
      parts.ejections,
      cell("Last minute", "spark", parts.spark),
      cell("Actions", "actions", parts.move, parts.setWeight),
    );
    return { element, ...parts };
  }

  #fill(row, backend) {
    const drained = isDrained(backend);
    mark(row.element, "data-state", backend.state);
    say(row.shape, shape(backend.state));
    say(row.state, backend.state);
    say(row.why, backend.why ?? "");
    mark(row.why, "title", backend.why ?? null);
    say(row.address, this.#address(backend.name));
    row.bar.style.width = `${Math.min(100, backend.share * 100)}%`;
    say(row.share, percent(backend.share));
    say(row.requests, rate(backend.requests / this.#sample.seconds));
    say(row.p50, duration(backend.p50_seconds));
    say(row.p99, duration(backend.p99_seconds));
    // Most answers of 500 and above are faults too; what is more than they are brought no answer.
    const unanswered = Math.max(0, backend.faults - backend.errors);
    const failed = backend.errors + unanswered;
    say(row.errors, failed === 0 ? "0" : `${count(failed)} (${percent(failed / (backend.requests + unanswered))})`);
    mark(row.errors, "data-bad", failed > 0 ? "yes" : null);
    say(row.inFlight, count(backend.in_flight));
    say(row.weight, weight(backend.weight));
    say(row.ejections, count(backend.ejections));
    say(row.move, drained ? "Enable" : "Drain");
    mark(row.move, "aria-label", `${drained ? "Enable" : "Drain"} ${backend.name}`);
    row.move.dataset.call = drained ? "enable" : "drain";
    spark.draw(row.spark, this.#model.columns.of(backend.name, this.#sample.id, spark.SECONDS));
  }
}
