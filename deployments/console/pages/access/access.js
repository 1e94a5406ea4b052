// Access: the API keys, what each opens, and who did what with them.

import { get } from "/console/frame/api.js"
import { actionButton, badge, card, empty, failure, fill, h, onChange, setText, table } from "/console/parts/elements.js"
import { ago, count, dateTime } from "/console/parts/format.js"
import { makeKey, revokeKey, rotateKey } from "/console/access/key_forms.js"

export const title = "Access"
export const about = "Who may ask: the API keys with what they open, and what admins did and who was turned away."

const AGAIN_MS = 5000
const STATES = { valid: "good", expired: "warn", revoked: "quiet" }

export function mount(root) {
  const waiting = () => h("div", {}, h("p", { class: "loading" }, "Loading"))
  const [keys, audit] = [waiting(), waiting()]
  let asking = false
  let askedAt = 0
  let gone = false
  const make = actionButton("Make a key", () => makeKey(load), { class: "primary" })
  root.append(card("API keys", keys, h("div", { class: "buttons" }, make)), card("Audit log", audit))
  const draw = {
    keys: onChange((found) => fill(keys, keyTable(found, load))),
    audit: onChange((found) => fill(audit, auditTable(found))),
  }

  async function load() {
    if (asking) return
    asking = true
    try {
      const [known, noted] = await Promise.all([get("/api/v1/keys"), get("/api/v1/audit?limit=100")])
      if (gone) return
      if (keys.querySelector(".failure")) fill(keys, keyTable(known.keys, load))
      draw.keys(known.keys)
      draw.audit(noted.entries)
      askedAt = Date.now()
    } catch (error) {
      if (gone) return
      if (!askedAt) fill(audit, empty("Not known while this fails."))
      fill(keys, failure(error, load))
    } finally {
      asking = false
    }
  }

  load()
  return {
    update() {
      for (const line of root.querySelectorAll("time")) setText(line, ago(Number(line.dataset.ms)))
      if (Date.now() - askedAt > AGAIN_MS) load()
    },
    unmount() {
      gone = true
    },
  }
}

function keyTable(found, again) {
  if (!found.length) return empty("There are no keys: everybody on this machine may do everything. The first key is an admin's, and from then on all callers must show one.")
  return table(
    "API keys",
    [
      { name: "Key", head: true, cell: (key) => key.name },
      { name: "State", cell: (key) => badge(key.state, STATES[key.state]) },
      { name: "Opens", cell: (key) => key.scopes.join(", ") },
      { name: "A minute", numeric: true, cell: (key) => (key.per_minute === null ? null : count(key.per_minute)) },
      { name: "Made", cell: (key) => (key.created_at ? moment(key.created_at) : "in the settings file") },
      { name: "Ends", cell: (key) => key.expires_at && dateTime(key.expires_at) },
      { name: "The one before ends", cell: (key) => key.old_until && dateTime(key.old_until) },
      { name: "Changed", cell: (key) => key.changed_at && [moment(key.changed_at), ` by ${key.changed_by}`] },
      { name: "Actions", unseen: true, cell: (key) => (key.state === "revoked" ? null : buttons(key, again)) },
    ],
    found,
  )
}

function buttons(key, again) {
  const button = (label, act, more = "") => actionButton(label, act, { class: `slim ${more}`, "aria-label": `${label}: ${key.name}` })
  return h("div", { class: "buttons" }, button("Rotate", () => rotateKey(key, again)), button("Revoke", () => revokeKey(key, again)))
}

function auditTable(found) {
  if (!found.length) return empty("Nothing was changed and nobody was turned away yet.")
  return table(
    "What admins did and what was refused, the newest first",
    [
      { name: "When", cell: (entry) => moment(entry.time_ms) },
      { name: "Who", cell: (entry) => entry.who },
      { name: "What", head: true, cell: (entry) => h("code", {}, entry.what) },
      { name: "From", cell: (entry) => entry.origin },
      { name: "Result", cell: (entry) => badge(entry.result, entry.result === "done" ? "good" : "warn", `status ${entry.status}`) },
      { name: "Not written one by one", numeric: true, cell: (entry) => (entry.more ? count(entry.more) : null) },
    ],
    found,
  )
}

function moment(time) {
  return h("time", { dataset: { ms: new Date(time).getTime() }, title: dateTime(time) }, ago(time))
}
