// All users that the store knows, page by page.

import { debounced, h, table } from "/console/parts/elements.js"
import { ago, count, dateTime } from "/console/parts/format.js"
import { attributeColumns, link, usersOf } from "/console/catalogue/catalogue_api.js"
import { pagedResults } from "/console/catalogue/paged_results.js"

const ADDRESS = "#/catalogue/users"

export function userList(root, { query, schemas, focus }) {
  const find = h("input", { id: "user-query", type: "search", autocomplete: "off", spellcheck: "false", maxlength: "200", placeholder: "Beginning of an id" })
  const none = ["No user's id begins so.", "No user is known yet."]
  const list = pagedResults({ address: ADDRESS, noun: ["user", "users"], place, ask: usersOf, schemas, tableOf, none })
  root.append(
    h(
      "section",
      { class: "card" },
      h("div", { class: "card-head" }, h("h2", { tabindex: "-1" }, "Users")),
      h("form", { class: "fields", role: "search", onsubmit: open }, h("div", { class: "field" }, h("label", { for: find.id }, "Find"), find), h("div", { class: "buttons" }, h("button", { type: "submit" }, "Open this user"))),
      list.parts,
    ),
  )

  function open(event) {
    event.preventDefault()
    const id = find.value.trim()
    if (id) location.hash = `#/catalogue/user/${encodeURIComponent(id)}`
    else find.focus()
  }

  function place() {
    return new URLSearchParams(find.value.trim() ? { query: find.value.trim() } : {})
  }

  const later = debounced(list.changed, 250)
  find.addEventListener("input", later)
  find.value = query.get("query") ?? ""
  list.load()
  if (focus) root.querySelector("h2").focus({ preventScroll: true })
  return {
    go(address) {
      find.value = address.get("query") ?? ""
      list.load()
    },
    unmount: () => {
      later.cancel()
      list.stop()
    },
  }
}

function tableOf(users, schema) {
  const when = (time) => time && h("span", { title: dateTime(time) }, ago(time))
  return table(
    "Users",
    [
      { name: "User", head: true, cell: (user) => link("user", user.user_id) },
      ...attributeColumns(schema, 5),
      { name: "Events", numeric: true, cell: (user) => count(user.events) },
      { name: "First event", cell: (user) => when(user.first_seen) },
      { name: "Last event", cell: (user) => when(user.last_seen) },
    ],
    users,
  )
}
