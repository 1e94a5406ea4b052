// What the models know and how they do: slots, replicas, learning, drift, live quality.

import { badge, empty, h } from "/console/parts/elements.js"
import { amount, count, dateTime, fixed, known, percent, words } from "/console/parts/format.js"

const TRAINING = { failed: "bad", idle: "quiet" }

/** The slots, and what divides the traffic. */
export function modelFacts(model) {
  if (!model) return empty("The online store does not answer, so it is not known what should serve.")
  const { champion, ...challengers } = model.slots
  if (!champion) return empty("No model serves yet. Train one: make retrain")
  return h(
    "dl",
    { class: "facts" },
    fact("Champion", h("code", {}, champion.version)),
    fact("Serves since", dateTime(champion.since)),
    fact("Because", champion.reason),
    fact("Trained", champion.trained_at ? dateTime(champion.trained_at) : "not known: its bundle cannot be read"),
    fact("Challengers", challengerList(challengers)),
    fact("Traffic", splitText(model.split)),
    fact("Autopilot", autopilotText(model.autopilot)),
    fact("Training", badge(model.training, TRAINING[model.training] ?? "accent")),
  )
}

function challengerList(slots) {
  const lines = Object.entries(slots).map(([name, slot]) => h("div", {}, h("code", {}, slot.version), name === "challenger" ? null : ` in ${name}`))
  return lines.length ? lines : "none"
}

function autopilotText({ mode, policy, failures_in_a_row: failures }) {
  return `mode ${mode}, policy ${policy}${failures ? `, ${failures} failures in a row` : ""}`
}

function splitText(split) {
  if (!split) return "–"
  const running = split.experiments.find((one) => one.status === "running")
  if (running) return h("a", { href: `#/experiments?id=${encodeURIComponent(running.id)}` }, `experiment ${running.id}`)
  return split.rollout ? `${percent(split.rollout.share, 0)} get the challenger` : "all users get the champion"
}

function fact(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)]
}

/** Who serves, by the replicas' own last word. */
export function replicaTable({ retrieval, others }) {
  const rows = (retrieval ?? []).map((one) => [
    one.deployment,
    one.model_version ? h("code", {}, one.model_version) : "nothing",
    one.problem ? badge(one.problem, "bad") : badge("well", "good"),
  ])
  for (const [name, number] of Object.entries(others)) rows.push([`${name} × ${number}`, "", badge("reporting", "good")])
  if (!rows.length) return empty("No replica reports.")
  return table(["Deployment", "Serves", "State"], rows, 9)
}

/** What has been learned from. */
export function learningFacts(learning) {
  if (!learning) return empty("The online store does not answer.")
  const types = Object.entries(learning.events_by_type).map(([type, number]) => `${words(type)} ${count(number)}`)
  return h(
    "dl",
    { class: "facts" },
    fact("Events", types.length ? types.join(", ") : "none yet"),
    fact("Users' features refreshed", count(learning.features_refreshed_total)),
    fact("Users folded in", count(learning.fold_ins_total)),
    fact("Repeated, not counted again", count(learning.duplicates_total)),
    fact("Refused", count(learning.refused_total)),
  )
}

/** Each measure of drift against its threshold. */
export function driftTable(measures) {
  if (!measures?.length) return empty("Not measured yet: it takes new events since the training.")
  const rows = measures.map((one) => [
    h("span", { title: one.detail }, words(one.name)),
    known(one.value) ? amount(one.value) : "–",
    amount(one.threshold),
    one.drifted === null ? badge("too little to say") : one.drifted ? badge("drifted", "bad") : badge("steady", "good"),
  ])
  return table(["Measure", "Value", "Threshold", "State"], rows, 1)
}

/** What became of the lists, by model and day. */
export function qualityTable(days) {
  if (!days?.length) return empty("Not measured yet: lists are judged once the time for an answer is over.")
  const rows = days
    .slice(0, 10)
    .map((one) => [one.day, h("code", {}, one.model_version), count(one.lists), percent(one.click_rate), fixed(one.map_at_10, 3), percent(one.coverage)])
  return table(["Day", "Model", "Lists", "Click rate", "MAP@10", "Coverage"], rows, 2)
}

/** A table whose columns from `numeric` on are aligned to the right, but for the last where it is a state. */
function table(head, rows, numeric) {
  const state = head.at(-1) === "State"
  const kind = (n) => (n >= numeric && !(state && n === head.length - 1) ? "numeric" : null)
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((name, n) => h("th", { scope: "col", class: kind(n) }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, n) => h("td", { class: kind(n) }, cell))))),
    ),
  )
}
