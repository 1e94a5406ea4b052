// One user: attributes, tastes, history, and what the user would get now and why.

import { get, post } from "/console/frame/api.js"
import { badge, card, empty, facts, failure, fill, h } from "/console/parts/elements.js"
import { ago, count, dateTime, percent, words } from "/console/parts/format.js"
import { orNone, path, shownValue } from "/console/catalogue/catalogue_api.js"
import { editUser } from "/console/catalogue/description_form.js"
import { listOf } from "/console/recommendations/recommended_list.js"
import { historyOf } from "/console/recommendations/user_history.js"

const MOST_AFFINITIES = 12

export function userPage(root, { id, schemas, focus: arrived }) {
  let gone = false
  const body = h("div", { class: "page" }, h("p", { class: "loading" }, "Loading"))
  root.append(body)

  async function load(focus = false) {
    try {
      const [user, schema] = await Promise.all([orNone(get(path("user", id))), schemas])
      if (gone) return
      fill(body, viewOf(user, schema.users))
      if (focus) body.querySelector("h2").focus({ preventScroll: true })
    } catch (error) {
      if (!gone) fill(body, failure(error, () => load()))
    }
  }

  function viewOf(user, schema) {
    const gets = h("div", {}, h("p", { class: "loading" }, "Loading"))
    const asked = { user_id: user?.user_id ?? id, explain: true, preview: true }
    post("/api/v1/recommend", asked).then(
      (answer) => fill(gets, listOf(answer, { link: (entry) => `#/catalogue/item/${encodeURIComponent(entry.item_id)}` })),
      (error) => fill(gets, failure(error)),
    )
    const attributes = user?.attributes ?? {}
    return [
      h(
        "section",
        { class: "card" },
        h(
          "div",
          { class: "card-head" },
          h("h2", { tabindex: "-1" }, `User ${id}`),
          h(
            "div",
            { class: "buttons" },
            h("a", { class: "button", href: `#/recommendations?${new URLSearchParams({ user: id })}` }, "Try lists"),
            Object.keys(schema).length > 0 && h("button", { type: "button", onclick: async () => (await editUser(id, attributes, schema)) && load(true) }, "Edit"),
          ),
        ),
        user ? known(user, attributes, schema) : empty("Nothing is known of this user yet."),
      ),
      h("div", { class: "columns" }, card("Tastes", tastes(user)), card("History", user?.history.length ? historyOf(user, true) : empty("No event yet."))),
      card("What the user would get now, and why", gets),
    ]
  }

  load(arrived)
  return { unmount: () => (gone = true) }
}

function known(user, attributes, schema) {
  const counts = Object.entries(user.events).map(([type, number]) => `${words(type)} × ${count(number)}`)
  const when = (time) => time && h("span", { title: dateTime(time) }, ago(time))
  return facts(
    ...Object.entries(attributes).map(([name, value]) => [name, shownValue(value, schema[name])]),
    ["Events", counts.length ? counts.join(", ") : "none"],
    ["First event", when(user.first_seen)],
    ["Last event", when(user.last_seen)],
    ["Seen before the history below", user.older_seen ? count(user.older_seen) : null],
  )
}

/** The categories that speak most to the user, each against the strongest. */
function tastes(user) {
  const all = Object.entries(user?.affinities ?? {})
  const found = all.filter(([, weight]) => weight > 0)
  if (!all.length) return empty("No category is known to speak to this user.")
  if (!found.length) return [h("p", { class: "small muted" }, "What the user did in these categories was too long ago to weigh anything now."), h("p", { class: "buttons" }, all.map(([name]) => badge(name)))]
  const top = found[0][1]
  return [
    h("p", { class: "small muted" }, "What the user did in each category, fading with time, as a share of the strongest."),
    facts(
      ...found.slice(0, MOST_AFFINITIES).map(([name, weight]) => [
        name,
        h("span", { class: "score" }, h("meter", { min: "0", max: "1", value: weight / top, "aria-hidden": "true" }), h("span", {}, percent(weight / top, 0))),
      ]),
    ),
  ]
}
