// Numbers and times as people read them. What is not known is a dash, never a zero.

const NONE = "–";
/** Between a number and its unit: they stay on one line. */
const GAP = "\u00a0";
const known = (value) => value !== undefined && value !== null && Number.isFinite(value);
const plain = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

export function count(value) {
  return known(value) ? plain.format(value) : NONE;
}

/** Something a second. */
export function rate(value) {
  if (!known(value)) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : plain.format(value);
}

export function percent(share) {
  if (!known(share)) return NONE;
  const value = share * 100;
  if (value === 0) return `0${GAP}%`;
  if (value < 0.1) return `<0.1${GAP}%`;
  return `${value < 10 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)}${GAP}%`;
}

/** How long something took, in seconds. */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const ms = seconds * 1000;
  if (ms === 0) return `0${GAP}ms`;
  if (ms < 9.95) return `${ms.toFixed(1)}${GAP}ms`;
  if (ms < 999.5) return `${Math.round(ms)}${GAP}ms`;
  return `${seconds < 9.995 ? seconds.toFixed(2) : seconds.toFixed(1)}${GAP}s`;
}

/** How long ago, or for how long, in seconds. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}${GAP}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function weight(value) {
  return known(value) ? String(Math.round(value * 100) / 100) : NONE;
}

/** The time of day where the reader is. */
export function clock(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? NONE : date.toLocaleTimeString("en-GB");
}

export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** `a, b and 3 more`. */
export function list(words, most = 3) {
  if (words.length <= most) return words.join(", ");
  return `${words.slice(0, most).join(", ")} and ${words.length - most} more`;
}

/** `least_delay`, as the API says it, as people do. */
export function words(name) {
  return String(name ?? NONE).replaceAll("_", " ");
}
