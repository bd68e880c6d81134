// Keyboard shortcuts. They are single keys, so they can be switched off: who dictates or trembles presses some by accident.

import { byId } from "./dom.js";

const KEY = "lemonade-keys";

/** `actions`: what each key does. */
export function listen(actions) {
  const box = byId("keys-on");
  box.checked = read() !== "off";
  box.addEventListener("change", () => write(box.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || !box.checked || event.ctrlKey || event.metaKey || event.altKey || isBusy(event.target)) return;
    event.preventDefault();
    action();
  });
}

/** What is typed into a field is text, and a dialog has keys of its own. */
function isBusy(target) {
  return target.closest("dialog, select, textarea, input:not([type=range]):not([type=checkbox]):not([type=radio])") !== null;
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function write(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // A page from a file may have no storage.
  }
}
