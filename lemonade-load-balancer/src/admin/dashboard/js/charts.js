// Requests, latency and errors over time, drawn by uPlot. A click shows that second; dashed lines are switches of the strategy,
// marks at the foot are backends that were ejected or became unhealthy. What a chart says is also said in words.

import uPlot from "./uplot.js";
import { byId, colour, el, mark, say } from "./dom.js";
import { clock, duration, percent, rate } from "./format.js";

const HEIGHT = 168;
/** Descriptions for screen readers change only so often, in milliseconds. */
const RETELL = 10_000;

const perSecond = (value, sample) => value / sample.seconds;

const CHARTS = [
  {
    id: "chart-rate",
    title: "Requests a second",
    show: rate,
    least: 1,
    lines: [
      { name: "requests", colour: "rate", fill: "rate-soft", of: (sample) => perSecond(sample.requests, sample) },
      { name: "retries", colour: "accent-line", dash: [4, 3], of: (sample) => perSecond(sample.retries, sample) },
    ],
  },
  {
    id: "chart-latency",
    title: "Latency",
    show: duration,
    least: 0.001,
    lines: [
      { name: "p99", colour: "p99", width: 2, of: (sample) => sample.p99_seconds ?? null },
      { name: "p90", colour: "p90", dash: [6, 3], of: (sample) => sample.p90_seconds ?? null },
      { name: "p50", colour: "p50", of: (sample) => sample.p50_seconds ?? null },
    ],
  },
  {
    id: "chart-errors",
    title: "Errors",
    show: percent,
    least: 0.01,
    lines: [
      { name: "5xx", colour: "bad", fill: "bad-soft", of: (sample) => sample.classes[4] / Math.max(1, sample.requests) },
      { name: "refused or shed", colour: "p90", dash: [4, 3], of: (sample) => turnedAway(sample) / Math.max(1, sample.requests + (sample.refused ?? 0)) },
    ],
  },
];

/** What is shed was read, and counts among the requests; what is refused was not. */
const turnedAway = (sample) => (sample.refused ?? 0) + (sample.shed ?? 0);

export class Charts {
  #model;
  #choose;
  #charts = [];
  #range = 300;

  /** `choose(id)` shows that sample. */
  constructor(model, choose) {
    this.#model = model;
    this.#choose = choose;
    for (const radio of document.querySelectorAll("input[name=range]")) {
      radio.addEventListener("change", () => this.#ranged(Number(radio.value)));
    }
    new ResizeObserver(() => this.#resize()).observe(byId("charts"));
    this.restyle();
  }

  /** Drawn anew: uPlot takes its colours when it is made. */
  restyle() {
    for (const chart of this.#charts) chart.plot.destroy();
    this.#charts = CHARTS.map((spec) => this.#make(spec));
    this.render();
  }

  #ranged(seconds) {
    this.#range = seconds;
    this.render();
  }

  #resize() {
    for (const { plot, spec } of this.#charts) {
      const width = byId(spec.id).clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }

  #make(spec) {
    const place = byId(spec.id);
    const values = spec.lines.map((line) => el("span", { class: "value" }));
    const legend = spec.lines.map((line, index) => {
      const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.borderTop = `${line.width ?? 1.5}px ${line.dash ? "dashed" : "solid"} ${colour(line.colour)}`;
      return el("span", { class: "key" }, swatch, line.name, " ", values[index]);
    });
    place.parentElement.querySelector(".legend").replaceChildren(...legend);
    place.replaceChildren();
    const chart = { spec, values, told: 0, samples: [] };
    chart.plot = new uPlot(this.#options(chart, place), [[], ...spec.lines.map(() => [])], place);
    chart.plot.over.addEventListener("click", () => this.#clicked(chart));
    return chart;
  }

  #options(chart, place) {
    const { spec } = chart;
    const [axis, grid] = [colour("muted"), colour("line")];
    const font = "11px system-ui, sans-serif";
    return {
      width: Math.max(200, place.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: "charts" }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true },
        y: { range: (_, __, most) => [0, Math.max(spec.least, (most ?? 0) * 1.12)] },
      },
      axes: [
        { stroke: axis, font, grid: { show: false }, ticks: { stroke: grid, size: 5 }, space: 64, size: 30, values: (_, ticks) => ticks.map(timeOfDay) },
        { stroke: axis, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 58, values: (_, ticks) => ticks.map(spec.show) },
      ],
      series: [{}, ...spec.lines.map(series)],
      hooks: { draw: [(plot) => this.#annotate(plot)], setCursor: [() => this.#say(chart)] },
    };
  }

  render() {
    const { samples, newest } = this.#model;
    if (samples.length === 0) return;
    const last = (newest ? Date.parse(newest.time) : Date.parse(samples.at(-1).time)) / 1000;
    const begin = Math.max(last - this.#range, Math.min(last - 60, Date.parse(samples[0].time) / 1000));
    const from = samples.findIndex((sample) => Date.parse(sample.time) / 1000 >= begin - 2);
    const seen = samples.slice(Math.max(0, from));
    const times = seen.map((sample) => Date.parse(sample.time) / 1000);
    for (const chart of this.#charts) {
      chart.samples = seen;
      chart.plot.batch(() => {
        chart.plot.setData([times, ...chart.spec.lines.map((line) => seen.map(line.of))], false);
        chart.plot.setScale("x", { min: begin, max: last });
      });
      this.#say(chart);
    }
  }

  #clicked(chart) {
    const sample = chart.samples[chart.plot.cursor.idx];
    if (sample) this.#choose(sample.id);
  }

  /** The values of the second that is pointed at, else of the one that is shown. */
  #say(chart) {
    const { shown } = this.#model;
    const sample = chart.samples[chart.plot?.cursor.idx] ?? shown;
    if (!sample) return;
    chart.spec.lines.forEach((line, index) => say(chart.values[index], chart.spec.show(line.of(sample))));
    if (Date.now() - chart.told > RETELL) this.#tell(chart);
  }

  #tell(chart) {
    const { spec, samples } = chart;
    if (samples.length === 0) return;
    chart.told = Date.now();
    const lines = spec.lines.map((line) => {
      const values = samples.map(line.of).filter((value) => value !== null);
      if (values.length === 0) return `${line.name}: nothing`;
      const [least, most] = [Math.min(...values), Math.max(...values)];
      return `${line.name}: now ${spec.show(values.at(-1))}, lowest ${spec.show(least)}, highest ${spec.show(most)}`;
    });
    const since = `since ${clock(samples[0].time)}`;
    mark(byId(spec.id), "aria-label", `${spec.title} ${since}. ${lines.join(". ")}.`);
  }

  #annotate(plot) {
    const { ctx, bbox } = plot;
    const x = (time) => plot.valToPos(Date.parse(time) / 1000, "x", true);
    const inside = (position) => position >= bbox.left && position <= bbox.left + bbox.width;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    for (const { time, suppressed } of this.#model.decisions) {
      if (!suppressed && inside(x(time))) upright(ctx, x(time), bbox, colour("switch"), [5, 4]);
    }
    for (const event of this.#model.events) {
      if (isFall(event) && inside(x(event.time))) footMark(ctx, x(event.time), bbox, colour("bad"));
    }
    if (!this.#model.live) upright(ctx, x(this.#model.shown.time), bbox, colour("text"), []);
    ctx.restore();
  }
}

const isFall = (event) => event.type === "state_changed" && (event.to === "ejected" || event.to === "unhealthy");

function upright(ctx, x, bbox, stroke, dash) {
  ctx.strokeStyle = stroke;
  ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
}

function footMark(ctx, x, bbox, fill) {
  const size = 5 * devicePixelRatio;
  const foot = bbox.top + bbox.height;
  ctx.fillStyle = fill;
  ctx.beginPath();
  ctx.moveTo(x - size, foot);
  ctx.lineTo(x + size, foot);
  ctx.lineTo(x, foot - size * 1.6);
  ctx.fill();
}

function series(line) {
  return {
    label: line.name,
    stroke: colour(line.colour),
    fill: line.fill ? colour(line.fill) : undefined,
    width: line.width ?? 1.5,
    dash: line.dash,
    points: { show: false },
  };
}

function timeOfDay(seconds) {
  const text = new Date(seconds * 1000).toLocaleTimeString("en-GB");
  return text.endsWith(":00") ? text.slice(0, 5) : text;
}
