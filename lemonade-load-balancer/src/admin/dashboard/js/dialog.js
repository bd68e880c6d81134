// One dialog for everything that changes something: what will happen, a button, and what came of it.

import { Problem } from "./api.js";
import { el, say } from "./dom.js";

/**
 * `fields`: elements to fill in, `after` those of less weight; `forecast()` promises `{ lines, grave }`, asked anew after every input; `act()` promises lines of
 * what was done, or fails with a problem whose detail is shown.
 */
export function confirm({ title, fields = [], after = [], forecast, button, act }) {
  const consequences = el("ul", { class: "consequences" });
  const outcome = el("div", { class: "outcome", role: "status" });
  const go = el("button", { type: "submit", class: "primary", text: button, autofocus: fields.length === 0 });
  const cancel = el("button", { type: "button", text: "Cancel", on: { click: () => dialog.close() } });
  const form = el("form", {}, ...fields, el("h3", { text: "What will happen" }), consequences, ...after, outcome, el("div", { class: "buttons" }, go, cancel));
  const heading = el("h2", { id: "dialog-title", text: title });
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, heading, form);
  let asked = 0;

  async function tell() {
    const turn = (asked += 1);
    const { lines, grave } = await Promise.resolve(forecast()).catch((problem) => ({ lines: refusal(problem), grave: true }));
    // An answer that was overtaken by the next input says nothing.
    if (turn !== asked) return;
    consequences.replaceChildren(...lines.map((text) => el("li", { text })));
    consequences.classList.toggle("grave", grave);
  }

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      show(outcome, "done", "Done", await act());
      go.remove();
      say(cancel, "Close");
      cancel.focus();
    } catch (problem) {
      show(outcome, "refused", "Not done", refusal(problem));
      go.disabled = false;
    }
  }

  form.addEventListener("submit", submit);
  form.addEventListener("input", tell);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  tell();
}

function show(outcome, kind, word, lines) {
  outcome.className = `outcome ${kind}`;
  outcome.replaceChildren(el("strong", { text: word }), el("ul", {}, ...lines.map((text) => el("li", { text }))));
}

function refusal(problem) {
  if (!(problem instanceof Problem)) return ["The balancer cannot be reached."];
  return problem.faults?.length > 0 ? problem.faults.map(fault) : problem.message.split("\n");
}

function fault({ file, line, path, problem, help }) {
  return `${file}${line ? `:${line}` : ""} ${path}: ${problem}${help ? ` (${help})` : ""}`;
}
