// Charts of an experiment: values and differences with their intervals, and the interval as it narrowed over time.

import { chart } from "/console/parts/charts.js"
import { empty, fill, h } from "/console/parts/elements.js"
import { known, words } from "/console/parts/format.js"

/** A chart that is drawn when there is something to draw. */
function figure(title, note, height = "") {
  const holder = h("div", {}, empty(note))
  const element = h("figure", { class: height ? "card across" : "card" }, h("figcaption", {}, h("h2", {}, title)), holder)
  let drawn = null
  let current = null
  return {
    element,
    /** Draw `data` by `make(data, colour)`, where it is other than what is drawn. */
    show(data, make) {
      if (JSON.stringify(data) === JSON.stringify(current)) return
      current = data
      if (drawn) {
        drawn.redraw()
      } else {
        drawn = chart(title, (colour) => make(current, colour), height)
        fill(holder, drawn.element)
      }
    },
    unmount: () => drawn?.unmount(),
  }
}

function bars(points, colour, name) {
  return {
    x: points.map((point) => point.value),
    y: points.map((point) => point.label),
    error_x: {
      type: "data",
      symmetric: false,
      array: points.map((point) => point.high - point.value),
      arrayminus: points.map((point) => point.value - point.low),
      color: colour(name),
      thickness: 2,
      width: 8,
    },
    mode: "markers",
    marker: { size: 10, color: colour(name) },
    hovertemplate: "%{x:.4f}<extra>%{y}</extra>",
  }
}

const SIDEWAYS = { hovermode: "closest", margin: { l: 8, r: 16, t: 6, b: 26 }, yaxis: { rangemode: "normal", autorange: "reversed" } }

/** The primary metric of each variant with its interval. */
export function valueChart(title) {
  const shown = figure(title, "No interval yet: each variant needs users.")
  return {
    ...shown,
    update({ variants, primary_metric: metric }) {
      const points = variants
        .filter((arm) => arm.metrics[metric]?.interval)
        .map((arm) => {
          const [low, high] = arm.metrics[metric].interval
          return { label: arm.name, value: arm.metrics[metric].value, low, high }
        })
      if (points.length) shown.show(points, (data, colour) => ({ traces: [bars(data, colour, "series-1")], layout: SIDEWAYS }))
    },
  }
}

/** Differences from the control; an interval that does not touch 0 is a difference. */
export function differenceChart(title) {
  const shown = figure(title, "No interval yet: each variant needs users.")
  return {
    ...shown,
    update({ primary }) {
      const points = primary
        .filter((one) => one.absolute.interval)
        .map((one) => {
          const [low, high] = one.absolute.interval
          return { label: words(one.variant), value: one.absolute.estimate, low, high }
        })
      if (!points.length) return
      shown.show(points, (data, colour) => ({
        traces: [bars(data, colour, "series-2")],
        layout: { ...SIDEWAYS, shapes: [zero(colour, "x")] },
      }))
    },
  }
}

/** Each treatment's difference over time, as a line within its interval. */
export function seriesChart(title, names) {
  const shown = figure(title, "It is drawn from the second look on.", "tall")
  return {
    ...shown,
    update(points) {
      const data = names.map((name) => ({
        name,
        points: points
          .map((point) => ({ time: point.time_ms, found: point.comparisons[name] }))
          .filter(({ found }) => known(found?.estimate) && found.interval),
      }))
      if (data.some((one) => one.points.length > 1)) shown.show(data, drawSeries)
    },
  }
}

function drawSeries(data, colour) {
  const traces = data.flatMap(({ name, points }, n) => {
    const x = points.map((point) => point.time)
    const line = { color: colour(`series-${(n % 4) + 1}`), width: 2 }
    const edge = { x, mode: "lines", line: { ...line, width: 0 }, hoverinfo: "skip" }
    return [
      { ...edge, y: points.map((point) => point.found.interval[0]) },
      { ...edge, y: points.map((point) => point.found.interval[1]), fill: "tonexty", fillcolor: `${line.color}33` },
      { x, y: points.map((point) => point.found.estimate), name, mode: "lines", line, hovertemplate: "%{y:.4f}" },
    ]
  })
  const times = data.flatMap(({ points }) => points.map((point) => point.time))
  return { traces, layout: { shapes: [zero(colour, "y")], xaxis: timeTicks(Math.min(...times), Math.max(...times)), yaxis: { rangemode: "normal" } } }
}

function zero(colour, axis) {
  const across = axis === "x" ? { x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper" } : { y0: 0, y1: 0, x0: 0, x1: 1, xref: "paper" }
  return { type: "line", ...across, line: { color: colour("muted"), width: 1, dash: "dot" } }
}

/** Five times, as the reader's clock has them. */
function timeTicks(start, end) {
  const tickvals = [0, 1, 2, 3, 4].map((n) => start + ((end - start) * n) / 4)
  const shape = end - start > 86_400_000 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", second: end - start < 600_000 ? "2-digit" : undefined }
  return { tickvals, ticktext: tickvals.map((time) => new Date(time).toLocaleString("en-GB", shape)) }
}
