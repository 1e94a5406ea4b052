// Experiments: is the data sound, how do the variants do, what is decided and why; and the steps of an experiment's life.

import { get, post } from "/console/frame/api.js"
import { confirm } from "/console/parts/dialogs.js"
import { askNew } from "/console/experiments/experiment_form.js"
import { STATUS, resultsView } from "/console/experiments/experiment_results.js"
import { announce, badge, empty, failure, fill, h, onChange } from "/console/parts/elements.js"

export const title = "Experiments"
export const about = "Two or more models share the users; the results say which one they are better served by, and how sure that is."

const RESULTS_MS = 2000
const SERIES_MS = 10_000

export function mount(root, query) {
  const state = { all: null, chosen: query.get("id"), latest: null, shown: null, timer: null, gone: false, charts: [] }
  const list = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const detail = h("div", { class: "page" })
  root.append(
    h(
      "section",
      { class: "card" },
      h(
        "div",
        { class: "card-head" },
        h("h2", {}, "All experiments"),
        h("button", { type: "button", class: "primary", onclick: () => askNew(created) }, "New experiment"),
      ),
      list,
    ),
    detail,
  )

  async function load() {
    try {
      state.all = (await get("/api/v1/experiments")).experiments
    } catch (error) {
      fill(list, failure(error, load))
      return
    }
    if (state.gone) return
    await showChosen()
  }

  /** The experiment that the address names; without one there, the running one, or else the newest. */
  async function showChosen() {
    const byId = (id) => state.all.find((one) => one.id === id)
    const usual = byId(state.latest) ?? state.all.find((one) => one.status === "running") ?? state.all[0]
    const chosen = state.chosen === null ? usual : byId(state.chosen)
    state.latest = chosen?.id ?? null
    const focused = list.contains(document.activeElement)
    drawList(chosen?.id)
    if (focused) list.querySelector('[aria-pressed="true"]')?.focus()
    if (state.chosen !== null && !chosen) return showUnknown()
    await show(chosen ?? null)
  }

  function showUnknown() {
    stop()
    fill(detail, h("p", { class: "note warn", role: "alert" }, "There is no experiment ", h("code", {}, state.chosen), ". Choose one of those above, or make a new one."))
  }

  async function created(experiment) {
    announce(`${experiment.id}: made as a draft`, "good")
    state.chosen = experiment.id
    window.history.pushState(null, "", place(experiment))
    await load()
  }

  function drawList(shown) {
    if (!state.all.length) return fill(list, empty("No experiment has been made yet. A new one needs a second model: train one, or let a version challenge the champion."))
    const listed = state.all.filter((one) => one.status !== "archived" || one.id === shown)
    return fill(
      list,
      h(
        "div",
        { class: "chips", role: "group", "aria-label": "Choose an experiment" },
        listed.map((one) =>
          h(
            "button",
            { type: "button", "aria-pressed": String(one.id === shown), onclick: () => (location.hash = place(one)) },
            one.id,
            " ",
            badge(one.status, STATUS[one.status]),
          ),
        ),
      ),
    )
  }

  function stop() {
    clearTimeout(state.timer)
    for (const chart of state.charts) chart.unmount()
    state.charts = []
    state.shown = null
  }

  async function show(experiment) {
    stop()
    if (!experiment) return fill(detail)
    const buttons = h("div", { class: "buttons" }, steps(experiment, null))
    const view = resultsView(experiment, buttons)
    view.buttons = buttons
    view.winner = null
    state.shown = view
    state.charts = view.charts
    fill(detail, view.element)
    return turn(experiment, view)
  }

  /** Results every two seconds while the experiment runs, the series now and then. */
  async function turn(experiment, view) {
    if (state.gone || state.shown !== view) return
    try {
      if (!document.hidden) {
        if (experiment.started_ms) {
          const results = await get(path(experiment, "results"))
          view.update(results)
          if (results.decision.winner !== view.winner) {
            view.winner = results.decision.winner
            fill(view.buttons, steps(experiment, view.winner))
          }
        }
        if (experiment.started_ms && Date.now() - view.seriesAt > SERIES_MS) {
          view.seriesAt = Date.now()
          const metric = encodeURIComponent(experiment.primary_metric)
          view.series((await get(path(experiment, `series?metric=${metric}`))).points)
        }
        if (!view.changed) {
          view.changed = true
          view.changes((await get(path(experiment))).changes)
        }
      }
    } catch (error) {
      view.problem(error)
    }
    if (experiment.status === "running" && state.shown === view) state.timer = setTimeout(() => turn(experiment, view), RESULTS_MS)
  }

  /** The steps that the server would take now; `winner` is the decision's, null while there is none. */
  function steps(experiment, winner) {
    const step = (label, name, lines, options = {}) =>
      h("button", { type: "button", class: options.primary ? "primary" : null, onclick: () => ask(experiment, label, name, lines, options) }, label)
    const names = experiment.variants.map((one) => one.name).join(", ")
    if (experiment.status === "draft") {
      return [
        step("Start", "start", [`From now on users are divided over ${names}. The models are loaded first, which may take a minute.`], { primary: true }),
        step("Archive", "archive", ["The draft is put away."]),
      ]
    }
    if (experiment.status === "running") {
      return [step("Stop", "stop", ["All users get the champion's lists again, and nothing more is counted. It cannot be started again."], { danger: true })]
    }
    if (experiment.status !== "stopped") return []
    return [
      !experiment.promoted_version && promotion(experiment, winner, step),
      step("Archive", "archive", ["It is put away; its results stay."]),
    ]
  }

  /** The winner may be promoted. Without one a person may still choose, where the variants have different versions. */
  function promotion(experiment, winner, step) {
    const names = experiment.variants.map((one) => one.name)
    if (winner) return step("Promote the winner", "promote", [`The version of ${winner}, or of the variant chosen here, becomes the champion for all users.`], { primary: true, choices: [["", `${winner}, as decided`], ...names.filter((name) => name !== winner).map((name) => [name, name])] })
    if (new Set(Object.values(experiment.versions)).size < 2) return null
    return step("Promote a variant", "promote", ["Nothing was decided. The version of the variant chosen here becomes the champion for all users."], { choices: names.map((name) => [name, name]) })
  }

  function ask(experiment, label, name, lines, { danger = false, choices = null }) {
    const reason = h("input", { id: "step-reason", maxlength: "500", placeholder: "Why" })
    const variant = choices && h("select", { id: "step-variant" }, choices.map(([value, text]) => h("option", { value }, text)))
    return confirm({
      title: `${label}: ${experiment.id}?`,
      lines,
      danger,
      label,
      fields: [
        variant && h("div", { class: "field" }, h("label", { for: "step-variant" }, "Variant"), variant),
        h("div", { class: "field" }, h("label", { for: "step-reason" }, "Reason, for the log"), reason),
      ],
      act: async () => {
        const content = reason.value.trim() ? { reason: reason.value.trim() } : {}
        if (variant?.value) content.variant = variant.value
        const done = await post(path(experiment, name), content, { patience: 120_000 })
        announce(`${done.id}: ${done.status}`, "good")
        await load()
      },
    })
  }

  const reload = onChange(load)
  load()
  return {
    go(asked) {
      state.chosen = asked.get("id")
      if (state.chosen === null) state.latest = null
      return state.all ? showChosen() : undefined // else the list is on its way
    },
    update(snapshot) {
      // Somebody may have started or stopped one elsewhere.
      if (snapshot.split) reload(snapshot.split.experiments.map((one) => [one.id, one.status]))
    },
    unmount() {
      state.gone = true
      stop()
    },
  }
}

function place(experiment) {
  return `#/experiments?id=${encodeURIComponent(experiment.id)}`
}

function path(experiment, rest = "") {
  return `/api/v1/experiments/${encodeURIComponent(experiment.id)}${rest ? `/${rest}` : ""}`
}
