// What can be done to a title: the events of this data set, and a look at its neighbours.

import { get } from "/console/frame/api.js"
import { details } from "/console/parts/dialogs.js"
import { actionButton, announce, empty, h, table } from "/console/parts/elements.js"
import { capital, fixed, nameOf, words } from "/console/parts/format.js"

const ALWAYS = ["like", "click"]
const WITHOUT_BUTTON = new Set(["like", "click", "dislike", "rating", "view", "search", "watch"])

/**
 * Buttons for the events of a title. `types`: those that the data set holds, null where that is not known;
 * `act(type, more)` is called for one.
 */
export function actionsOf(item, types, act) {
  const name = nameOf(item)
  const button = (label, type) => actionButton(label, () => act(type), { class: "slim", "aria-label": `${label}: ${name}` })
  const own = (types ?? []).filter((type) => !WITHOUT_BUTTON.has(type)).slice(0, 4)
  return h(
    "div",
    { class: "buttons" },
    [...ALWAYS, ...own].map((type) => button(capital(words(type)), type)),
    (!types || types.includes("rating")) && ratings(name, act),
    button("Dislike", "dislike"),
    h("button", { type: "button", class: "slim", "aria-label": `Similar: ${name}`, onclick: () => showSimilar(item, name) }, "Similar"),
  )
}

function ratings(name, act) {
  const rate = h(
    "select",
    {
      class: "slim",
      "aria-label": `Rate: ${name}`,
      onchange: async () => {
        const rating = Number(rate.value)
        rate.value = ""
        try {
          await act("rating", { rating })
        } catch (error) {
          announce(error.message, "bad")
        }
      },
    },
    h("option", { value: "" }, "Rate"),
    [5, 4, 3, 2, 1].map((stars) => h("option", { value: stars }, `${stars} of 5`)),
  )
  return rate
}

function showSimilar(item, name) {
  return details(`Similar to ${name}`, async () => similarTable(await similarOf(item.item_id), nameOf))
}

export function similarOf(id, limit = 15) {
  return get(`/api/v1/items/${encodeURIComponent(id)}/similar?limit=${limit}`)
}

/** The neighbours of a title; `cell(row)` writes what names one. */
export function similarTable(answer, cell) {
  if (!answer.items.length) return empty("The model knows none.")
  return table(
    "Similar titles, the nearest first",
    [
      { name: "Rank", unseen: true, cell: (row) => row.rank },
      { name: "Title", head: true, cell },
      { name: "Categories", cell: (row) => row.genres?.join(", ") },
      { name: "Cosine", numeric: true, cell: (row) => fixed(row.similarity, 3) },
    ],
    answer.items,
  )
}
