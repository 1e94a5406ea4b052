// Overview: is it well, what is it doing, what does the model know, what happened.

import { timeChart } from "/console/parts/charts.js"
import { badge, card, empty, fill, h, onChange, setText } from "/console/parts/elements.js"
import { ago, amount, count, dateTime, duration, fixed, known, milliseconds, percent, words } from "/console/parts/format.js"
import { driftTable, learningFacts, modelFacts, qualityTable, replicaTable } from "/console/overview/model_state.js"
import { rates, ticks, values } from "/console/frame/series.js"

export const title = "Overview"
export const about = "What the whole system does at this moment, all replicas together."

const KINDS = { ok: "good", degraded: "warn", down: "bad" }
const COMPONENTS = { store: "Online store", model: "Model", registry: "Model registry", disk: "Disk", autopilot: "Autopilot", kept: "Kept data", supervisor: "Supervisor" }

const COUNTERS = {
  requests: ({ system }) => system?.requests.recommend.total,
  events: ({ learning }) => learning?.events_total,
  lists: ({ system }) => system?.lists_total,
  hits: ({ system }) => system?.cache_hits_total,
  answers: ({ system }) => system && sum(Object.values(system.requests).map((one) => one.total)),
  errors: ({ system }) => system && sum(Object.values(system.requests).map(serverErrors)),
  shed: ({ system }) => system && sum(Object.values(system.requests).map((one) => one.shed_total)),
}
const rateOf = (name) => rates(COUNTERS[name])

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0)
}

function serverErrors({ by_code: codes }) {
  return sum(Object.entries(codes).map(([code, number]) => (code.startsWith("5") ? number : 0)))
}

/** Percentage of one counter's growth in another's; null while the other stands still. */
function percentages(part, whole) {
  const parts = rateOf(part)
  return rateOf(whole).map((rate, n) => (rate && parts[n] !== null ? Math.min(100, (100 * parts[n]) / rate) : null))
}

export function mount(root) {
  const components = h("ul", { class: "components" })
  const alerts = h("div", { role: "status" })
  const tiles = makeTiles()
  const charts = [
    chartOf("Recommendations and events per second", ["recommendations", "events"], amount, {}, () => [
      rateOf("requests"),
      rateOf("events"),
    ]),
    chartOf("Latency of recommendations", ["P50", "P95", "P99"], milliseconds, { suffix: " ms" }, () =>
      ["p50_ms", "p95_ms", "p99_ms"].map((name) => values(({ system }) => system?.latency.total[name])),
    ),
    chartOf("Cache hits and server errors", ["cache hits", "errors"], inPercent, { suffix: " %" }, () => [
      percentages("hits", "lists"),
      percentages("errors", "answers"),
    ]),
    chartOf("Waiting for the event log", ["events", "lists shown"], count, {}, () => [
      values(({ system }) => system?.streams.events.pending),
      values(({ system }) => system?.streams.exposures.pending),
    ]),
  ]
  const model = h("div", {}, empty("Loading"))
  const replicas = h("div", {}, empty("Loading"))
  const learning = h("div", {}, empty("Loading"))
  const drift = h("div", {}, empty("Loading"))
  const quality = h("div", {}, empty("Loading"))
  const timeline = h("ol", { class: "timeline", tabindex: "0", "aria-label": "Timeline" })
  root.append(
    h("section", { class: "card" }, h("h2", {}, "Health"), alerts, components),
    h("section", { "aria-label": "Now" }, tiles.element),
    h("section", { class: "charts", "aria-label": "The last five minutes" }, charts.map((chart) => chart.element)),
    h("div", { class: "columns" }, card("Model", model, h("h3", {}, "Replicas"), replicas), card("Timeline", timeline)),
    h("div", { class: "columns" }, card("Learning", learning, h("h3", {}, "Live quality of what was shown"), quality), card("Drift", drift)),
  )
  const drawHealth = onChange((found) => fill(components, Object.entries(found).map(component)))
  const drawAlerts = onChange((found) => fill(alerts, found.map((one) => h("p", { class: "note warn" }, one.text))))
  const drawModel = onChange((found) => fill(model, modelFacts(found)))
  const drawReplicas = onChange((found) => fill(replicas, replicaTable(found)))
  const drawLearning = onChange((found) => fill(learning, learningFacts(found)))
  const drawDrift = onChange((found) => fill(drift, driftTable(found)))
  const drawQuality = onChange((found) => fill(quality, qualityTable(found)))
  const drawTimeline = onChange((found) => fill(timeline, timelineLines(found)))

  return {
    update(snapshot) {
      drawHealth(snapshot.health.components)
      drawAlerts(snapshot.model?.autopilot.alerts ?? [])
      drawModel(snapshot.model && { slots: snapshot.model.slots, training: snapshot.model.training.status, autopilot: pick(snapshot.model.autopilot), split: snapshot.split })
      drawReplicas({ retrieval: snapshot.replicas, others: snapshot.system?.replicas ?? {} })
      drawLearning(snapshot.learning)
      drawDrift(snapshot.model?.drift)
      drawQuality(snapshot.model?.quality)
      drawTimeline(snapshot.timeline)
      for (const line of timeline.querySelectorAll("time")) setText(line, ago(Number(line.dataset.ms)))
      tiles.update(snapshot)
      const times = ticks.map((tick) => tick.time)
      for (const chart of charts) chart.update(times, chart.series())
    },
    unmount() {
      for (const chart of charts) chart.unmount()
    },
  }
}

/** What is shown of autopilot, without the time of its last look, which changes each second. */
function pick({ mode, policy, failures_in_a_row }) {
  return { mode, policy, failures_in_a_row }
}

function chartOf(name, names, write, options, series) {
  return { ...timeChart(name, names, write, options), series }
}

function inPercent(value) {
  return known(value) ? `${amount(value)} %` : "–"
}

function component([name, { status, detail }]) {
  return h("li", {}, h("strong", {}, COMPONENTS[name] ?? words(name), badge(status, KINDS[status])), h("p", {}, detail))
}

function makeTiles() {
  const made = {}
  const element = h("dl", { class: "tiles" })
  function tile(name, label) {
    const value = h("dd", { dataset: { tile: name } })
    const below = h("dd", {})
    element.append(h("div", { class: "tile" }, h("dt", {}, label), value, below))
    made[name] = (text, note, { bad = false, smaller = false, counted = false } = {}) => {
      const unknown = text === "–"
      value.className = `${unknown ? "unknown" : ""} ${smaller ? "small-value" : ""}`
      setText(value, text)
      below.className = bad ? "note bad" : "note"
      setText(below, !unknown ? note : counted ? "collecting" : "not measured yet")
    }
  }
  tile("requests", "Recommendations/s")
  tile("events", "Events/s")
  tile("latency", "Latency P50")
  tile("latency-tail", "P95 / P99")
  tile("errors", "Server errors/s")
  tile("shed", "Shed load/s")
  tile("cache", "Cache hits")
  tile("lag", "Oldest waiting event")
  tile("age", "Model age")
  tile("since", "Events since training")
  tile("quality", "NDCG@10, offline")
  tile("drift", "Drift")

  function update({ system, learning, model }) {
    const last = (series) => series.at(-1) ?? null
    const inAll = (name) => `${count(last(values(COUNTERS[name])))} in all`
    const rate = (name, options = {}) => [amount(last(rateOf(name))), inAll(name), { counted: system !== null, ...options }]
    made.requests(...rate("requests"))
    made.events(...rate("events"))
    const latency = system?.latency.total
    made.latency(milliseconds(latency?.p50_ms), "of the last minute")
    const tail = known(latency?.p95_ms) ? `${amount(latency.p95_ms)} / ${amount(latency.p99_ms)} ms` : "–"
    made["latency-tail"](tail, "of the last minute", { smaller: true })
    made.errors(...rate("errors", { bad: last(rateOf("errors")) > 0 }))
    made.shed(...rate("shed", { bad: last(rateOf("shed")) > 0 }))
    made.cache(percent(system?.cache_hit_rate, 0), "of the last minute")
    const stream = system?.streams.events
    made.lag(stream ? (stream.pending ? duration(stream.lag_s) : "0 s") : "–", `${count(stream?.pending)} events wait`)
    const champion = model?.slots.champion
    made.age(champion?.trained_at ? duration((Date.now() - Date.parse(champion.trained_at)) / 1000) : "–", "since training")
    made.since(...sinceTraining(learning))
    const metrics = champion?.metrics
    made.quality(fixed(metrics?.ndcg_at_10, 3), `popularity ${fixed(metrics?.popularity_ndcg_at_10, 3)}`)
    driftTile(made.drift, model?.drift ?? [])
  }
  return { element, update }
}

/** What calls for a retraining: what the new events count for, with all of them beside it. */
function sinceTraining(learning) {
  const all = learning?.events_since_training
  const threshold = learning?.new_events_threshold
  if (!threshold || !known(learning.events_counted)) return [count(all), threshold ? `retrains above ${count(threshold)}` : ""]
  return [count(learning.events_counted), `count; retrains above ${count(threshold)}. In all ${count(all)}`]
}

/** The measure that is furthest beyond its threshold, or nearest to it. */
function driftTile(show, measures) {
  const judged = measures.filter((one) => known(one.value))
  if (!judged.length) return show("–", "")
  const worst = judged.reduce((a, b) => (b.value / b.threshold > a.value / a.threshold ? b : a))
  const text = `${words(worst.name)}, threshold ${amount(worst.threshold)}`
  show(amount(worst.value), text, { bad: judged.some((one) => one.drifted) })
}

const KIND_COLOURS = { drift: "warn", alert: "bad", guardrail: "bad" }

function timelineLines(entries) {
  if (!entries) return h("li", {}, empty("The online store does not answer."))
  if (!entries.length) return h("li", {}, empty("Nothing has happened yet."))
  return entries.map((entry) =>
    h(
      "li",
      {},
      h("time", { dataset: { ms: entry.time_ms }, title: dateTime(entry.time_ms) }, ago(entry.time_ms)),
      h("p", {}, badge(words(entry.kind), KIND_COLOURS[entry.kind] ?? "accent"), " ", entry.text),
    ),
  )
}
