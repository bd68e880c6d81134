// The last minute of one backend: requests as a line, errors as bars from below. Drawn by hand: a chart library for each of
// 1,000 rows would cost more than all the rest of the page.

import { colour } from "./dom.js";

export const SECONDS = 60;
const [WIDTH, HEIGHT] = [108, 26];

export function canvas() {
  const element = document.createElement("canvas");
  const scale = Math.min(2, devicePixelRatio || 1);
  element.width = WIDTH * scale;
  element.height = HEIGHT * scale;
  element.setAttribute("aria-hidden", "true");
  return element;
}

let palette = null;

/** After a change of theme. */
export function forgetColours() {
  palette = null;
}

export function draw(element, { requests, errors }) {
  palette ??= { line: colour("rate"), fill: colour("rate-soft"), error: colour("bad") };
  const context = element.getContext("2d");
  const [width, height] = [element.width, element.height];
  context.clearRect(0, 0, width, height);
  const most = Math.max(1, ...requests.filter(Number.isFinite));
  const x = (index) => (index / (requests.length - 1)) * width;
  const y = (value) => height - 2 - (value / most) * (height - 5);
  line(context, requests, x, y, height);
  context.fillStyle = palette.error;
  errors.forEach((number, index) => {
    if (number > 0) context.fillRect(x(index) - 1, Math.min(y(number), height - 4), Math.max(2, width / requests.length), height);
  });
}

function line(context, values, x, y, height) {
  const path = new Path2D();
  let first = -1;
  let last = -1;
  values.forEach((value, index) => {
    if (!Number.isFinite(value)) return;
    if (first < 0) path.moveTo(x((first = index)), y(value));
    else path.lineTo(x(index), y(value));
    last = index;
  });
  if (first < 0) return;
  const area = new Path2D(path);
  area.lineTo(x(last), height);
  area.lineTo(x(first), height);
  context.fillStyle = palette.fill;
  context.fill(area);
  context.strokeStyle = palette.line;
  context.lineWidth = Math.max(1, context.canvas.width / WIDTH);
  context.stroke(path);
}
