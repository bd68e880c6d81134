// Wires the page: one source (the balancer, or the dump in the page), one model, and the views of it.

import * as api from "./api.js";
import { Charts } from "./charts.js";
import { Configuration } from "./config.js";
import { Controls } from "./controls.js";
import { Decisions } from "./decisions.js";
import { byId, el } from "./dom.js";
import { Events } from "./events.js";
import { listen } from "./keys.js";
import { Live } from "./live.js";
import { Model } from "./model.js";
import { Offline, isDump } from "./offline.js";
import { Picks } from "./picks.js";
import { Scrubber } from "./scrubber.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";
import { Theme } from "./theme.js";
import { askForToken, hold, remember } from "./token.js";

const offline = isDump();
const model = new Model();
const source = offline ? new Offline(model) : new Live(model, askForToken);
const controls = new Controls(model, () => source.refresh?.());
const scrubber = new Scrubber(model, source);
const charts = new Charts(model, (id) => scrubber.choose(id));
const decisions = new Decisions(model);
const summary = new Summary(model, {
  drain: ({ name }) => controls.drain(name),
  enable: ({ name }) => controls.enable(name),
  decision: ({ id }) => decisions.reveal(id),
  config: () => showConfiguration(),
});
const views = [summary, charts, scrubber, new Table(model, controls), decisions, new Events(model), new Picks(model), new Configuration(model)];

let due = false;

/** Once a frame at most, and not at all while nobody looks. */
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const view of views) view.render();
    summary.connection();
  });
}

function showConfiguration() {
  byId("config-heading").scrollIntoView();
  byId("config-heading").focus();
}

async function saveDump() {
  const button = byId("save-dump");
  button.disabled = true;
  try {
    const link = el("a", { href: URL.createObjectURL(await api.dump()), download: `lemonade-${new Date().toISOString().replaceAll(":", "-").slice(0, 19)}.html` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch {
    button.textContent = "No dump came: try again";
  } finally {
    button.disabled = false;
  }
}

model.addEventListener("change", draw);
setInterval(() => summary.connection(), 1000);
const theme = new Theme(() => {
  charts.restyle();
  draw();
});
const showKeys = () => byId("keys-dialog").showModal();
byId("show-keys").addEventListener("click", showKeys);
const always = {
  "?": showKeys,
  "/": () => byId("filter").focus(),
  "[": () => scrubber.step(-1),
  "]": () => scrubber.step(1),
  l: () => scrubber.goLive(),
  t: () => theme.next(),
};
if (offline) {
  document.documentElement.dataset.offline = "";
  listen(always);
} else {
  byId("change-strategy").addEventListener("click", () => controls.strategy());
  byId("reload").addEventListener("click", () => controls.reload());
  byId("save-dump").addEventListener("click", saveDump);
  listen({ ...always, s: () => controls.strategy(), r: () => controls.reload(), d: saveDump });
  remember();
  hold();
}
source.run();
