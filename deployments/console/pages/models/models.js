// Models: every version, two of them side by side, and the levers: promote, roll out, roll back, retrain.

import { get, post } from "/console/frame/api.js"
import { confirm, field } from "/console/parts/dialogs.js"
import { announce, badge, card, empty, failure, fill, h, onChange, unseen } from "/console/parts/elements.js"
import { ago, amount, capital, count, dateTime, fixed, known, percent } from "/console/parts/format.js"
import { compared, showDetails, withInterval } from "/console/models/model_details.js"
import { evaluationCard } from "/console/models/evaluation.js"
import { JOB_KINDS, jobView, lastRun } from "/console/models/retraining.js"

export const title = "Models"
export const about = "Each training makes a version; the slots say which of them serves. Replicas swap without a restart."

export function mount(root) {
  const state = { answer: null, rollout: null, chosen: new Set(), following: null }
  const slots = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const versions = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const comparison = h("section", { class: "card", hidden: true, "aria-label": "Comparison" })
  const job = h("div", {}, empty("No retraining is running."))
  const links = h("p", { class: "buttons" })
  const evaluation = evaluationCard()
  let timer = null
  let gone = false

  root.append(
    h(
      "div",
      { class: "columns" },
      card("Serving now", slots, links),
      h(
        "section",
        { class: "card" },
        h(
          "div",
          { class: "card-head" },
          h("h2", {}, "Retraining"),
          h("button", { type: "button", class: "primary", onclick: askRetrain }, "Retrain now"),
        ),
        job,
      ),
    ),
    comparison,
    h("section", { class: "card" }, h("h2", {}, "Versions"), versions),
    evaluation.element,
  )

  async function load() {
    try {
      state.answer = await get("/api/v1/models")
    } catch (error) {
      fill(versions, failure(error, load))
      if (!state.answer) fill(slots, empty("Not known while this fails."))
      return
    }
    if (!gone) draw()
  }

  function draw() {
    const { answer } = state
    const present = new Set(answer.models.map((model) => model.version))
    for (const version of state.chosen) if (!present.has(version)) state.chosen.delete(version)
    fill(slots, slotFacts(answer))
    fill(
      links,
      answer.registry.url && h("a", { class: "button", href: answer.registry.url, target: "_blank", rel: "noreferrer" }, "MLflow"),
      h("a", { class: "button", href: answer.ray_dashboard, target: "_blank", rel: "noreferrer" }, "Ray dashboard"),
      !answer.registry.available && badge("registry away", "warn", answer.registry.detail),
    )
    fill(versions, table(answer))
    drawComparison()
  }

  function slotFacts(answer) {
    const { challenger } = answer.slots
    return [
      h(
        "dl",
        { class: "facts" },
        answer.slot_names.map((name) => slotLine(capital(name), answer.slots[name])),
        h("dt", {}, "Rollout"),
        h("dd", {}, state.rollout ? `${percent(state.rollout.share, 0)} of users get the challenger` : "none: all users get the champion"),
        h("dt", {}, "Roll back to"),
        h("dd", {}, answer.rollback_to ? h("code", {}, answer.rollback_to) : "nothing served before"),
      ),
      h(
        "p",
        { class: "buttons" },
        answer.rollback_to && h("button", { type: "button", onclick: askRollback }, "Roll back"),
        challenger && h("button", { type: "button", onclick: () => askRollout(challenger.version) }, "Roll out"),
        challengers(answer)
          .filter((name) => answer.slots[name])
          .map((name) => h("button", { type: "button", onclick: () => askClear(name) }, `Empty the ${name} slot`)),
      ),
    ]
  }

  function slotLine(name, slot) {
    if (!slot) return [h("dt", {}, name), h("dd", { class: "muted" }, "empty")]
    return [
      h("dt", {}, name),
      h("dd", {}, h("code", {}, slot.version), h("br"), h("span", { class: "small muted" }, `since ${dateTime(slot.since)}${slot.who ? `, by ${slot.who}` : ""}: ${slot.reason}`)),
    ]
  }

  function table(answer) {
    if (!answer.models.length) return empty("There is no model yet. Retrain now, and the first one serves as soon as it is ready.")
    const head = [unseen("Compare"), "Version", "Trained", "NDCG@10", "MAP@10", "Coverage", "Events", "Size", unseen("Actions")]
    return h(
      "div",
      { class: "scroll" },
      h(
        "table",
        {},
        h("caption", { class: "visually-hidden" }, "Model versions, the newest first"),
        h("thead", {}, h("tr", {}, head.map((text, n) => h("th", { scope: "col", class: n > 2 && n < 8 ? "numeric" : null }, text)))),
        h("tbody", {}, answer.models.map(row)),
      ),
    )
  }

  function row(model) {
    const metrics = model.manifest?.metrics ?? {}
    const compare = h("input", {
      type: "checkbox",
      "aria-label": `Compare ${model.version}`,
      checked: state.chosen.has(model.version),
      disabled: !model.manifest,
      onchange: () => choose(model.version, compare),
    })
    return h(
      "tr",
      { dataset: { version: model.version } },
      h("td", {}, compare),
      h(
        "th",
        { scope: "row" },
        h("code", {}, model.version),
        h("div", { class: "buttons" }, model.slots.map((slot) => badge(slot, "good")), !model.available && badge("cannot be served", "warn", model.problem)),
      ),
      h("td", { title: dateTime(model.created_at) }, ago(model.created_at)),
      h("td", { class: "numeric" }, withInterval(metrics, "ndcg_at_10")),
      h("td", { class: "numeric" }, fixed(metrics.map_at_10, 3)),
      h("td", { class: "numeric" }, percent(metrics.coverage)),
      h("td", { class: "numeric" }, count(model.manifest?.data.n_interactions)),
      h("td", { class: "numeric" }, known(model.size_mb) ? `${amount(model.size_mb)} MB` : "–"),
      h("td", {}, h("div", { class: "buttons" }, levers(model))),
    )
  }

  function levers(model) {
    const button = (label, act) =>
      h("button", { type: "button", class: "slim", "aria-label": `${label}: ${model.version}`, onclick: () => act(model) }, label)
    return [
      button("Details", showDetails),
      model.available && !model.slots.includes("champion") && button("Promote", askPromote),
      model.available && !model.slots.length && button("Challenge", askChallenge),
    ]
  }

  function choose(version, box) {
    if (box.checked) state.chosen.add(version)
    else state.chosen.delete(version)
    // Two at a time: the one chosen longest ago goes.
    while (state.chosen.size > 2) state.chosen.delete(state.chosen.values().next().value)
    draw()
    versions.querySelector(`tr[data-version="${version}"] input`)?.focus()
  }

  function drawComparison() {
    const pair = state.answer.models.filter((model) => state.chosen.has(model.version))
    comparison.hidden = pair.length !== 2
    if (pair.length !== 2) return
    const [newer, older] = pair
    fill(comparison, h("h2", {}, "Two versions side by side"), compared(older, newer))
  }

  function askPromote(model) {
    const reason = h("input", { maxlength: "500", placeholder: "Why" })
    return confirm({
      title: "Promote this version?",
      lines: [
        h("span", {}, "All users get lists from ", h("code", {}, model.version), " within a second. It replaces ", h("code", {}, state.answer.slots.champion?.version ?? "nothing"), "."),
        "Its bundle is verified first. A rollback takes it back.",
      ],
      fields: [field("Reason, for the timeline", reason)],
      label: "Promote",
      act: () => move(`/api/v1/models/${model.version}/promote`, { slot: "champion", ...reasonOf(reason) }, "promoted"),
    })
  }

  function askChallenge(model) {
    const { slots: now } = state.answer
    const choices = challengers(state.answer).map((name) => h("option", { value: name }, now[name] ? `${name}, instead of ${now[name].version}` : `${name}, empty`))
    const slot = h("select", {}, choices)
    return confirm({
      title: "Put this version into a challenger's slot?",
      lines: [
        h("span", {}, "Replicas load ", h("code", {}, model.version), ". It gets no users until an experiment or a rollout gives it some; a rollout is the first challenger's."),
      ],
      fields: [field("Slot", slot)],
      label: "Load as challenger",
      act: () => move(`/api/v1/models/${model.version}/promote`, { slot: slot.value }, `loaded as ${slot.value}`),
    })
  }

  function askRollback() {
    const { rollback_to: version, slots: now } = state.answer
    const reason = h("input", { maxlength: "500", placeholder: "Why" })
    return confirm({
      title: "Roll back?",
      lines: [
        h("span", {}, "All users get lists from ", h("code", {}, version), " again, instead of ", h("code", {}, now.champion.version), "."),
      ],
      fields: [field("Reason, for the timeline", reason)],
      danger: true,
      label: "Roll back",
      act: () => move("/api/v1/models/rollback", { expected: now.champion.version, ...reasonOf(reason) }, "rolled back"),
    })
  }

  function askRollout(version) {
    const share = h("input", { type: "number", min: "0", max: "100", step: "any", required: true, value: state.rollout ? state.rollout.share * 100 : 10 })
    const reason = h("input", { maxlength: "500", placeholder: "Why" })
    return confirm({
      title: "Roll the challenger out?",
      lines: [
        h("span", {}, "That share of all users gets lists from ", h("code", {}, version), ", always the same users as it grows. With 0 everyone gets the champion again."),
      ],
      fields: [field("Share of users, %", share), field("Reason, for the timeline", reason)],
      label: "Roll out",
      act: async () => {
        const content = { share: Number(share.value) / 100, ...reasonOf(reason) }
        const done = await post("/api/v1/models/rollout", content, { patience: 120_000 })
        state.rollout = done.share ? done : null
        announce(done.share ? `${percent(done.share, 0)} of users get ${done.version}` : "The rollout has ended", "good")
        await load()
      },
    })
  }

  function askClear(slot) {
    return confirm({
      title: `Empty the ${slot} slot?`,
      lines: ["Users of an experiment or a rollout get the champion's lists from then on."],
      danger: true,
      label: "Empty the slot",
      act: () => move(`/api/v1/models/${slot}/clear`, {}, `${slot} slot emptied`),
    })
  }

  async function move(path, content, done) {
    const change = await post(path, content)
    announce(`${change.version ?? change.previous}: ${done}`, "good")
    if (change.registry_problem) announce(`The registry's alias was not moved: ${change.registry_problem}`, "bad")
    await load()
  }

  function askRetrain() {
    const reason = h("input", { maxlength: "500", placeholder: "Why" })
    return confirm({
      title: "Retrain now?",
      lines: [
        "A Ray job searches for parameters, trains on all events so far and lets the gate compare the result with the champion.",
        "One retraining at a time; it takes this machine's processors for a while.",
      ],
      fields: [field("Reason, for the timeline", reason)],
      label: "Retrain",
      act: async () => {
        const started = await post("/api/v1/mlops/trigger-retrain", reasonOf(reason))
        announce(`Retraining started: ${started.job_id}`, "good")
        follow(started.job_id)
      },
    })
  }

  /** Show a job's progress each second until it ends, then read the versions again. */
  function follow(id) {
    if (state.following === id) return
    state.following = id
    clearTimeout(timer)
    const shown = jobView(id)
    fill(job, shown.element)
    const turn = async () => {
      if (gone || state.following !== id) return
      let found = null
      try {
        if (!document.hidden) found = await get(`/api/v1/mlops/jobs/${encodeURIComponent(id)}`)
        if (found) shown.update(found)
      } catch (error) {
        shown.problem(error)
      }
      if (found && found.status in JOB_KINDS) {
        announce(`Retraining ${found.status.toLowerCase()}`, JOB_KINDS[found.status])
        await load()
      } else {
        timer = setTimeout(turn, 1000)
      }
    }
    turn()
  }

  const drawRun = onChange((training) => {
    const run = training.run ?? training.last_run
    if (training.run) follow(training.run.run_id)
    else if (run && !state.following) fill(job, lastRun(run))
  })
  const reloadOnSwap = onChange(load)
  load()

  return {
    update(snapshot) {
      if (!snapshot.model) return
      state.rollout = snapshot.split?.rollout ?? null
      drawRun(snapshot.model.training)
      reloadOnSwap([state.rollout?.share ?? 0, Object.entries(snapshot.model.slots).map(([name, slot]) => [name, slot.version])])
    },
    unmount() {
      gone = true
      clearTimeout(timer)
    },
  }
}

/** The slots beside the champion's. */
function challengers(answer) {
  return answer.slot_names.filter((name) => name !== "champion")
}

function reasonOf(input) {
  const reason = input.value.trim()
  return reason ? { reason } : {}
}
