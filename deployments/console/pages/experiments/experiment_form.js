// The form for a new experiment.

import { get, post } from "/console/frame/api.js"
import { confirm, field } from "/console/parts/dialogs.js"
import { announce, h } from "/console/parts/elements.js"
import { words } from "/console/parts/format.js"

const METRICS = ["click_through", "engagement", "conversion", "mean_rating", "events_per_user", "session_return", "map_at_10"]

/** Ask for a definition and send it; `created(experiment)` is called with what the server made of it. */
export async function askNew(created) {
  let models
  try {
    models = await get("/api/v1/models")
  } catch (error) {
    announce(error.message, "bad")
    return
  }
  const { champion, ...challengers } = models.slots
  const choices = [
    ...Object.entries(challengers).map(([name, slot]) => [`slot:${name}`, `the ${name}, ${slot.version}`]),
    champion && ["slot:champion", `the champion itself (A/A), ${champion.version}`],
    ...models.models.filter((model) => model.available && !model.slots.length).map((model) => [`version:${model.version}`, model.version]),
  ].filter(Boolean)
  const hypothesis = h("textarea", { rows: "2", maxlength: "1000", required: true })
  const treatment = h("select", {}, choices.map(([value, text]) => h("option", { value }, text)))
  const share = number({ min: 1, max: 99, step: 1, value: 50 })
  const coverage = number({ min: 1, max: 100, step: 1, value: 100 })
  const metric = h("select", {}, METRICS.map((name) => h("option", { value: name }, words(name))))
  const guardrail = h("select", {}, h("option", { value: "" }, "none"), METRICS.map((name) => h("option", { value: name }, words(name))))
  const effect = number({ min: 0, step: "any", placeholder: "for example 0.02" })
  const days = number({ min: 0, max: 365, step: "any", value: 7 })
  const users = number({ min: 2, step: 1, value: 100 })
  await confirm({
    title: "New experiment",
    lines: ["The control is the champion. The draft can be started once it is made."],
    label: "Make the draft",
    fields: [
      field("What do you expect, and why?", hypothesis),
      field("Treatment", treatment),
      h(
        "div",
        { class: "fields" },
        field("Users of the treatment, %", share),
        field("Users who take part, %", coverage),
        field("Deciding metric", metric),
        field("Guardrail", guardrail),
        field("Effect to find, absolute", effect),
        field("Least days", days),
        field("Least users a variant", users),
      ),
    ],
    act: async () => {
      const [kind, name] = split(treatment.value)
      const weight = Number(share.value) / 100
      const definition = {
        hypothesis: hypothesis.value.trim(),
        variants: [
          { name: "control", slot: "champion", weight: round(1 - weight) },
          { name: "treatment", [kind]: name, weight: round(weight) },
        ],
        coverage: Number(coverage.value) / 100,
        primary_metric: metric.value,
        guardrails: guardrail.value ? [{ metric: guardrail.value }] : [],
        minimum_days: Number(days.value),
        minimum_users: Number(users.value),
      }
      if (effect.value) definition.planned_effect = Number(effect.value)
      if (definition.minimum_days > 28) definition.maximum_days = definition.minimum_days
      await created(await post("/api/v1/experiments", definition))
    },
  })
}

function number(properties) {
  return h("input", { type: "number", ...properties })
}

function split(text) {
  const place = text.indexOf(":")
  return [text.slice(0, place), text.slice(place + 1)]
}

function round(share) {
  return Math.round(share * 1e6) / 1e6
}
