// One item: what it is, what users did with it, what is like it.

import { get } from "/console/frame/api.js"
import { confirm } from "/console/parts/dialogs.js"
import { actionButton, announce, badge, card, empty, facts, failure, fill, h, table } from "/console/parts/elements.js"
import { ago, amount, count, dateTime, nameOf, small, words } from "/console/parts/format.js"
import { changeItem, itemLink, orNone, path, remove, shownValue, states } from "/console/catalogue/catalogue_api.js"
import { editItem } from "/console/catalogue/description_form.js"
import { similarOf, similarTable } from "/console/recommendations/title_actions.js"

const WINDOWS = { "1h": "an hour", "1d": "a day", "7d": "a week" }

export function itemPage(root, { id, schemas, focus: arrived }) {
  let gone = false
  const body = h("div", { class: "page" }, h("p", { class: "loading" }, "Loading"))
  root.append(body)

  async function load(focus = false) {
    try {
      const [item, schema] = await Promise.all([orNone(get(path("item", id))), schemas])
      if (gone) return
      if (!item) return fill(body, h("p", { class: "note warn", role: "alert" }, "The catalogue lists no item ", h("code", {}, id), ". ", h("a", { href: "#/catalogue" }, "All items")))
      fill(body, viewOf(item, schema.items))
      if (focus) body.querySelector("h2").focus({ preventScroll: true })
    } catch (error) {
      if (!gone) fill(body, failure(error, () => load()))
    }
  }

  function viewOf(item, schema) {
    const similar = h("div", {}, h("p", { class: "loading" }, "Loading"))
    similarOf(id, 10).then(
      (answer) => fill(similar, similarTable(answer, itemLink)),
      (error) => fill(similar, error.status === 404 ? empty("The model does not know this item yet.") : failure(error)),
    )
    const days = h("div", {}, h("p", { class: "loading" }, "Loading"))
    get(`${path("item", id)}/daily`).then(
      (answer) => fill(days, byDay(answer)),
      (error) => fill(days, failure(error)),
    )
    return [
      h(
        "section",
        { class: "card" },
        h("div", { class: "card-head" }, h("h2", { tabindex: "-1" }, nameOf(item), " ", states(item)), h("div", { class: "buttons" }, buttons(item, schema))),
        attributesOf(item, schema),
      ),
      h("div", { class: "columns" }, card("What users did", done(item)), card("How strongly it is liked now", liked(item))),
      card("By day", days),
      card("Similar items", similar),
    ]
  }

  function buttons(item, schema) {
    const name = nameOf(item)
    return [
      h("button", { type: "button", onclick: async () => (await editItem({ item, schema })) && load(true) }, "Edit"),
      actionButton(item.hidden ? "Unhide" : "Hide", async () => {
        await changeItem(id, { hidden: !item.hidden })
        announce(item.hidden ? `${name} can be recommended again` : `${name} is recommended to nobody for now`, "good")
        await load(true)
      }),
      h("button", { type: "button", onclick: () => askDelete(name) }, "Delete"),
    ]
  }

  async function askDelete(name) {
    const done = await confirm({
      title: `Delete ${name}?`,
      lines: ["It is never recommended again, and the catalogue no longer lists it. What users did with it stays. Adding it again brings it back."],
      label: "Delete",
      danger: true,
      act: () => remove("item", id),
    })
    if (done) location.hash = "#/catalogue"
  }

  load(arrived)
  return { unmount: () => (gone = true) }
}

function attributesOf(item, schema) {
  return facts(
    ["Id", h("code", {}, item.item_id)],
    ["Year", item.year],
    ["Categories", item.categories.length ? h("span", { class: "buttons" }, item.categories.map((name) => badge(name, "accent"))) : null],
    ...Object.entries(item.attributes).map(([name, value]) => [name, shownValue(value, schema[name])]),
  )
}

function done(item) {
  const events = Object.entries(item.events)
  const head = [
    ["Lists on which it was shown", count(item.exposures)],
    ["First event", item.first_event && h("span", { title: dateTime(item.first_event) }, ago(item.first_event))],
    ["Last event", item.last_event && h("span", { title: dateTime(item.last_event) }, ago(item.last_event))],
  ]
  if (!events.length) return [empty("No user has done anything with it yet."), facts(...head)]
  return [
    table("Events by type", [{ name: "Event", head: true, cell: ([type]) => words(type) }, { name: "Ever", numeric: true, cell: ([, number]) => count(number) }], events.sort((a, b) => b[1] - a[1])),
    facts(...head),
  ]
}

/** Events of the last days, the latest first. */
function byDay({ days, first_day: first, last_day: last }) {
  const note = h("p", { class: "small muted" }, `Events from ${first} to ${last} (UTC); what came since the last compaction is not among them.`)
  if (!days.length) return [empty("Nothing happened in these days."), note]
  const types = [...new Set(days.flatMap((one) => Object.keys(one.events)))].sort()
  const columns = types.map((type) => ({ name: words(type), numeric: true, cell: (one) => (one.events[type] ? count(one.events[type]) : null) }))
  return [table("Events by day", [{ name: "Day", head: true, cell: (one) => one.day }, ...columns], days.reverse()), note]
}

/** How strongly users like it now, by how fast what they did loses weight. */
function liked(item) {
  const popularity = Object.entries(item.popularity)
  return [
    h("p", { class: "small muted" }, "What all users did, each event by how strongly it speaks for the item, losing half of its weight within the time named."),
    facts(
      ...popularity.map(([window, weight]) => [`Half-life of ${WINDOWS[window] ?? window}`, small(weight)]),
    ),
  ]
}
