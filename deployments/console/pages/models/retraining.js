// A retraining: the job while it runs, and how the latest one ended.

import { badge, h, setText } from "/console/parts/elements.js"
import { ago, duration, known, words } from "/console/parts/format.js"

/** How a job ends, and the colour of it. */
export const JOB_KINDS = { SUCCEEDED: "good", FAILED: "bad", STOPPED: "warn" }

/** A job's state, progress and log: {element, update(job), problem(error)}. */
export function jobView(id) {
  const status = badge("submitted", "accent")
  const step = h("p", { class: "small" }, "waiting for its first word")
  const bar = h("progress", { max: "100", "aria-label": "Progress of the retraining" })
  const log = h("pre", { tabindex: "0", "aria-label": "Log of the job" })
  const element = h("div", {}, h("p", { class: "buttons" }, h("code", {}, id), status), bar, step, log)
  return {
    element,
    update(found) {
      setText(status, found.status.toLowerCase())
      status.className = `badge ${JOB_KINDS[found.status] ?? "accent"}`
      if (known(found.progress)) bar.value = found.progress
      if (found.status === "SUCCEEDED") bar.value = 100
      const took = found.started_ms ? duration(((found.ended_ms ?? Date.now()) - found.started_ms) / 1000) : null
      setText(step, [known(found.progress) ? `${found.progress} %` : null, found.step, took].filter(Boolean).join(" · "))
      const text = found.log_tail.join("\n")
      if (log.textContent !== text) {
        const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8
        setText(log, text)
        if (atEnd) log.scrollTop = log.scrollHeight
      }
      if (found.status === "FAILED" && found.message) setText(step, found.message)
    },
    problem(error) {
      setText(step, `its state is not known: ${error.message}`)
    },
  }
}

/** The latest retraining that has ended. */
export function lastRun(run) {
  const kinds = { promoted: "good", failed: "bad", stopped: "warn" }
  return h(
    "dl",
    { class: "facts" },
    [
      ["Latest", h("code", {}, run.run_id)],
      ["Because", `${run.trigger}: ${run.reason}`],
      ["Ended", run.ended_ms ? ago(run.ended_ms) : "–"],
      ["Outcome", badge(words(run.outcome ?? "–"), kinds[run.outcome] ?? "quiet")],
      run.detail ? ["In words", run.detail] : null,
    ]
      .filter(Boolean)
      .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  )
}
