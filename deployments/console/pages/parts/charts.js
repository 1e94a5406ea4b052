// Charts, by the Plotly that the server's own package brings. It is loaded when the first chart is drawn.

import { fill, h, setText } from "/console/parts/elements.js"

let loading = null

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: "/console/plotly.js" })
    script.addEventListener("load", () => resolve(window.Plotly))
    script.addEventListener("error", () => {
      loading = null
      reject(new Error("the charts' script could not be loaded"))
    })
    document.head.append(script)
  })
  return loading
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

const DASHES = ["solid", "dash", "dot", "dashdot"]
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false, showTips: false }

function layout(more = {}) {
  const axis = {
    gridcolor: colour("line"),
    linecolor: colour("line-strong"),
    zerolinecolor: colour("line-strong"),
    tickfont: { color: colour("muted"), size: 11 },
    fixedrange: true,
    automargin: true,
  }
  return {
    margin: { l: 44, r: 8, t: 6, b: 26 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 11, color: colour("muted") },
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("text") } },
    hovermode: "x unified",
    dragmode: false,
    showlegend: false,
    ...more,
    xaxis: { ...axis, ...more.xaxis },
    yaxis: { ...axis, rangemode: "tozero", ...more.yaxis },
  }
}

/** Draw into `place`; a later call replaces what was drawn. */
async function draw(place, traces, shape) {
  const Plotly = await plotly()
  if (place.isConnected) await Plotly.react(place, traces, layout(shape), CONFIG)
}

/**
 * Lines over time, with a legend that shows the present values.
 *
 * `names`: of the series. `write(value)`: a value as text. Returns {element, update(times, [values...])}; what is null
 * is a gap. Times are ms since the epoch.
 */
export function timeChart(title, names, write, { height = "", suffix = "" } = {}) {
  const present = names.map(() => h("b", {}, "–"))
  const legend = names.map((name, n) => h("li", { class: `s${n + 1}` }, h("i", { "aria-hidden": "true" }), name, present[n]))
  const place = h("div", { class: `plot ${height}`, role: "img", "aria-label": `${title}, the last minutes` })
  const note = h("p", { class: "empty" }, "collecting")
  const holder = h("div", { class: `plot ${height}` }, place, note)
  const element = h(
    "figure",
    { class: "card" },
    h("figcaption", {}, h("h2", {}, title), h("ul", { class: "legend" }, legend)),
    holder,
  )
  let busy = false
  let last = null

  async function update(times, series) {
    last = [times, series]
    const known = series.map((one) => one.findLast((value) => value !== null) ?? null)
    present.forEach((node, n) => setText(node, write(series[n].at(-1) ?? null)))
    const anything = known.some((value) => value !== null)
    note.hidden = anything
    setText(note, times.length > 3 && !anything ? "not measured yet" : "collecting")
    if (busy || !anything) return
    busy = true // a slow machine skips a tick rather than falling behind
    try {
      const end = times.at(-1)
      // The last five minutes; less while there is less to show.
      const start = Math.max(end - 300_000, Math.min(times[0], end - 60_000))
      const traces = series.map((one, n) => ({
        x: times,
        y: one,
        name: names[n],
        mode: "lines",
        connectgaps: false,
        line: { color: colour(`series-${n + 1}`), width: 2, dash: DASHES[n] },
        hovertemplate: `%{y:.3~f}${suffix}`,
      }))
      await draw(place, traces, {
        // Numbers instead of Plotly's dates: those are drawn in UTC.
        xaxis: { range: [start, end], ...clockTicks(start, end) },
        yaxis: { ticksuffix: suffix },
      })
    } catch (error) {
      note.hidden = false
      setText(note, error.message)
    } finally {
      busy = false
    }
  }

  const again = () => last && update(...last)
  window.addEventListener("theme", again)
  return { element, update, unmount: () => window.removeEventListener("theme", again) }
}

function clockTicks(start, end) {
  const step = end - start > 120_000 ? 60_000 : 15_000
  const tickvals = []
  for (let time = Math.ceil(start / step) * step; time <= end; time += step) tickvals.push(time)
  const shape = { hour: "2-digit", minute: "2-digit", ...(step < 60_000 ? { second: "2-digit" } : {}) }
  return { tickvals, ticktext: tickvals.map((time) => new Date(time).toLocaleTimeString("en-GB", shape)) }
}

/** A chart of any traces. `make(colour)` gives {traces, layout}; it is called again when the theme changes. */
export function chart(label, make, height = "") {
  const place = h("div", { class: `plot ${height}`, role: "img", "aria-label": label })
  const redraw = async () => {
    try {
      const { traces, layout: shape } = make(colour)
      await draw(place, traces, shape)
    } catch (error) {
      fill(place, h("p", { class: "empty" }, error.message))
    }
  }
  window.addEventListener("theme", redraw)
  requestAnimationFrame(redraw)
  return { element: place, redraw, unmount: () => window.removeEventListener("theme", redraw) }
}
