// What a control will do, told before it is pressed. Pure.

import { count, percent, plural, words } from "./format.js";

const BY_WEIGHT = new Set(["weighted", "weighted_round_robin"]);
const WITHOUT_WEIGHT = new Set(["round_robin", "random"]);

const eligible = (sample) => (sample.backends ?? []).filter((backend) => backend.eligible);

function flight(backend) {
  return backend.in_flight === 0 ? "" : ` ${count(backend.in_flight)} in flight ${backend.in_flight === 1 ? "finishes" : "finish"}.`;
}

export function drain(backend, sample) {
  const now = eligible(sample);
  const lines = [`${backend.name} gets no new request until it is enabled again.${flight(backend)}`];
  if (!backend.eligible) return { lines: [...lines, "It gets none now, so nothing moves."], grave: false };
  const rest = now.length - 1;
  if (rest === 0) return { lines: [...lines, "No backend remains: every request will be answered 503."], grave: true };
  const share = `their share rises from ${percent(1 / now.length)} to ${percent(1 / rest)} on average`;
  return { lines: [...lines, `${count(rest)} of ${count(sample.backends_all)} remain: ${share}.`], grave: rest * 2 < sample.backends_all };
}

export function enable(backend, sample) {
  const now = eligible(sample).length;
  const lines = [`${backend.name} gets requests again as soon as it is healthy, slowly at first where the others are warm.`];
  if (now > 0) lines.push(`The share of each goes from ${percent(1 / now)} to ${percent(1 / (now + 1))} on average.`);
  return { lines, grave: false };
}

export function weight(backend, wanted, sample) {
  const all = eligible(sample);
  const others = all.filter((other) => other.name !== backend.name).reduce((total, other) => total + other.weight, 0);
  const part = (own) => percent(own / (own + others));
  const lines = [];
  if (!(wanted >= 1 && wanted <= 65535)) return { lines: ["A weight is a whole number from 1 to 65,535."], grave: false };
  if (backend.eligible) lines.push(`Its part of all weights goes from ${part(backend.weight)} to ${part(wanted)}.`);
  if (BY_WEIGHT.has(sample.picks)) lines.push("That is its share of requests.");
  else if (WITHOUT_WEIGHT.has(sample.picks)) lines.push(`${words(sample.picks)}, which picks now, pays no heed to weights.`);
  else lines.push(`${words(sample.picks)}, which picks now, takes it for a capacity or learns its own.`);
  return { lines, grave: false };
}

export function strategy(name, ttl, sample, configured) {
  const lines = [];
  if (name === "auto") lines.push(`The configuration decides again: ${words(configured)}.`);
  else if (name === sample.strategy) lines.push(`${words(name)} is in force already; it then holds against the configuration.`);
  else lines.push(`The next request is picked by ${words(name)} instead of ${words(sample.picks)}. Requests on their way keep theirs.`);
  if (name !== "auto" && name !== "adaptive") lines.push("Meanwhile the engine, if there is one, only advises.");
  if (name !== "auto") lines.push(ttl ? `After ${ttl} the configuration decides again.` : "It holds until the configuration names another, or the process ends.");
  return { lines, grave: false };
}

/** A plan of the API in words. */
export function plan(answer) {
  const backend = ({ name, address }) => (name === address ? name : `${name} (${address})`);
  const lines = [
    ...answer.added.map((member) => `+ ${backend(member)}`),
    ...answer.removed.map((member) => `− ${backend(member)}${member.in_flight > 0 ? `: ${plural(member.in_flight, "request")} in flight to finish` : ""}`),
    ...answer.changed.map((change) => `~ ${backend(change)}: ${change.changes.join(", ")}`),
    ...["strategy", "listen", "admin"].filter((key) => answer[key]).map((key) => `~ ${key}: ${answer[key].from} to ${answer[key].to}`),
    ...answer.settings.map((key) => `~ ${key}`),
    ...answer.refused.map((text) => `! ${text}`),
  ];
  return lines.length > 0 ? [...lines, `${plural(answer.untouched, "backend")} untouched`] : ["Nothing changes."];
}
