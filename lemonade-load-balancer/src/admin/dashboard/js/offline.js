// A support dump as a source: everything is in the page, gzip in base64, and nothing of it ever changes.

import { byId } from "./dom.js";

/** Whether this page is a dump. */
export const isDump = () => byId("dump") !== null;

export class Offline {
  #model;
  #detailed = new Map();

  constructor(model) {
    this.#model = model;
  }

  async run() {
    const dump = await unpack(byId("dump").textContent);
    const model = this.#model;
    Object.assign(model, {
      takenAt: dump.time,
      status: dump.status,
      strategy: dump.strategy,
      config: dump.config,
      decisions: dump.decisions,
      picks: dump.picks,
      metrics: dump.metrics,
      members: new Map(dump.backends.map((backend) => [backend.name, backend])),
    });
    for (const sample of dump.samples) {
      if (!sample.backends) continue;
      this.#detailed.set(sample.id, sample);
      model.columns.add(sample);
    }
    model.load(dump.samples);
    model.events = dump.events;
    const last = dump.samples.at(-1);
    if (last) model.add(last);
    model.changed();
  }

  /** Seconds from before the dump's detail begins have totals only. */
  async show(sample) {
    this.#model.choose(this.#detailed.get(sample.id) ?? { ...sample, backends: [] });
  }
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}
