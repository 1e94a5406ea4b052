// Making, rotating and revoking an API key. A new key is shown once, in a window of its own.

import { get, keepKey, post, send } from "/console/frame/api.js"
import { confirm, details, field } from "/console/parts/dialogs.js"
import { announce, h } from "/console/parts/elements.js"

const SCOPES = ["recommend", "events", "read", "admin"]
const HOUR_S = 3600

/** Ask for what a new key is to be, make it and show it; `again` is called afterwards. */
export async function makeKey(again) {
  const name = h("input", { required: true, maxlength: 40, pattern: "[A-Za-z0-9_.\\-]+", title: "letters, digits, _ . -", autocomplete: "off" })
  const limit = h("input", { type: "number", min: 1, step: 1 })
  const boxes = SCOPES.map((scope) => h("input", { type: "checkbox", value: scope, id: `scope-${scope}` }))
  const scopes = h(
    "fieldset",
    { class: "field" },
    h("legend", {}, "Opens"),
    boxes.map((box) => h("label", { for: box.id, class: "check" }, box, box.value)),
  )
  let made = null
  const done = await confirm({
    title: "Make a key",
    lines: ["The first key turns keys on: from then on every caller must show one, and it must open admin."],
    label: "Make it",
    fields: [field("Who will use it", name), scopes, field("Requests a minute at most (empty: no limit)", limit)],
    act: async () => {
      const own = await get("/api/v1/console/key")
      made = await post("/api/v1/keys", {
        name: name.value.trim(),
        scopes: boxes.filter((box) => box.checked).map((box) => box.value),
        per_minute: limit.value ? Number(limit.value) : null,
      })
      // Nobody was asked for a key before this one; the console goes on with it.
      if (own.name === null) keepKey(made.key)
    },
  })
  if (done) await shown(made, again)
}

/** Give a key a new text and show it. */
export async function rotateKey(key, again) {
  const hours = h("input", { type: "number", min: 0, max: 8760, step: "any", value: 24, required: true })
  let made = null
  const done = await confirm({
    title: `Rotate ${key.name}`,
    lines: ["It gets a new text. The one before stays valid meanwhile, so that its users can change over."],
    label: "Rotate it",
    fields: [field("Hours for which the one before stays valid", hours)],
    act: async () => {
      const own = await get("/api/v1/console/key")
      made = await post(`${path(key)}/rotate`, { old_for_s: Number(hours.value) * HOUR_S })
      if (own.name === key.name) keepKey(made.key)
    },
  })
  if (done) await shown(made, again)
}

/** End a key. */
export async function revokeKey(key, again) {
  const done = await confirm({
    title: `Revoke ${key.name}`,
    lines: ["Whoever uses it is turned away within a second. It cannot be brought back; a new key of that name can be made."],
    label: "Revoke it",
    danger: true,
    act: () => send("DELETE", path(key)),
  })
  if (!done) return
  announce(`${key.name} is revoked`)
  again()
}

function shown({ key, kept }, again) {
  again()
  return details(`The key ${kept.name}`, async () => [
    h("p", {}, "It is shown this once: what is kept of it is a hash. Clients send it as ", h("code", {}, "Authorization: Bearer KEY"), "."),
    h("p", {}, h("code", { class: "path", id: "new-key" }, key)),
  ])
}

function path(key) {
  return `/api/v1/keys/${encodeURIComponent(key.name)}`
}
