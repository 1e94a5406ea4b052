// One version in detail, two side by side.

import { details } from "/console/parts/dialogs.js"
import { empty, h } from "/console/parts/elements.js"
import { amount, count, dateTime, fixed, known, signed, words } from "/console/parts/format.js"

const METRICS = {
  ndcg_at_10: "NDCG@10",
  map_at_10: "MAP@10",
  hit_rate_at_10: "Hit rate@10",
  precision_at_10: "Precision@10",
  recall_at_10: "Recall@10",
  coverage: "Coverage",
}

/** A metric with the bounds of its interval below it. */
export function withInterval(metrics, name) {
  if (!known(metrics[name])) return "–"
  const low = metrics[`${name}_low`]
  const high = metrics[`${name}_high`]
  return [fixed(metrics[name], 3), known(low) ? h("div", { class: "small muted" }, `${fixed(low, 3)} to ${fixed(high, 3)}`) : null]
}

/** The rows of a comparison. */
export function compared(older, newer) {
  const lines = []
  for (const [name, label] of Object.entries(METRICS)) {
    const [a, b] = [older, newer].map((model) => model.manifest.metrics[name])
    if (!known(a) && !known(b)) continue
    const difference = known(a) && known(b) ? b - a : null
    lines.push([label, withInterval(older.manifest.metrics, name), withInterval(newer.manifest.metrics, name), signed(difference, 4)])
  }
  for (const [label, read] of FACTS) {
    const [a, b] = [read(older), read(newer)]
    lines.push([label, a, b, a === b ? "same" : ""])
  }
  const head = ["", older.version, newer.version, "Difference"]
  return [
    h("p", { class: "small muted" }, "Each was evaluated when it was trained, on the latest tenth of its own data; where the data differ, so does the question. The gate compares on the same requests."),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, head.map((text, n) => h("th", { scope: "col", class: n ? "numeric" : null }, text)))),
        h("tbody", {}, lines.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", { class: "numeric" }, cell))))),
      ),
    ),
  ]
}

const FACTS = [
  ["Trained", (model) => dateTime(model.created_at)],
  ["Parameters", (model) => parameters(model.manifest.parameters)],
  ["Ranker", (model) => (model.manifest.ranker ? parameters(model.manifest.ranker.parameters) : "none")],
  ["Weighting", (model) => model.manifest.weighting],
  ["Events", (model) => count(model.manifest.data.n_interactions)],
  ["Users × items", (model) => `${count(model.manifest.n_users)} × ${count(model.manifest.n_items)}`],
  ["Index", (model) => `${model.manifest.index.kind}, recall ${fixed(model.manifest.index.recall, 3)}`],
  ["Seed", (model) => String(model.manifest.seed)],
  ["Size", (model) => `${amount(model.size_mb)} MB`],
]

function parameters(all) {
  return Object.entries(all)
    .map(([name, value]) => `${words(name)} ${typeof value === "number" ? Number(value.toPrecision(4)) : value}`)
    .join(", ")
}

/** A window with all that is known of a version. */
export function showDetails(model) {
  return details(model.version, async () => {
    if (!model.manifest) {
      return [empty(model.problem ?? "Its manifest cannot be read."), registryFacts(model.registry)]
    }
    const { manifest } = model
    const metrics = Object.entries(manifest.metrics).filter(([name]) => !/_(low|high)$/.test(name))
    return [
      registryFacts(model.registry),
      h("h3", {}, "Parameters and data"),
      h(
        "dl",
        { class: "facts" },
        FACTS.map(([name, read]) => [h("dt", {}, name), h("dd", {}, read(model))]),
        h("dt", {}, "Data"),
        h("dd", {}, `${manifest.data.name}, until ${dateTime(manifest.data.last_ms)}, ${count(manifest.data.log_events)} from the event log`),
        h("dt", {}, "Fingerprint"),
        h("dd", {}, h("code", {}, manifest.data.fingerprint)),
      ),
      h("h3", {}, "Offline evaluation"),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          {},
          h("tbody", {}, metrics.map(([name]) => h("tr", {}, h("th", { scope: "row" }, words(name)), h("td", { class: "numeric" }, metricText(manifest.metrics, name))))),
        ),
      ),
    ]
  })
}

function metricText(metrics, name) {
  const value = metrics[name]
  const text = Number.isInteger(value) && value > 1 ? count(value) : fixed(value, 4)
  const low = metrics[`${name}_low`]
  return known(low) ? `${text}  (${fixed(low, 4)} to ${fixed(metrics[`${name}_high`], 4)})` : text
}

function registryFacts(entry) {
  if (!entry) return h("p", { class: "small muted" }, "The registry does not know it, or is away.")
  const lines = [
    ["Registry", h("a", { href: entry.url, target: "_blank", rel: "noreferrer" }, `version ${entry.number} in MLflow`)],
    entry.aliases.length ? ["Aliases", entry.aliases.join(", ")] : null,
    entry.reason ? ["Trained because", entry.reason] : null,
    entry.gate ? ["The gate", entry.gate] : null,
  ]
  return h("dl", { class: "facts" }, lines.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))
}
