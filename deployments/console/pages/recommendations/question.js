// The question: for which user, under which filters, and whether it counts.

import { get } from "/console/frame/api.js"
import { failure, fill, h } from "/console/parts/elements.js"
import { count } from "/console/parts/format.js"

/**
 * The form. `onUser(user)`: another user is asked for; `onLive()`: the switch was turned; `onChange()`: a filter was.
 * Returns {element, content(), user, live}; `content()` is the part of the request that stands in it.
 */
export function question({ onUser, onLive, onChange }) {
  const include = new Set()
  const exclude = new Set()
  const user = h("input", { id: "user", autocomplete: "off", spellcheck: "false", maxlength: "200" })
  const many = h("select", { id: "many" }, [5, 10, 20, 50].map((n) => h("option", { value: n, selected: n === 10 }, n)))
  const diversity = h("input", { id: "diversity", type: "range", min: "0", max: "1", step: "0.1", value: "0" })
  const seen = h("input", { id: "seen", type: "checkbox" })
  const live = h("input", { id: "live", type: "checkbox", role: "switch", "aria-describedby": "mode" })
  const categories = h("div", { class: "chips", role: "group", "aria-label": "Categories: once only these, twice without" })
  const filters = h("div", { hidden: true }, h("h2", { class: "minor" }, "Categories"), categories)

  const element = h(
    "form",
    {
      class: "card",
      onsubmit: (event) => {
        event.preventDefault()
        if (user.value.trim()) onUser(user.value.trim())
        else user.focus()
      },
    },
    h(
      "div",
      { class: "fields" },
      h("div", { class: "field" }, h("label", { for: "user" }, "User"), user),
      h("div", { class: "field" }, h("label", { for: "many" }, "Titles"), many),
      h("div", { class: "field" }, h("label", { for: "diversity" }, "Diversity"), diversity),
      h("div", { class: "checks" }, h("label", { class: "check switch" }, live, "Live"), h("label", { class: "check" }, seen, "Seen titles too")),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "submit", class: "primary" }, "Recommend"),
        h("button", { type: "button", onclick: () => onUser(newUser()) }, "New user"),
      ),
    ),
    filters,
  )
  for (const input of [many, diversity, seen]) input.addEventListener("change", () => onChange())
  live.addEventListener("change", onLive)

  function button(name, number) {
    const made = h("button", { type: "button", "aria-pressed": "false", title: `${count(number)} titles` }, name)
    made.addEventListener("click", () => {
      if (include.delete(name)) exclude.add(name)
      else if (!exclude.delete(name)) include.add(name)
      const without = exclude.has(name)
      made.setAttribute("aria-pressed", include.has(name) || without)
      made.setAttribute("aria-label", without ? `without ${name}` : name)
      made.classList.toggle("excluded", without)
      onChange()
    })
    return made
  }

  get("/api/v1/categories").then(
    (all) => {
      const names = mostFrequent(all)
      filters.hidden = !names.length
      fill(categories, names.map((name) => button(name, all[name])))
    },
    (error) => {
      filters.hidden = false
      fill(categories, failure(error))
    },
  )

  return {
    element,
    content() {
      const chosen = {}
      if (include.size) chosen.include_categories = [...include]
      if (exclude.size) chosen.exclude_categories = [...exclude]
      return { top_k: Number(many.value), diversity: Number(diversity.value), exclude_seen: !seen.checked, filters: chosen }
    },
    get live() {
      return live.checked
    },
    set live(on) {
      live.checked = on
    },
    set user(text) {
      user.value = text
    },
  }
}

const MOST = 60

/** By name; of very many only those with the most titles, since nobody reads thousands of buttons. */
function mostFrequent(all) {
  const names = Object.keys(all)
  if (names.length <= MOST) return names
  return names.sort((a, b) => all[b] - all[a]).slice(0, MOST).sort()
}

export function newUser() {
  return `visitor-${Array.from(crypto.getRandomValues(new Uint8Array(4)), (n) => n.toString(16).padStart(2, "0")).join("")}`
}
