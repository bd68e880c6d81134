// The states of a backend: a shape, a word and a colour each, so that none of them is told by colour alone.

const STATES = {
  healthy: { shape: "●", rank: 6 },
  starting: { shape: "○", rank: 3 },
  degraded: { shape: "◐", rank: 2 },
  draining: { shape: "▽", rank: 4 },
  unhealthy: { shape: "✕", rank: 1 },
  ejected: { shape: "▲", rank: 0 },
};

export const shape = (state) => STATES[state]?.shape ?? "?";

/** The worst first. */
export const rank = (state) => STATES[state]?.rank ?? 5;

/** It should get requests and does not. A drained one is out because somebody said so, a backup because it is not needed. */
export const isOut = (backend) => ["ejected", "unhealthy", "starting"].includes(backend.state);

export const isDrained = (backend) => backend.state === "draining";

export const isTrouble = (backend) => isOut(backend) || backend.state === "degraded" || backend.errors > 0 || backend.faults > 0;
