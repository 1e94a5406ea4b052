// All users that the store knows, page by page.

import { debounced, empty, failure, fill, h, table } from "/console/parts/elements.js"
import { ago, count, dateTime } from "/console/parts/format.js"
import { attributeColumns, link, pager, usersOf } from "/console/catalogue/catalogue_api.js"

const ADDRESS = "#/catalogue/users"

export function userList(root, { query, schemas, focus }) {
  const find = h("input", { id: "user-query", type: "search", autocomplete: "off", spellcheck: "false", maxlength: "200", placeholder: "Beginning of an id" })
  const results = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const total = h("p", { class: "small muted", role: "status" })
  const pages = h("div", {})
  let asked = 0
  root.append(
    h(
      "section",
      { class: "card" },
      h("div", { class: "card-head" }, h("h2", { tabindex: "-1" }, "Users")),
      h("form", { class: "fields", role: "search", onsubmit: open }, h("div", { class: "field" }, h("label", { for: find.id }, "Find"), find), h("div", { class: "buttons" }, h("button", { type: "submit" }, "Open this user"))),
      total,
      results,
      pages,
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

  async function load() {
    const mine = ++asked
    const cursor = new URLSearchParams(location.hash.split("?")[1] ?? "").get("cursor")
    try {
      const [answer, schema] = await Promise.all([usersOf({ ...Object.fromEntries(place()), ...(cursor ? { cursor } : {}) }), schemas])
      if (mine !== asked) return
      fill(total, `${count(answer.total)} ${answer.total === 1 ? "user" : "users"}`)
      fill(results, answer.users.length ? tableOf(answer.users, schema.users) : empty(place().size ? "No user's id begins so." : "No user is known yet."))
      fill(pages, pager(ADDRESS, place(), cursor, answer.next_cursor))
    } catch (error) {
      if (mine !== asked) return
      fill(total)
      fill(pages)
      fill(results, failure(error, load))
    }
  }

  const later = debounced(() => {
    const found = place().toString()
    window.history.replaceState(null, "", found ? `${ADDRESS}?${found}` : ADDRESS)
    load()
  }, 250)
  find.addEventListener("input", later)
  find.value = query.get("query") ?? ""
  load()
  if (focus) root.querySelector("h2").focus({ preventScroll: true })
  return {
    go(address) {
      find.value = address.get("query") ?? ""
      load()
    },
    unmount: () => {
      later.cancel()
      asked += 1
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
