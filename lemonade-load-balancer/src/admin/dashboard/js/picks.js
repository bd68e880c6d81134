// A sample of real picks: who got a request, and why.

import { byId, el, say } from "./dom.js";
import { clock, words } from "./format.js";

const MOST = 8;

export class Picks {
  #model;
  #drawn = "";

  constructor(model) {
    this.#model = model;
  }

  render() {
    const picks = this.#model.picks.slice(0, MOST);
    const sign = `${picks.length} ${picks[0]?.time} ${picks[0]?.picked}`;
    if (sign === this.#drawn) return;
    this.#drawn = sign;
    byId("picks").replaceChildren(...picks.map(item));
    say(byId("no-picks"), picks.length > 0 ? "" : "None was sampled yet: one of 1,024 is, unless engine.trace_sample says otherwise.");
  }
}

function item({ time, strategy, picked, why, of }) {
  return el(
    "li",
    {},
    el("time", { datetime: time, text: clock(time) }),
    el("strong", { text: picked }),
    el("span", { text: `${why} (${words(strategy)}, of ${of})` }),
  );
}
