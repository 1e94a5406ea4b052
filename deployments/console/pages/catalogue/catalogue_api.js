// Catalogue requests, and how attributes are written for people.

import { ApiError, get, put, send } from "/console/frame/api.js"
import { badge, h } from "/console/parts/elements.js"
import { amount, count, dateTime, known, nameOf } from "/console/parts/format.js"

const PAGE = 50

/** A promise of the schemas: {items, users}, each attribute name -> type. */
export async function schemas() {
  const { items, users } = await get("/api/v1/catalogue")
  return { items: items.attributes, users: users.attributes }
}

export function itemsOf(place) {
  return get(`/api/v1/items?${new URLSearchParams({ limit: PAGE, ...place })}`)
}

export function usersOf(place) {
  return get(`/api/v1/users?${new URLSearchParams({ limit: PAGE, ...place })}`)
}

export function path(kind, id) {
  return `/api/v1/${kind}s/${encodeURIComponent(id)}`
}

export function link(kind, id, text = id) {
  return h("a", { href: `#/catalogue/${kind}/${encodeURIComponent(id)}` }, text)
}

export function itemLink(item) {
  return link("item", item.item_id, nameOf(item))
}

/** The answer, or null where there is none (404). */
export async function orNone(promise) {
  try {
    return await promise
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null
    throw error
  }
}

export function remove(kind, id) {
  return send("DELETE", path(kind, id))
}

/** Write the item as it is now with other values in some fields. */
export async function changeItem(id, changes) {
  const item = await get(path("item", id))
  const content = { title: item.title, year: item.year, categories: item.categories, hidden: item.hidden, attributes: item.attributes }
  return put(path("item", id), { ...content, ...changes })
}

/** A value of an attribute as text or nodes; null where there is none. */
export function shownValue(value, type) {
  if (!known(value)) return null
  if (type === "flag") return value ? "yes" : "no"
  if (type === "time") return dateTime(value)
  if (type === "number") return Number.isInteger(value) ? count(value) : amount(value)
  if (type === "keywords") return value.join(", ")
  if (type === "vector") return `${count(value.length)} numbers`
  return value
}

/** Columns of a table for the first attributes of a schema; `attributes(row)` gives a row's. */
export function attributeColumns(schema, most = 4) {
  return Object.entries(schema)
    .slice(0, most)
    .map(([name, type]) => ({
      name,
      numeric: type === "number",
      cell: (row) => clipped(shownValue(row.attributes[name], type)),
    }))
}

function clipped(text) {
  return typeof text === "string" && text.length > 60 ? h("span", { title: text }, `${text.slice(0, 59)}…`) : text
}

export function states(item) {
  return item.hidden ? badge("hidden", "warn", "recommended to nobody for now") : null
}

/** Where a page begins, and the way to the next one. `place`: the address without a cursor, as URLSearchParams. */
export function pager(address, place, cursor, next) {
  const to = (more) => `${address}?${new URLSearchParams([...place, ...more])}`
  if (!cursor && !next) return null
  return h(
    "nav",
    { class: "buttons", "aria-label": "Pages of the list" },
    cursor && h("a", { class: "button", href: to([]) }, "First page"),
    next && h("a", { class: "button", href: to([["cursor", next]]) }, "Next page"),
  )
}
