// What an experiment has found: health first, then the decision, the variants, and every metric with its interval.

import { differenceChart, seriesChart, valueChart } from "/console/experiments/experiment_charts.js"
import { badge, card, empty, failure, fill, h } from "/console/parts/elements.js"
import { ago, amount, count, dateTime, fixed, known, percent, signed, words } from "/console/parts/format.js"

/** Colours of an experiment's state. */
export const STATUS = { draft: "quiet", running: "good", stopped: "accent", archived: "quiet" }
const ACTIONS = { ship: "good", keep_running: "accent", stop: "warn", unhealthy: "bad" }

/** The results of an experiment: {element, charts, update(results), series(points), changes(all), problem(error)}. */
export function resultsView(experiment, buttons) {
  const marks = h("span", { class: "buttons" })
  const problem = h("div", { hidden: true })
  const decision = h("div", {}, empty(experiment.started_ms ? "Loading" : "It has not been started, so there is nothing to decide."))
  const health = h("dl", { class: "tiles" })
  const variants = h("div", {}, empty("No user has seen it yet."))
  const comparisons = h("div", {}, empty("No user has seen it yet."))
  const guardrails = h("div", {}, empty(experiment.guardrails.length ? "No user has seen it yet." : "None was set."))
  const changes = h("ol", { class: "timeline", tabindex: "0", "aria-label": "Changes" })
  const metric = words(experiment.primary_metric)
  const values = valueChart(`${metric}, by variant`)
  const differences = differenceChart(`Difference from the control in ${metric}`)
  const overTime = seriesChart(`Difference in ${metric} over time`, experiment.variants.slice(1).map((one) => one.name))
  const element = [
    h(
      "section",
      { class: "card" },
      h("div", { class: "card-head" }, h("h2", {}, experiment.id, " ", badge(experiment.status, STATUS[experiment.status]), " ", marks), buttons),
      h("p", {}, experiment.hypothesis),
      h("p", { class: "small muted" }, plan(experiment)),
      problem,
    ),
    h("section", { "aria-label": "Health" }, health),
    h("div", { class: "columns" }, card("Decision", decision), card("Guardrails", guardrails)),
    card("Variants side by side", variants),
    h("div", { class: "charts" }, values.element, differences.element, overTime.element),
    card("All metrics against the control", comparisons),
    card("Changes", changes),
  ]
  return {
    element,
    charts: [values, differences, overTime],
    changed: false,
    seriesAt: 0,
    update(results) {
      problem.hidden = true
      fill(marks, trafficMark(results.traffic))
      fill(decision, decisionOf(results))
      fill(health, healthTiles(results))
      fill(variants, variantTable(experiment, results))
      fill(comparisons, comparisonTable(results))
      fill(guardrails, guardrailList(results.guardrails))
      values.update(results)
      differences.update(results)
    },
    series: (points) => overTime.update(points),
    changes: (all) => fill(changes, all.map((one) => h("li", {}, h("time", { title: dateTime(one.time_ms) }, ago(one.time_ms)), h("p", {}, badge(one.change, "accent"), " ", one.reason)))),
    problem(error) {
      problem.hidden = false
      fill(problem, failure(error))
    },
  }
}

function plan(experiment) {
  const looks = experiment.method === "always_valid" ? "intervals that may be looked at any time" : "Welch's test, read once at the planned sample"
  const parts = [
    `${percent(experiment.coverage, 0)} of users take part`,
    `decided by ${words(experiment.primary_metric)}`,
    `${looks}, alpha ${experiment.alpha}`,
    experiment.planned_effect ? `planned to find ${signed(experiment.planned_effect, 3)} with power ${experiment.power}` : null,
    `at least ${amount(experiment.minimum_days)} days and ${count(experiment.minimum_users)} users a variant`,
    experiment.bandit ? "weights moved by a bandit" : null,
    experiment.started_ms ? `started ${dateTime(experiment.started_ms)}` : null,
    experiment.ended_ms ? `ended ${dateTime(experiment.ended_ms)}` : null,
  ]
  return parts.filter(Boolean).join(" · ")
}

function trafficMark(traffic) {
  if (traffic === "simulated") return badge("simulated traffic", "warn", "these users are a program: no evidence of real ones")
  if (traffic === "mixed") return badge("partly simulated traffic", "warn", "some of these users are a program")
  return traffic === "real" ? badge("real traffic", "quiet") : null
}

function decisionOf({ decision, warnings }) {
  const notes = [...decision.warnings, ...warnings]
  return [
    h("p", {}, badge(words(decision.action), ACTIONS[decision.action]), decision.winner ? [" ", h("strong", {}, decision.winner)] : null),
    h("p", {}, decision.reason),
    notes.map((note) => h("p", { class: "note warn" }, note)),
  ]
}

function healthTiles(results) {
  const ratio = results.sample_ratio
  const ratioP = ratio.always_valid_p_value
  const off = results.decision.action === "unhealthy"
  const users = results.variants.reduce((sum, arm) => sum + arm.users, 0)
  const mixed = results.variants.reduce((sum, arm) => sum + arm.mixed, 0)
  const { plan: planned } = results
  return [
    tile("Sample ratio", known(ratioP) ? `p = ${fixed(ratioP, 3)}` : "–", off ? "the arms do not hold the users that the weights promise" : known(ratioP) ? "as the weights promise" : ratio.reason, off),
    tile("Users", count(users), results.variants.map((arm) => `${arm.name} ${count(arm.users)}`).join(", ")),
    tile("Saw several variants", count(mixed), "left out of all comparisons", mixed > 0),
    tile("Power", known(planned.power) ? percent(planned.power, 0) : "–", known(planned.power) ? "to find the planned effect with these users" : planned.reason ?? "no effect was planned"),
    tile("Detectable effect", known(planned.minimum_detectable_effect) ? amount(planned.minimum_detectable_effect) : "–", "that these users can show"),
    tile("Days left", known(planned.days_left) ? count(planned.days_left) : "–", `${amount(results.days)} days so far`),
  ]
}

function tile(label, value, note, bad = false) {
  return h("div", { class: "tile" }, h("dt", {}, label), h("dd", { class: value === "–" ? "unknown" : null }, value), h("dd", { class: bad ? "note bad" : "note" }, note))
}

function variantTable(experiment, results) {
  const head = ["Variant", "Model", "Weight", "Users", "Lists", "Events", ...experiment.metrics.map(words)]
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((text, n) => h("th", { scope: "col", class: n > 1 ? "numeric" : null }, text)))),
      h(
        "tbody",
        {},
        results.variants.map((arm) =>
          h(
            "tr",
            { dataset: { variant: arm.name } },
            h("th", { scope: "row" }, arm.name, " ", arm.control && badge("control"), arm.simulated > 0 && [" ", badge("simulated", "warn")]),
            h("td", {}, arm.model_version ? h("code", {}, arm.model_version) : "–"),
            h("td", { class: "numeric" }, percent(arm.weight, 0)),
            [arm.users, arm.lists, arm.events].map((number) => h("td", { class: "numeric" }, count(number))),
            experiment.metrics.map((name) => h("td", { class: "numeric" }, valueText(arm.metrics[name]))),
          ),
        ),
      ),
    ),
  )
}

function valueText(found) {
  if (!known(found?.value)) return h("span", { class: "muted", title: found?.reason }, "–")
  return [fixed(found.value, 4), found.interval ? h("div", { class: "small muted" }, `${fixed(found.interval[0], 4)} to ${fixed(found.interval[1], 4)}`) : null]
}

function comparisonTable(results) {
  const head = ["Metric", "Variant", "Difference", "Relative", "p, adjusted", "CUPED"]
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((text, n) => h("th", { scope: "col", class: n > 1 ? "numeric" : null }, text)))),
      h(
        "tbody",
        {},
        results.comparisons.map((one) =>
          h(
            "tr",
            {},
            h("th", { scope: "row", title: results.metrics[one.metric]?.meaning }, words(one.metric), one.metric === results.primary_metric ? [" ", badge("decides", "accent")] : null),
            h("td", {}, one.variant),
            h("td", { class: "numeric" }, estimateText(one.absolute, (value) => signed(value, 4), one.adjusted_intervals.absolute)),
            h("td", { class: "numeric" }, estimateText(one.relative, (value) => `${signed(value * 100, 1)} %`, one.adjusted_intervals.relative)),
            h("td", { class: "numeric" }, fixed(one.adjusted_p_value, 4)),
            h("td", { class: "numeric" }, estimateText(one.cuped.absolute, (value) => signed(value, 4), one.adjusted_intervals.cuped)),
          ),
        ),
      ),
    ),
  )
}

/** An estimate with the interval that agrees with the adjusted p-value beside it. */
function estimateText(found, write, interval) {
  if (!known(found.estimate)) return h("span", { class: "muted", title: found.reason }, "–")
  return [write(found.estimate), interval ? h("div", { class: "small muted" }, `${write(interval[0])} to ${write(interval[1])}`) : null]
}

const GUARDRAIL_KINDS = { broken: "bad", safe: "good", unproven: "warn", undefined: "quiet" }

function guardrailList(guardrails) {
  if (!guardrails.length) return empty("None was set.")
  const lines = guardrails.map(({ metric, variant, margin, state, absolute }) =>
    h(
      "li",
      {},
      h("strong", {}, `${words(metric)}, ${variant}`, badge(state, GUARDRAIL_KINDS[state])),
      h("p", {}, absolute.interval ? `${signed(absolute.estimate, 4)}, ${signed(absolute.interval[0], 4)} to ${signed(absolute.interval[1], 4)}; ${margin} worse is tolerated` : absolute.reason),
    ),
  )
  return h("ul", { class: "components" }, lines)
}
