// Light, dark, or as the system has it; remembered where the browser allows.

import { byId, mark, say } from "./dom.js";
import { forgetColours } from "./sparkline.js";

const KEY = "lemonade-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

export class Theme {
  #current = "auto";
  #changed;

  /** `changed()` draws anew what has its colours painted in. */
  constructor(changed) {
    this.#changed = changed;
    byId("theme").addEventListener("click", () => this.next());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#apply());
    this.#current = remembered();
    this.#apply();
  }

  next() {
    this.#current = NEXT[this.#current];
    try {
      localStorage.setItem(KEY, this.#current);
    } catch {
      // A page from a file may have no storage: then the choice lasts as long as the page.
    }
    this.#apply();
  }

  #apply() {
    mark(document.documentElement, "data-theme", this.#current);
    say(byId("theme-sign"), SIGNS[this.#current]);
    mark(byId("theme"), "aria-label", `Theme: ${this.#current}`);
    forgetColours();
    this.#changed();
  }
}

function remembered() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept in NEXT ? kept : "auto";
  } catch {
    return "auto";
  }
}
