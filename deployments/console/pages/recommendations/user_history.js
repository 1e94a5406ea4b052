// What is known of a user.

import { badge, empty, failure, h } from "/console/parts/elements.js"
import { ago, count, dateTime, nameOf, words } from "/console/parts/format.js"

/** The user's features as nodes; `result` is {answer} or {error}. */
export function pastOf({ answer: past, error }) {
  if (error?.status === 404) return empty("Nothing is known of this user yet. Like a title, and the next list follows from it.")
  if (error) return failure(error)
  const counts = Object.entries(past.events).map(([type, number]) => `${words(type)} × ${count(number)}`)
  const tastes = Object.entries(past.affinities).slice(0, 4)
  return [
    h("p", { class: "small muted" }, counts.join(", ")),
    tastes.length ? h("p", { class: "buttons" }, tastes.map(([name]) => badge(name, "accent"))) : null,
    historyOf(past),
  ]
}

const MOST = 100

/** The latest events, the newest first; `linked`: to the items' own pages. */
export function historyOf({ history }, linked = false) {
  const name = (entry) => (linked ? h("a", { href: `#/catalogue/item/${encodeURIComponent(entry.item_id)}` }, nameOf(entry)) : nameOf(entry))
  return [
    h(
      "ol",
      { class: "history", tabindex: "0", "aria-label": "Latest events" },
      history.slice(0, MOST).map((entry) =>
        h(
          "li",
          {},
          h("span", { class: "title" }, name(entry)),
          h("span", { class: "small" }, entry.value === null ? words(entry.event_type) : `${words(entry.event_type)} ${entry.value}`),
          h("span", { class: "when", title: dateTime(entry.time) }, ago(entry.time)),
        ),
      ),
    ),
    history.length > MOST ? h("p", { class: "small muted" }, `and ${count(history.length - MOST)} earlier`) : null,
  ]
}
