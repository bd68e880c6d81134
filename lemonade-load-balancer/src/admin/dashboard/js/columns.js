// What the last seconds of each backend were, for sparklines: a ring a backend, found by a sample's number.

/** Seconds that are kept, as many as the balancer does. */
export const KEPT = 900;
/** Backends times seconds that are asked for at the start: about 2 MB of JSON. */
const ASKED = 90_000;

/** How far back to ask for, with so many backends: never less than a sparkline shows. */
export function depth(backends) {
  return Math.max(60, Math.min(KEPT, Math.floor(ASKED / Math.max(1, backends))));
}

export class Columns {
  #rings = new Map();

  clear() {
    this.#rings.clear();
  }

  /** Takes in an answer of `/history/backends`. */
  load({ first, backends }) {
    for (const { name, requests, errors } of backends) {
      requests.forEach((number, index) => {
        if (number !== null) this.#write(name, first + index, number, errors[index] ?? 0);
      });
    }
  }

  /** Takes in one sample. */
  add({ id, backends }) {
    for (const { name, requests, errors } of backends) this.#write(name, id, requests, errors);
  }

  /** Requests and errors of the `length` seconds up to `last`; `NaN` where nothing is known. */
  of(name, last, length) {
    const requests = new Float32Array(length).fill(NaN);
    const errors = new Float32Array(length);
    const ring = this.#rings.get(name);
    for (let index = 0; ring && index < length; index += 1) {
      const id = last - length + 1 + index;
      const slot = id % KEPT;
      if (id < 0 || ring.ids[slot] !== id) continue;
      requests[index] = ring.requests[slot];
      errors[index] = ring.errors[slot];
    }
    return { requests, errors };
  }

  #write(name, id, requests, errors) {
    let ring = this.#rings.get(name);
    if (!ring) {
      ring = { ids: new Int32Array(KEPT).fill(-1), requests: new Float32Array(KEPT), errors: new Float32Array(KEPT) };
      this.#rings.set(name, ring);
    }
    const slot = id % KEPT;
    ring.ids[slot] = id;
    ring.requests[slot] = requests;
    ring.errors[slot] = errors;
  }
}
