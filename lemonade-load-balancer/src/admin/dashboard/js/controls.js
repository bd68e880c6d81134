// What an operator may press. Each control says what it will do, does it through the API, and shows what the API answers.

import * as api from "./api.js";
import { confirm } from "./dialog.js";
import { el } from "./dom.js";
import * as forecast from "./forecast.js";
import { weight as shownWeight, span, words } from "./format.js";

export class Controls {
  #model;
  #refresh;

  /** `refresh()` has the page see a change at once. */
  constructor(model, refresh) {
    this.#model = model;
    this.#refresh = refresh;
  }

  /** Always of the newest second: what is pressed happens now, whatever second is shown. */
  #backend(name) {
    return this.#model.newest?.backends.find((backend) => backend.name === name);
  }

  drain(name) {
    this.#simple(name, "drain", forecast.drain, `Drain ${name}`, "Drain");
  }

  enable(name) {
    this.#simple(name, "enable", forecast.enable, `Enable ${name}`, "Enable");
  }

  #simple(name, call, foretold, title, button) {
    const persist = keep();
    confirm({
      title,
      button,
      after: [persist.field],
      forecast: async () => foretold(this.#backend(name) ?? gone(name), this.#model.newest),
      act: () => this.#act("POST", `backends/${encodeURIComponent(name)}/${call}${persist.query()}`),
    });
  }

  weight(name) {
    const backend = this.#backend(name) ?? gone(name);
    const configured = this.#model.members.get(name)?.weight ?? backend.weight;
    const input = el("input", { id: "new-weight", type: "number", min: 1, max: 65535, required: true, value: shownWeight(configured) });
    const persist = keep();
    confirm({
      title: `Weight of ${name}`,
      button: "Set weight",
      fields: [el("label", { for: "new-weight", text: "Weight" }), input],
      after: [persist.field],
      forecast: async () => forecast.weight(this.#backend(name) ?? backend, input.valueAsNumber, this.#model.newest),
      act: () => this.#act("PUT", `backends/${encodeURIComponent(name)}/weight${persist.query()}`, { weight: input.valueAsNumber }),
    });
  }

  strategy() {
    const { known = [], configured, name: current } = this.#model.strategy ?? {};
    const options = ["auto", ...known].map((name) => el("option", { value: name, text: words(name), selected: name === current }));
    const select = el("select", { id: "new-strategy" }, ...options);
    const ttl = el("input", { id: "ttl", type: "text", placeholder: "10m", autocomplete: "off" });
    const persist = keep();
    confirm({
      title: "Strategy",
      button: "Switch",
      fields: [
        el("label", { for: "new-strategy", text: "Picked by" }),
        select,
        el("label", { for: "ttl", text: "For how long (empty: until changed)" }),
        ttl,
      ],
      after: [persist.field],
      forecast: async () => forecast.strategy(select.value, ttl.value.trim(), this.#model.newest, configured),
      act: () => this.#switch(select.value, ttl.value.trim(), persist.query()),
    });
  }

  async #switch(name, ttl, query) {
    const answer = await api.send("PUT", `strategy${query}`, ttl ? { name, ttl } : { name });
    this.#refresh();
    const left = answer.override_left_seconds;
    return [`${words(answer.picks)} picks${left === undefined ? "" : ` for the next ${span(left)}`}.`];
  }

  reload() {
    confirm({
      title: "Read the configuration again",
      button: "Reload",
      forecast: async () => ({ lines: forecast.plan(await api.send("POST", "config/check")), grave: false }),
      act: () => this.#act("POST", "reload"),
    });
  }

  async #act(method, path, body) {
    const plan = await api.send(method, path, body);
    this.#refresh();
    return forecast.plan(plan);
  }
}

function keep() {
  const box = el("input", { type: "checkbox", id: "persist" });
  const field = el("label", { class: "check" }, box, "Keep it after a restart");
  return { field, query: () => (box.checked ? "?persist=true" : "") };
}

/** Stands for a backend that went while its button was pressed: the API will say so. */
function gone(name) {
  return { name, eligible: false, in_flight: 0, weight: 1 };
}
