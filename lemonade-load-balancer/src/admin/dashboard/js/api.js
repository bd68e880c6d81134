// The admin API: one place that knows its address, its token and what its errors look like.

import { messages } from "./sse.js";

/** What the API answered instead: problem details (RFC 9457). */
export class Problem extends Error {
  constructor(status, detail, faults = []) {
    super(detail);
    this.status = status;
    this.faults = faults;
  }
}

let token = "";

export function useToken(given) {
  token = given;
}

async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(path, { method, headers, body: text, signal, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, problem.detail ?? `${answer.status} ${answer.statusText}`, problem.faults);
}

export async function get(path, signal) {
  return (await ask(`api/v1/${path}`, { signal })).json();
}

export async function send(method, path, body) {
  const answer = await ask(`api/v1/${path}`, { method, body });
  return answer.headers.get("content-type")?.includes("json") ? answer.json() : null;
}

export async function* follow(path, signal) {
  yield* messages((await ask(`api/v1/${path}`, { signal })).body);
}

/** The support dump, as a file. */
export async function dump() {
  return (await ask("dump")).blob();
}
