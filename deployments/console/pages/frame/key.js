// The API key, where the server asks for one: kept for this session of the browser, and never longer.

import { ApiError, forgetKey, get, keepKey } from "/console/frame/api.js"
import { field } from "/console/parts/dialogs.js"
import { fill, h } from "/console/parts/elements.js"

const OWN = "/api/v1/console/key"

/** Who the server takes us for: {name, scopes}. Asks the person for a key until it is one that the server knows. */
export async function identify() {
  let note = null
  for (;;) {
    try {
      const found = await get(OWN)
      if (found.scopes.length) return found
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error
      forgetKey()
      note = error.message
    }
    keepKey(await ask(note))
  }
}

/** What the key may do, and a way to put it down. */
export function showKey(place, { name, scopes }) {
  if (name === null) return
  const forget = () => {
    forgetKey()
    location.reload()
  }
  fill(
    place,
    h("span", { class: "badge accent", title: `this key may: ${scopes.join(", ")}` }, `${name}: ${scopes.includes("admin") ? "admin" : scopes.join(", ")}`),
    h("button", { type: "button", class: "slim", onclick: forget }, "Forget key"),
  )
  place.hidden = false
}

function ask(note) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", required: true, id: "api-key" })
    const dialog = h(
      "dialog",
      { "aria-labelledby": "key-title", oncancel: (event) => event.preventDefault() },
      h(
        "form",
        {
          method: "dialog",
          onsubmit: (event) => {
            event.preventDefault()
            dialog.remove()
            resolve(input.value.trim())
          },
        },
        h("h2", { id: "key-title" }, "This server asks for an API key"),
        h("p", {}, "It is kept until this tab is closed, and sent to this server alone."),
        note && h("p", { class: "failure", role: "alert" }, note),
        field("API key", input),
        h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Use it")),
      ),
    )
    document.body.append(dialog)
    dialog.showModal()
    input.focus()
  })
}
