// The configuration in force, and what became of the last reload.

import { byId, el, say } from "./dom.js";
import { clock } from "./format.js";
import { plan } from "./forecast.js";

export class Configuration {
  #model;
  #drawn = null;
  #told = "";

  constructor(model) {
    this.#model = model;
  }

  render() {
    const { config, status, metrics } = this.#model;
    if (config !== this.#drawn) {
      this.#drawn = config;
      say(byId("config-text"), JSON.stringify(config, null, 2));
      // Only a dump has them: where there is a balancer there is `/metrics`.
      byId("metrics").hidden = metrics === "";
      say(byId("metrics-text"), metrics);
    }
    this.#reload(status?.last_reload);
    say(byId("config-file"), status?.config_file ?? "no file: flags and environment");
  }

  #reload(last) {
    const sign = last ? `${last.id} ${last.time}` : "none";
    if (sign === this.#told) return;
    this.#told = sign;
    byId("last-reload").replaceChildren(...(last ? told(last) : [el("p", { text: "Not reloaded since the start." })]));
  }
}

function told(last) {
  const refused = last.type === "reload_refused";
  const word = refused ? "✕ refused; the old configuration stays in force" : "● applied";
  const lines = refused ? last.error.split("\n") : plan(last.plan);
  return [
    el("p", {}, "Last reload ", el("time", { datetime: last.time, text: clock(last.time) }), " ", el("strong", { class: refused ? "bad" : "good", text: word })),
    el("ul", { class: refused ? "faults" : "diff" }, ...lines.map((text) => el("li", { text }))),
  ];
}
