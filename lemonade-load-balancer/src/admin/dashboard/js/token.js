// The admin token: asked for when the balancer wants one, kept for this tab only, shown nowhere.

import { useToken } from "./api.js";
import { byId, say } from "./dom.js";

const KEY = "lemonade-token";

/** Uses what this tab was told before. */
export function remember() {
  useToken(sessionStorage.getItem(KEY) ?? "");
}

/** Promises that another token is in use. */
export function askForToken() {
  const dialog = byId("token-dialog");
  const input = byId("token");
  const before = sessionStorage.getItem(KEY);
  say(byId("token-problem"), before === null ? "" : "That token is not the right one.");
  input.value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    byId("token-form").addEventListener(
      "submit",
      () => {
        sessionStorage.setItem(KEY, input.value.trim());
        useToken(input.value.trim());
        input.value = "";
        resolve();
      },
      { once: true },
    );
  });
}

/** Without a token there is nothing to see: the dialog is not to be waved away. */
export function hold() {
  byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
}
