// What is wrong, in words, and what could be pressed: computed from one second and those just before it. Pure.

import { count, duration, list, percent, plural, rate, span, words } from "./format.js";
import { isDrained, isOut } from "./states.js";

/** Seconds that are taken together: one alone says too little where few requests come. */
const RECENT = 5;
/** Seconds that what is usual is taken from. */
const BEFORE = 300;
/** Fewer are no usual. */
const ENOUGH = 30;
/** A switch is news for so long, in seconds. */
const NEWS = 120;
/** A backend that fails more of its requests than this is named. */
const FAILING = 0.02;

const LEVELS = ["fine", "notice", "trouble"];
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/**
 * `level` is `fine`, `notice` or `trouble`; each of `points` has a text, and `press` where something could be done. `gist` changes when
 * something else is wrong, not when the same thing is a little worse.
 */
export function judge({ sample, past, events, decisions, status, then }) {
  const findings = [];
  const found = (level, text, points = [], gist = text.replace(/[\d.,]+/g, "#")) => findings.push({ level, text, points, gist });
  const recent = past.slice(-RECENT);
  const backends = sample.backends ?? [];
  phase(sample, found);
  membership(sample, backends, found);
  panic(sample, found);
  errors(recent, backends, found);
  pressure(recent, found);
  latency(past, backends, found);
  reload(status, then, found);
  const level = LEVELS[Math.max(0, ...findings.map((finding) => LEVELS.indexOf(finding.level)))];
  const headline = findings.length > 0 ? findings.map((finding) => finding.text).join(" ") : calm(sample);
  const gist = findings.map((finding) => finding.gist).join();
  return { level, headline, gist, points: once([...findings.flatMap((finding) => finding.points), ...news(decisions, events, then)]) };
}

/** Each button once. */
function once(points) {
  const seen = new Set();
  return points.map(({ text, press }) => {
    const sign = JSON.stringify(press);
    const again = seen.has(sign);
    seen.add(sign);
    return again ? { text } : { text, press };
  });
}

function calm(sample) {
  const who = sample.backends_all === 1 ? "The backend is well" : `All ${count(sample.backends_all)} backends are well`;
  const p99 = sample.p99_seconds === undefined ? "" : `, p99 ${duration(sample.p99_seconds)}`;
  return sample.requests === 0 ? `${who}. No requests come.` : `${who}: ${rate(sample.requests / sample.seconds)} requests a second${p99}, no errors.`;
}

function phase(sample, found) {
  if (sample.phase === "draining") found("notice", "The balancer is going away: nothing new is accepted, what is in flight finishes.");
  if (sample.phase === "unready") found("notice", "The balancer is about to go away: it says it is not ready, and still accepts.");
}

function membership(sample, backends, found) {
  if (sample.backends_all === 0) return found("trouble", "There is no backend: every request is answered 503.");
  if (backends.length === 0 && sample.backends_usable < sample.backends_all) {
    const unusable = sample.backends_all - sample.backends_usable;
    return found("trouble", `${count(unusable)} of ${count(sample.backends_all)} backends not usable; which ones is not kept for this second.`);
  }
  const out = backends.filter(isOut);
  const drained = backends.filter(isDrained);
  if (out.length > 0) {
    const named = out.map((backend) => `${backend.name} ${backend.state}${backend.why ? ` (${lasting(backend.why)})` : ""}`);
    const level = out.every((backend) => backend.state === "starting") ? "notice" : "trouble";
    found(level, `${howMany(out, backends)} out: ${list(named)}.`, outPoints(out, backends), out.map((backend) => backend.name).join("+"));
  }
  if (drained.length > 0) {
    const names = list(drained.map((backend) => backend.name));
    const point = { text: "A drained backend comes back when it is enabled.", press: { kind: "enable", name: drained[0].name } };
    found("notice", `${names} ${drained.length === 1 ? "is" : "are"} drained.`, [point], `drained ${names}`);
  }
}

function howMany(out, backends) {
  if (backends.length === 1) return "The only backend is";
  return `${count(out.length)} of ${count(backends.length)} backends ${out.length === 1 ? "is" : "are"}`;
}

/** A countdown is for the table: a headline that counts cannot be read. */
const lasting = (why) => why.replace(/; for another .*$/, "");

function outPoints(out, backends) {
  const serving = backends.filter((backend) => backend.share > 0 && !isOut(backend));
  const points = [];
  if (serving.length > 0) {
    const shares = list(serving.toSorted((one, other) => other.share - one.share).map((backend) => `${backend.name} ${percent(backend.share)}`));
    points.push({ text: `${out.length === 1 ? "Its" : "Their"} requests go to the others: ${shares}.` });
  }
  const ejected = out.filter((backend) => backend.state === "ejected");
  if (ejected.length > 0) {
    const name = ejected[0].name;
    points.push({ text: "An ejected backend is tried by single requests and comes back by itself. To keep it out, drain it.", press: { kind: "drain", name } });
  }
  const unhealthy = out.filter((backend) => backend.state === "unhealthy");
  if (unhealthy.length > 0) points.push({ text: "An unhealthy backend comes back when its health checks succeed.", press: { kind: "drain", name: unhealthy[0].name } });
  return points;
}

function panic(sample, found) {
  if (sample.panic === "few_usable") {
    const usable = `${count(sample.backends_usable)} of ${count(sample.backends_all)}`;
    found("trouble", `Only ${usable} backends are usable, so those that fail their health checks are used too.`);
  }
  if (sample.panic === "none_trusted") found("trouble", "No backend is trusted, so all of them are used.");
}

function errors(recent, backends, found) {
  const requests = sum(recent.map((sample) => sample.requests));
  const failed = sum(recent.map((sample) => sample.classes[4]));
  if (failed === 0) return;
  const culprits = backends
    .filter((backend) => backend.errors > 0 && backend.errors >= backend.requests * FAILING)
    .toSorted((one, other) => other.errors - one.errors);
  const points = culprits.slice(0, 1).map((backend) => ({
    text: `Most errors come from ${backend.name}: ${percent(backend.errors / backend.requests)} of its answers.`,
    press: { kind: "drain", name: backend.name },
  }));
  found(failed >= requests * 0.01 ? "trouble" : "notice", `Errors ${percent(failed / requests)} in the last ${RECENT} s.`, points);
}

function pressure(recent, found) {
  const of = (field) => sum(recent.map((sample) => sample[field] ?? 0));
  const [shed, refused] = [of("shed"), of("refused")];
  const queued = recent.at(-1)?.queued ?? 0;
  if (shed > 0) found("trouble", `${plural(shed, "request")} shed in ${RECENT} s: every backend is full.`);
  if (refused > 0) found("notice", `${plural(refused, "request")} or connections refused in ${RECENT} s.`);
  if (queued > 0) found("notice", `${plural(queued, "request")} waiting for a backend with room.`);
}

function latency(past, backends, found) {
  const p99 = (samples) => median(samples.map((sample) => sample.p99_seconds).filter((value) => value !== undefined));
  const [now, usual] = [p99(past.slice(-RECENT)), p99(past.slice(-BEFORE, -RECENT))];
  if (past.length < ENOUGH || now === null || usual === null) return;
  if (now > usual * 2 && now > usual + 0.02) found("notice", `p99 is ${duration(now)}, usually ${duration(usual)}.`, slowest(backends));
}

/** Who stands out, if anyone does. */
function slowest(backends) {
  const answering = backends.filter((backend) => backend.p99_seconds !== undefined).toSorted((one, other) => other.p99_seconds - one.p99_seconds);
  const rest = median(answering.slice(1).map((backend) => backend.p99_seconds));
  const [slow] = answering;
  if (rest === null || slow.p99_seconds < rest * 2) return [];
  const text = `The slowest is ${slow.name}: p99 to first byte ${duration(slow.p99_seconds)}, the others ${duration(rest)}.`;
  return [{ text, press: { kind: "drain", name: slow.name } }];
}

function median(numbers) {
  if (numbers.length === 0) return null;
  return numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];
}

function reload(status, then, found) {
  const last = status?.last_reload;
  if (last?.type !== "reload_refused" || Date.parse(last.time) > then) return;
  const point = { text: "The old configuration stays in force until the file is right.", press: { kind: "config" } };
  found("notice", "The last reload was refused.", [point]);
}

function news(decisions, events, then) {
  const age = (item) => (then - Date.parse(item.time)) / 1000;
  const decision = decisions.find((candidate) => !candidate.suppressed && age(candidate) <= NEWS);
  const points = [];
  if (decision) {
    const text = `The engine switched from ${words(decision.from)} to ${words(decision.to)} ${span(age(decision))} ago, by rule “${words(decision.rule)}”.`;
    points.push({ text, press: { kind: "decision", id: decision.id } });
  }
  const hand = events.findLast((event) => event.type === "changed_by_hand" && age(event) <= NEWS);
  if (hand) points.push({ text: `Changed by hand ${span(age(hand))} ago: ${hand.change}.` });
  return points;
}
