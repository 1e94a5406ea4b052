// Catalogue: items and users, each in a list and on a page of its own. The address says which one is shown.

import { fill, h } from "/console/parts/elements.js"
import { schemas } from "/console/catalogue/catalogue_api.js"
import { itemList } from "/console/catalogue/item_list.js"
import { itemPage } from "/console/catalogue/item_page.js"
import { userList } from "/console/catalogue/user_list.js"
import { userPage } from "/console/catalogue/user_page.js"

export const title = "Catalogue"
export const about = "What can be recommended, and to whom: find an item or a user, see what is known of it, change it."

// A view is called with its place and {id, query, schemas, focus}: a promise of the schemas, and whether its heading takes
// the focus as soon as it is there, so that a screen reader follows.

/** The view of `rest`: `[]` items, `["item", id]`, `["users"]`, `["user", id]`; null where there is none. */
function viewOf(rest) {
  const [kind, id] = rest
  if (rest.length === 0) return { view: itemList, list: "items" }
  if (rest.length === 1 && kind === "users") return { view: userList, list: "users" }
  if (rest.length === 2 && id && kind === "item") return { view: itemPage, list: "items" }
  if (rest.length === 2 && id && kind === "user") return { view: userPage, list: "users" }
  return null
}

export function mount(root, query, rest) {
  const links = { items: h("a", { href: "#/catalogue" }, "Items"), users: h("a", { href: "#/catalogue/users" }, "Users") }
  const place = h("div", { class: "page" })
  let shown = null
  root.append(h("nav", { class: "tabs", "aria-label": "Catalogue" }, Object.values(links)), place)

  function go(asked, parts) {
    const found = viewOf(parts)
    const name = JSON.stringify(parts)
    if (shown?.name === name && shown.made.go) return shown.made.go(asked)
    const first = shown === null
    shown?.made.unmount?.()
    for (const [list, link] of Object.entries(links)) {
      if (list === found?.list) link.setAttribute("aria-current", "page")
      else link.removeAttribute("aria-current")
    }
    fill(place)
    if (!found) {
      shown = { name, made: {} }
      return fill(place, h("p", { class: "note warn", role: "alert" }, "There is no such page in the catalogue. Choose ", h("a", { href: "#/catalogue" }, "items"), " or ", h("a", { href: "#/catalogue/users" }, "users"), "."))
    }
    shown = { name, made: found.view(place, { id: parts[1], query: asked, schemas: schemas(), focus: !first }) }
    if (!first) window.scrollTo(0, 0)
    return undefined
  }

  go(query, rest)
  return { go, unmount: () => shown.made.unmount?.() }
}
