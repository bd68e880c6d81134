// The running balancer as a source: its past, then every second as it comes. A connection that breaks is tried again, sooner
// first and later less often. Whatever it finds then is taken anew: it may be another process, with numbers of its own.

import * as api from "./api.js";
import { depth } from "./columns.js";

const FIRST_WAIT = 250;
const LONGEST_WAIT = 5_000;
/** A balancer that is well says something every second. */
const SILENCE = 5_000;
/** Figures that no event announces are asked for so often. */
const REFRESH = 5_000;
/** A page that nobody has seen for so long lets its two connections go: a browser opens no more than six to one address. */
const UNSEEN = 10_000;
/** Events after which other answers are other than before. */
const STIRRING = new Set(["reloaded", "reload_refused", "changed_by_hand", "discovered", "decision", "decision_settled"]);

export class Live {
  #model;
  #needToken;
  #wait = FIRST_WAIT;
  #session = null;
  #filling = false;

  /** `needToken(problem)` promises that there is another token to try. */
  constructor(model, needToken) {
    this.#model = model;
    this.#needToken = needToken;
  }

  async run() {
    document.addEventListener("visibilitychange", () => this.#letGoUnseen());
    for (;;) {
      await seen();
      const problem = await this.#connect().catch((error) => error);
      this.#session?.abort();
      this.#model.connected = false;
      this.#model.changed();
      if (problem?.status === 401) await this.#needToken(problem);
      else await this.#pause();
    }
  }

  /** Loads one second of the past into the model. */
  async show(sample) {
    this.#model.choose(sample);
    const detail = await api.get(`history/${sample.id}`).catch(() => null);
    // The oldest may have gone meanwhile: then there are the totals.
    this.#model.detail(detail ?? { ...sample, backends: [] });
  }

  #letGoUnseen() {
    setTimeout(() => document.hidden && this.#session?.abort(), UNSEEN);
  }

  async #connect() {
    const session = new AbortController();
    this.#session = session;
    const { signal } = session;
    await this.#load(signal);
    this.#wait = FIRST_WAIT;
    const refresh = setInterval(() => this.refresh(signal), REFRESH);
    signal.addEventListener("abort", () => clearInterval(refresh));
    return Promise.race([this.#samples(signal), this.#events(signal)]);
  }

  async #load(signal) {
    const model = this.#model;
    const [status, history] = await Promise.all([api.get("status", signal), api.get("history?seconds=900", signal)]);
    const columns = await api.get(`history/backends?seconds=${depth(status.backends)}`, signal);
    const same = model.status?.pid === status.pid;
    model.status = status;
    model.columns.clear();
    model.columns.load(columns);
    model.load(history.samples, same);
    model.events = [];
    await this.refresh(signal);
    model.changed();
  }

  /** What no stream brings. */
  async refresh(signal) {
    const model = this.#model;
    const answers = await Promise.allSettled(
      ["status", "strategy", "decisions", "config", "explain/picks?limit=20", "backends"].map((path) => api.get(path, signal)),
    );
    const [status, strategy, decisions, config, picks, backends] = answers.map((answer) => answer.value);
    model.status = status ?? model.status;
    model.strategy = strategy ?? model.strategy;
    model.decisions = decisions?.decisions ?? model.decisions;
    model.config = config ?? model.config;
    model.picks = picks?.picks ?? model.picks;
    if (backends) model.members = new Map(backends.map((backend) => [backend.name, backend]));
    model.changed();
  }

  async #samples(signal) {
    let watchdog;
    const alarm = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => this.#session?.abort(), SILENCE);
    };
    alarm();
    signal.addEventListener("abort", () => clearTimeout(watchdog));
    for await (const message of api.follow("live", signal)) {
      if (message.event !== "sample") continue;
      alarm();
      this.#model.connected = true;
      this.#model.heard = Date.now();
      if (!this.#model.add(JSON.parse(message.data))) this.#fill(signal);
      this.#model.changed();
    }
  }

  /** Asks for the seconds that were missed. */
  async #fill(signal) {
    if (this.#filling) return;
    this.#filling = true;
    const history = await api.get("history?seconds=900", signal).catch(() => null);
    if (history) this.#model.samples = history.samples;
    this.#filling = false;
    this.#model.changed();
  }

  async #events(signal) {
    let pending = null;
    for await (const message of api.follow("events", signal)) {
      if (message.data === undefined) continue;
      const event = JSON.parse(message.data);
      this.#model.events.push(event);
      if (this.#model.events.length > 512) this.#model.events.shift();
      if (STIRRING.has(event.type)) {
        // Many come at once at the start: one refresh answers them all.
        clearTimeout(pending);
        pending = setTimeout(() => this.refresh(signal), 100);
      }
      this.#model.changed();
    }
  }

  #pause() {
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    return new Promise((resume) => setTimeout(resume, wait));
  }
}

/** Promises that somebody looks. */
async function seen() {
  while (document.hidden) await new Promise((resume) => document.addEventListener("visibilitychange", resume, { once: true }));
}
