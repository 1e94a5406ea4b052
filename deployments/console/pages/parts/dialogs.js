// Questions before something that cannot simply be taken back, and windows with more detail.

import { announce, fill, h } from "/console/parts/elements.js"

let numbered = 0

function open(dialog) {
  const before = document.activeElement
  dialog.addEventListener("close", () => {
    dialog.remove()
    if (before?.isConnected) before.focus()
  })
  document.body.append(dialog)
  dialog.showModal()
  return dialog
}

/**
 * Ask before an action. `lines` say what it does; `fields` are nodes between them and the buttons; `act` runs at
 * confirmation, and the window stays open with the error when it fails; `problemOf(error)` may show it elsewhere, and then
 * gives true. Resolves to whether it was done.
 */
export function confirm({ title, lines, label, act, danger = false, fields = [], problemOf = () => false }) {
  return new Promise((resolve) => {
    const id = `dialog-${++numbered}`
    const problem = h("p", { class: "failure", role: "alert", hidden: true })
    const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, label)
    let done = false
    const form = h(
      "form",
      {
        method: "dialog",
        onsubmit: async (event) => {
          event.preventDefault()
          go.disabled = true
          problem.hidden = true
          try {
            await act()
            done = true
            dialog.close()
          } catch (error) {
            problem.hidden = problemOf(error)
            fill(problem, error.message)
          } finally {
            go.disabled = false
          }
        },
      },
      h("h2", { id }, title),
      lines.map((line) => h("p", {}, line)),
      fields,
      problem,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go),
    )
    const dialog = h("dialog", { "aria-labelledby": id }, form)
    dialog.addEventListener("close", () => resolve(done))
    open(dialog)
  })
}

/** A labelled field for `confirm`. */
export function field(label, input) {
  input.id ||= `field-${++numbered}`
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input)
}

/** Show detail in a window of its own; `load` gives the nodes. */
export async function details(title, load) {
  const id = `dialog-${++numbered}`
  const body = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close")
  const dialog = h(
    "dialog",
    { class: "wide", "aria-labelledby": id },
    h("h2", { id }, title),
    body,
    h("div", { class: "buttons" }, close),
  )
  open(dialog)
  try {
    fill(body, await load(() => dialog.close()))
  } catch (error) {
    fill(body, h("p", { class: "failure", role: "alert" }, error.message))
    announce(error.message, "bad")
  }
}
