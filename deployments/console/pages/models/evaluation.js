// The latest offline evaluation: models and baselines under each protocol, with intervals, segments and calibration.

import { get } from "/console/frame/api.js"
import { field } from "/console/parts/dialogs.js"
import { card, empty, failure, fill, h, table } from "/console/parts/elements.js"
import { ago, count, duration, fixed, percent, signed } from "/console/parts/format.js"

const OURS = /ranker|fold-in with prior/

/** The card: {element, load()}. It asks once; a report changes only when somebody evaluates again. */
export function evaluationCard() {
  const place = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const element = card("Evaluation", place)
  async function load() {
    try {
      const { report, problem } = await get("/api/v1/models/evaluation")
      fill(place, report ? reportOf(report) : empty(problem ?? "Nothing was evaluated yet, or not on this machine: python -m jobs.evaluate"))
    } catch (error) {
      fill(place, failure(error, load))
    }
  }
  load()
  return { element, load }
}

function reportOf(report) {
  const protocols = [...new Set(report.arms.map((arm) => arm.protocol))]
  const shown = h("div", {})
  const select = h("select", { onchange: () => fill(shown, protocolOf(report, select.value)) }, protocols.map((name) => h("option", { value: name }, name)))
  if (protocols.length) fill(shown, protocolOf(report, protocols[0]))
  return [
    h(
      "p",
      { class: "small muted" },
      `${report.data}, ${report.weighting}, measured ${ago(report.measured_ms)}`,
      report.events !== null && `: ${count(report.events)} events of ${count(report.users)} users with ${count(report.items)} items`,
      report.cpu_seconds !== null && `; ${duration(report.cpu_seconds)} of processor time`,
    ),
    lines(Object.entries(report.skipped).map(([name, why]) => `${name} was left out: ${why}`)),
    protocols.length > 0 && field("Protocol", select),
    shown,
    report.new_items.length > 0 && [h("h3", {}, "New items (P6)"), newItems(report.new_items)],
  ]
}

function newItems(arms) {
  const numeric = true
  return table(
    "How new items find their users",
    [
      { name: "Ranked by", head: true, cell: (arm) => arm.name },
      { name: "Recall@50 of new items", numeric, cell: (arm) => interval(arm.recall_at_50) },
      { name: "Recall@10 among the new", numeric, cell: (arm) => interval(arm.recall_at_10_among_new) },
      { name: "Share of the lists", numeric, cell: (arm) => percent(arm.share_of_lists) },
    ],
    arms,
  )
}

function lines(texts) {
  return texts.length > 0 && h("ul", { class: "small" }, texts.map((text) => h("li", {}, text)))
}

function interval({ mean, low, high }) {
  return h("span", { title: `[${fixed(low, 4)}, ${fixed(high, 4)}]` }, `${fixed(mean, 4)} `, h("span", { class: "muted small" }, `[${fixed(low, 3)}, ${fixed(high, 3)}]`))
}

function protocolOf(report, protocol) {
  const arms = report.arms.filter((arm) => arm.protocol === protocol)
  const numeric = true
  const models = table(
    `Models under ${protocol}`,
    [
      { name: "Model", head: true, cell: (arm) => (OURS.test(arm.name) ? h("strong", {}, arm.name) : arm.name) },
      { name: "NDCG@10", numeric, cell: (arm) => interval(arm.ndcg_at_10) },
      { name: "MAP@10", numeric, cell: (arm) => interval(arm.map_at_10) },
      { name: "Recall@10", numeric, cell: (arm) => fixed(arm.recall_at_10.mean, 4) },
      { name: "Hit rate", numeric, cell: (arm) => fixed(arm.hit_rate_at_10.mean, 4) },
      { name: "Coverage", numeric, cell: (arm) => percent(arm.coverage) },
      { name: "Tail", numeric, cell: (arm) => (arm.tail_share === null ? null : percent(arm.tail_share)) },
      { name: "Calibration error", numeric, cell: (arm) => arm.calibration && fixed(arm.calibration.error, 4) },
      { name: "Processor time", numeric, cell: (arm) => (arm.cpu_s === null ? null : duration(arm.cpu_s)) },
      { name: "Judged on", numeric, cell: (arm) => count(arm.users) },
    ],
    arms,
  )
  const segments = [...new Set(arms.flatMap((arm) => Object.keys(arm.segments)))]
  const bySegment = table(
    `NDCG@10 by segment under ${protocol}`,
    [
      { name: "NDCG@10", head: true, cell: (arm) => arm.name },
      ...segments.map((name) => ({ name, numeric, cell: (arm) => arm.segments[name] && interval(arm.segments[name]) })),
    ],
    arms,
  )
  const pairs = report.comparisons.filter((one) => one.protocol === protocol)
  return [
    models,
    lines(pairs.map((one) => `${one.of} over ${one.over}: NDCG@10 ${signed(one.mean, 4)} [${signed(one.low, 4)}, ${signed(one.high, 4)}], paired over users`)),
    segments.length > 0 && bySegment,
  ]
}
