// Recommendations: ask for a user, act on a title, watch the list change, with the delay measured.

import { get, post } from "/console/frame/api.js"
import { details } from "/console/parts/dialogs.js"
import { actionButton, announce, badge, card, empty, failure, fill, h, unseen } from "/console/parts/elements.js"
import { amount, count, fixed, milliseconds, percent, words } from "/console/parts/format.js"
import { pastOf } from "/console/recommendations/user_history.js"

export const title = "Recommendations"
export const about = "Ask as any user, known or new. Like, click or rate a title, and the next list follows from it."

const SOURCES = {
  fold_in: "from the history, solved at this request",
  trained: "the vector of the last training",
  category: "too new for the model: scored by its categories",
  trending: "what gains interest now",
  popular: "what most people like",
  newest: "just added",
  exploration: "drawn at random, to learn from",
}

export function mount(root, query) {
  const state = { user: query.get("user") ?? "196", answers: [], delay: null, asking: 0, include: new Set(), exclude: new Set() }
  const user = h("input", { id: "user", autocomplete: "off", spellcheck: "false", value: state.user, maxlength: "200" })
  const many = h("select", { id: "many" }, [5, 10, 20, 50].map((n) => h("option", { value: n, selected: n === 10 }, n)))
  const diversity = h("input", { id: "diversity", type: "range", min: "0", max: "1", step: "0.1", value: "0" })
  const seen = h("input", { id: "seen", type: "checkbox" })
  const live = h("input", { id: "live", type: "checkbox" })
  const categories = h("div", { class: "chips", role: "group", "aria-label": "Categories: once only these, twice without" })
  const history = h("div", {}, empty("Loading"))
  const lists = h("div", { class: "variants" }, h("p", { class: "loading" }, "Loading"))
  const found = h("ul", { class: "suggestions" })
  const search = h("input", { id: "search", type: "search", placeholder: "Words of a title", autocomplete: "off" })
  const delay = h("p", { class: "note delay", role: "status", hidden: true })
  let variants = [null]

  const form = h(
    "form",
    {
      class: "card",
      onsubmit: (event) => {
        event.preventDefault()
        choose(user.value)
      },
    },
    h(
      "div",
      { class: "fields" },
      h("div", { class: "field" }, h("label", { for: "user" }, "User"), user),
      h("div", { class: "field" }, h("label", { for: "many" }, "Titles"), many),
      h("div", { class: "field" }, h("label", { for: "diversity" }, "Diversity"), diversity),
      h("label", { class: "check" }, seen, "Seen titles too"),
      h("label", { class: "check", title: "Lists count as shown to this user: in experiments, live quality and exposures" }, live, "Count as shown"),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "submit", class: "primary" }, "Recommend"),
        h("button", { type: "button", onclick: () => choose(newUser()) }, "New user"),
      ),
    ),
    h("h2", { class: "minor" }, "Categories"),
    categories,
  )
  root.append(
    form,
    h(
      "div",
      { class: "try" },
      h(
        "div",
        { class: "page" },
        card("History", history),
        card("Any title", h("label", { for: "search" }, "Find a title to like or rate"), search, found),
      ),
      h("section", { class: "card", "aria-label": "Recommended" }, delay, lists),
    ),
  )
  for (const input of [many, diversity, seen, live]) input.addEventListener("change", () => refresh())
  search.addEventListener("input", debounced(findTitles, 250))

  function choose(text) {
    state.user = text.trim()
    user.value = state.user
    if (!state.user) {
      user.focus()
      return
    }
    delay.hidden = true
    state.answers = []
    window.history.replaceState(null, "", `#/recommendations?user=${encodeURIComponent(state.user)}`)
    refresh()
  }

  function request(variant) {
    const filters = {}
    if (state.include.size) filters.include_categories = [...state.include]
    if (state.exclude.size) filters.exclude_categories = [...state.exclude]
    const asked = {
      user_id: idOf(state.user),
      top_k: Number(many.value),
      diversity: Number(diversity.value),
      exclude_seen: !seen.checked,
      explain: true,
      preview: !live.checked,
      filters,
    }
    return variant === null ? asked : { ...asked, force_variant: variant }
  }

  /** Ask for all columns, and for the history. An answer that comes after a newer question is dropped. */
  async function refresh() {
    const mine = ++state.asking
    lists.setAttribute("aria-busy", "true")
    const before = state.answers
    const [answers, past] = await Promise.all([
      Promise.all(variants.map((variant) => settled(post("/api/v1/recommend", request(variant))))),
      settled(get(`/api/v1/users/${encodeURIComponent(state.user)}`)),
    ])
    if (mine !== state.asking || !lists.isConnected) return null
    lists.removeAttribute("aria-busy")
    state.answers = answers
    fill(lists, answers.map((answer, n) => column(answer, before[n], variants[n])))
    fill(history, pastOf(past))
    return answers
  }

  /** Send an event and ask again; what is shown is the time from sending the one to having the other. */
  async function act(item, type, more = {}, recommendationId = null) {
    const before = ids(state.answers[0])
    const started = performance.now()
    const event = { user_id: idOf(state.user), item_id: item.item_id, event_type: type, ...more }
    if (recommendationId) event.recommendation_id = recommendationId
    await post("/api/v1/events", event)
    const recorded = performance.now()
    const answer = await post("/api/v1/recommend", request(variants[0]))
    const listed = performance.now()
    const changed = JSON.stringify(ids({ answer })) !== JSON.stringify(before)
    const name = type === "rating" ? `rating ${more.rating}` : type
    fill(
      delay,
      h("b", {}, milliseconds(listed - started)),
      ` from the ${name} of “${item.title ?? item.item_id}” to the ${changed ? "changed" : "next"} list: `,
      `${milliseconds(recorded - started)} until it was on disk, ${milliseconds(listed - recorded)} for the list. `,
      changed ? "" : "It did not change what is best for this user.",
    )
    delay.hidden = false
    delay.dataset.changed = changed
    delay.dataset.delayMs = listed - started
    await refresh()
  }

  function column(result, before, variant) {
    if (result.error) return failure(result.error, refresh)
    const { answer } = result
    const old = new Map((before?.answer?.recommendations ?? []).map((entry) => [entry.item_id, entry.rank]))
    const top = Math.max(...answer.recommendations.map((entry) => Math.abs(entry.score)), 1e-9)
    return h(
      "div",
      { dataset: { variant: answer.variant } },
      h(
        "div",
        { class: "card-head" },
        h("h2", {}, variant === null ? "Recommended" : words(variant)),
        h(
          "div",
          { class: "buttons" },
          answer.degraded && badge("degraded", "bad", "the online store does not answer"),
          answer.cold_start && badge("nothing known of the user yet", "warn"),
          answer.experiment && badge(`experiment ${answer.experiment}`, "accent"),
          badge(answer.variant, "quiet", "variant or model slot"),
          badge(answer.cache_hit ? "from the cache" : "made anew"),
          badge(`${amount(answer.latency_ms)} ms inside`, "quiet"),
        ),
      ),
      h("p", { class: "small muted" }, "Model ", h("code", {}, answer.model_version ?? "none")),
      answer.recommendations.length
        ? h("ol", { class: "items" }, answer.recommendations.map((entry) => line(entry, answer, old, top)))
        : empty("No title is left under these filters."),
    )
  }

  function line(entry, answer, old, top) {
    const name = entry.title ?? `item ${entry.item_id}`
    return h(
      "li",
      { class: old.size && !old.has(entry.item_id) ? "fresh" : null, dataset: { item: entry.item_id } },
      h("span", { class: "rank" }, entry.rank),
      h(
        "div",
        {},
        h("p", { class: "title" }, name),
        h(
          "p",
          { class: "line" },
          h(
            "span",
            { class: "score" },
            h("meter", { min: "0", max: top, value: Math.max(0, entry.score), "aria-hidden": "true" }),
            h("span", {}, h("span", { class: "visually-hidden" }, "score "), fixed(entry.score, 3)),
          ),
          badge(words(entry.source), entry.source === "exploration" ? "warn" : "accent", SOURCES[entry.source]),
          entry.genres.length ? h("span", {}, entry.genres.join(", ")) : null,
          moved(old, entry),
        ),
        entry.reason?.length
          ? h("p", { class: "line" }, `Because of ${entry.reason.map((r) => `${r.title ?? r.item_id} (${percent(r.share, 0)})`).join(", ")}`)
          : null,
      ),
      actions(entry, name, answer.recommendation_id),
    )
  }

  function actions(item, name, recommendationId = null) {
    const button = (label, type) =>
      actionButton(label, () => act(item, type, {}, recommendationId), { class: "slim", "aria-label": `${label}: ${name}` })
    const rate = h(
      "select",
      {
        class: "slim",
        "aria-label": `Rate: ${name}`,
        onchange: async () => {
          const rating = Number(rate.value)
          rate.value = ""
          try {
            await act(item, "rating", { rating }, recommendationId)
          } catch (error) {
            announce(error.message, "bad")
          }
        },
      },
      h("option", { value: "" }, "Rate"),
      [5, 4, 3, 2, 1].map((stars) => h("option", { value: stars }, `${stars} of 5`)),
    )
    return h(
      "div",
      { class: "buttons" },
      button("Like", "like"),
      button("Click", "click"),
      rate,
      button("Dislike", "dislike"),
      h("button", { type: "button", class: "slim", "aria-label": `Similar: ${name}`, onclick: () => showSimilar(item, name) }, "Similar"),
    )
  }

  function showSimilar(item, name) {
    return details(`Similar to ${name}`, async () => {
      const answer = await get(`/api/v1/items/${encodeURIComponent(item.item_id)}/similar?limit=15`)
      if (!answer.items.length) return empty("The model knows none.")
      return h(
        "div",
        { class: "scroll" },
        h(
          "table",
          {},
          h("thead", {}, h("tr", {}, [unseen("Rank"), "Title", "Categories"].map((text) => h("th", { scope: "col" }, text)), h("th", { scope: "col", class: "numeric" }, "Cosine"))),
          h(
            "tbody",
            {},
            answer.items.map((row) =>
              h(
                "tr",
                {},
                h("td", { class: "muted" }, row.rank),
                h("th", { scope: "row" }, row.title ?? `item ${row.item_id}`),
                h("td", { class: "small muted" }, row.genres.join(", ")),
                h("td", { class: "numeric" }, fixed(row.similarity, 3)),
              ),
            ),
          ),
        ),
      )
    })
  }

  async function findTitles() {
    const words = search.value.trim()
    if (!words) return fill(found)
    try {
      const answer = await get(`/api/v1/items?query=${encodeURIComponent(words)}&shown=recommendable&limit=6`)
      if (search.value.trim() !== words) return undefined
      if (!answer.items.length) return fill(found, h("li", {}, empty("No title has these words.")))
      return fill(
        found,
        answer.items.map((item) => h("li", { class: "field" }, h("span", {}, item.title), actions(item, item.title))),
      )
    } catch (error) {
      return fill(found, h("li", {}, failure(error)))
    }
  }

  function drawCategories(all) {
    const names = Object.keys(all)
    if (!names.length) return fill(categories, empty("The catalogue names none."))
    return fill(categories, names.map((name) => categoryButton(name, all[name])))
  }

  function categoryButton(name, number) {
    const button = h("button", { type: "button", "aria-pressed": "false", title: `${count(number)} titles` }, name)
    button.addEventListener("click", () => {
      if (state.include.delete(name)) state.exclude.add(name)
      else if (!state.exclude.delete(name)) state.include.add(name)
      const without = state.exclude.has(name)
      button.setAttribute("aria-pressed", state.include.has(name) || without)
      button.setAttribute("aria-label", without ? `without ${name}` : name)
      button.classList.toggle("excluded", without)
      refresh()
    })
    return button
  }

  /** One column for the user's own list, or one for each variant of the running experiment. */
  function useVariants(names) {
    if (names.join() === variants.filter(Boolean).join()) return
    variants = names.length ? names : [null]
    state.answers = []
    refresh()
  }

  get("/api/v1/categories").then(drawCategories, (error) => fill(categories, failure(error)))
  // The first snapshot says whether there are columns to fill; without one, the user's own list is asked for anyway.
  const patience = setTimeout(refresh, 2000)

  return {
    unmount: () => clearTimeout(patience),
    update(snapshot) {
      const running = snapshot.split?.experiments.find((one) => one.status === "running")
      useVariants(running ? running.variants.map((one) => one.name) : [])
      if (!state.asking) refresh()
      clearTimeout(patience)
    },
  }
}

/** How far an entry moved since the list before, as text. */
function moved(old, entry) {
  if (!old.size) return null
  const before = old.get(entry.item_id)
  if (before === undefined) return h("span", { class: "moved" }, "new")
  if (before === entry.rank) return null
  const up = before > entry.rank
  return h("span", { class: up ? "moved" : "moved down" }, `${up ? "up" : "down"} from ${before}`)
}

function ids(result) {
  return (result?.answer?.recommendations ?? []).map((entry) => entry.item_id)
}

async function settled(promise) {
  try {
    return { answer: await promise }
  } catch (error) {
    return { error }
  }
}

/** The number where the text is one: the data set's own ids are numbers, and both name the same user. */
function idOf(text) {
  return /^(0|[1-9]\d{0,14})$/.test(text) ? Number(text) : text
}

function newUser() {
  return `visitor-${Array.from(crypto.getRandomValues(new Uint8Array(4)), (n) => n.toString(16).padStart(2, "0")).join("")}`
}

function debounced(action, ms) {
  let timer
  return () => {
    clearTimeout(timer)
    timer = setTimeout(action, ms)
  }
}
