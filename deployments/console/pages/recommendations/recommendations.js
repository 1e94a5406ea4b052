// Recommendations: ask for a user, act on a title, watch the list change, with the delay measured.

import { get, post } from "/console/frame/api.js"
import { card, debounced, empty, failure, fill, h } from "/console/parts/elements.js"
import { milliseconds, nameOf, words } from "/console/parts/format.js"
import { newUser, question } from "/console/recommendations/question.js"
import { listOf } from "/console/recommendations/recommended_list.js"
import { actionsOf } from "/console/recommendations/title_actions.js"
import { pastOf } from "/console/recommendations/user_history.js"

export const title = "Recommendations"
export const about = "Ask as any user, known or new: first only to look, and live to like, click or rate a title, so that the next list follows from it."

const PREVIEW = "Preview: these are the lists that the user would get now. Nothing is sent or counted: no exposure, no event."
const LIVE = "Live: every list asked for here is logged as shown to this user and counts in experiments and live quality. "
const LIVE_VARIANTS = "Live: every list asked for here is logged as shown to this user; one asked for by its variant, as here, counts in no experiment. "
const EVENTS =
  "Likes, clicks and ratings are events of this user: they change what the user gets, and models learn from them."

export function mount(root, query) {
  const state = { user: null, answers: [], asking: 0, types: undefined }
  const history = h("div", {}, empty("Loading"))
  const lists = h("div", { class: "variants" }, h("p", { class: "loading" }, "Loading"))
  const found = h("ul", { class: "suggestions" })
  const search = h("input", { id: "search", type: "search", placeholder: "Words of a title", autocomplete: "off" })
  const delay = h("p", { class: "note delay", role: "status", hidden: true })
  const mode = h("p", { class: "note", id: "mode", role: "status" })
  const form = question({
    onUser: (user) => choose(user),
    onLive: () => {
      window.history.replaceState(null, "", address())
      showMode()
      delay.hidden = true
      refresh()
    },
    onChange: () => refresh(),
  })
  let variants = [null]

  root.append(
    form.element,
    h(
      "div",
      { class: "try" },
      h(
        "div",
        { class: "page" },
        card("History", history),
        card("Any title", h("label", { for: "search" }, "Find a title"), search, found),
      ),
      h("section", { class: "card", "aria-label": "Recommended" }, mode, delay, lists),
    ),
  )
  const findLater = debounced(findTitles, 250)
  search.addEventListener("input", findLater)

  function address() {
    const place = new URLSearchParams({ user: state.user })
    if (form.live) place.set("live", "1")
    return `#/recommendations?${place}`
  }

  function showMode() {
    mode.className = form.live ? "note warn" : "note"
    const live = variants[0] === null ? LIVE : LIVE_VARIANTS
    fill(mode, form.live ? live + EVENTS : PREVIEW)
  }

  /** Another user has an address of its own, so that Back leads to the one before. */
  function choose(user) {
    state.user = user
    if (location.hash === address()) show()
    else location.hash = address()
  }

  /** What the address says. */
  function go(asked) {
    state.user = asked.get("user") || state.user
    form.live = asked.get("live") === "1"
    showMode()
    show()
  }

  function show() {
    form.user = state.user
    delay.hidden = true
    state.answers = []
    refresh()
  }

  function request(variant) {
    const asked = { user_id: idOf(state.user), explain: true, preview: !form.live, ...form.content() }
    return variant === null ? asked : { ...asked, force_variant: variant }
  }

  /** Ask for all columns, and for the history. An answer that comes after a newer question is dropped. */
  async function refresh(first = null) {
    if (state.user === null) return
    const mine = ++state.asking
    lists.setAttribute("aria-busy", "true")
    const before = state.answers
    const ask = (variant, n) => (n === 0 && first ? { answer: first } : settled(post("/api/v1/recommend", request(variant))))
    const [answers, past] = await Promise.all([
      Promise.all(variants.map(ask)),
      settled(get(`/api/v1/users/${encodeURIComponent(state.user)}`)),
    ])
    if (mine !== state.asking || !lists.isConnected) return
    lists.removeAttribute("aria-busy")
    state.answers = answers
    fill(lists, answers.map((answer, n) => column(answer, before[n], variants[n])))
    fill(history, pastOf(past))
  }

  function column(result, before, variant) {
    if (result.error) return failure(result.error, () => refresh())
    const { answer } = result
    return listOf(answer, {
      heading: variant === null ? "Recommended" : words(variant),
      before: before?.answer,
      actions: (entry) => actions(entry, answer.recommendation_id),
    })
  }

  function actions(item, recommendationId = null) {
    return actionsOf(item, state.types, (type, more) => act(item, type, more, recommendationId))
  }

  /** Send an event and ask again; what is shown is the time from sending the one to having the other. */
  async function act(item, type, more = {}, recommendationId = null) {
    const name = type === "rating" ? `rating ${more.rating}` : words(type)
    delay.hidden = false
    if (!form.live) {
      delete delay.dataset.changed
      fill(delay, `This is a preview: the ${name} of “${nameOf(item)}” was not sent. Switch to live, and it is.`)
      return
    }
    const before = ids(state.answers[0]?.answer)
    const started = performance.now()
    const event = { user_id: idOf(state.user), item_id: item.item_id, event_type: type, ...more }
    if (recommendationId) event.recommendation_id = recommendationId
    await post("/api/v1/events", event)
    const recorded = performance.now()
    const answer = await post("/api/v1/recommend", request(variants[0]))
    const listed = performance.now()
    const changed = JSON.stringify(ids(answer)) !== JSON.stringify(before)
    fill(
      delay,
      h("b", {}, milliseconds(listed - started)),
      ` from the ${name} of “${nameOf(item)}” to the ${changed ? "changed" : "next"} list: `,
      `${milliseconds(recorded - started)} until it was on disk, ${milliseconds(listed - recorded)} for the list. `,
      changed ? "" : "It did not change what is best for this user.",
    )
    delay.dataset.changed = changed
    delay.dataset.delayMs = listed - started
    await refresh(answer)
  }

  async function findTitles() {
    const text = search.value.trim()
    if (!text) return fill(found)
    try {
      const answer = await get(`/api/v1/items?query=${encodeURIComponent(text)}&shown=recommendable&limit=6`)
      if (search.value.trim() !== text) return undefined
      if (!answer.items.length) return fill(found, h("li", {}, empty("No title has these words.")))
      return fill(
        found,
        answer.items.map((item) => h("li", { class: "field" }, h("span", {}, nameOf(item)), actions(item))),
      )
    } catch (error) {
      return fill(found, h("li", {}, failure(error)))
    }
  }

  /** One column for the user's own list, or one for each variant of the running experiment. */
  function useVariants(names) {
    if (names.join() === variants.filter(Boolean).join()) return
    variants = names.length ? names : [null]
    state.answers = []
    showMode()
    if (state.asking) refresh()
  }

  // Both decide what the first list looks like; without a snapshot, the user's own list is asked for anyway.
  const begun = Promise.all([query.get("user") ?? someUser(), eventTypes()]).then(([user, types]) => {
    state.types = types
    state.user = user
  })
  let patience = setTimeout(begin, 2000)

  async function begin() {
    clearTimeout(patience)
    if (patience === null) return
    patience = null
    await begun
    if (lists.isConnected) go(new URLSearchParams(location.hash.split("?")[1] ?? ""))
  }

  return {
    go,
    unmount() {
      clearTimeout(patience)
      findLater.cancel()
    },
    update(snapshot) {
      const running = snapshot.split?.experiments.find((one) => one.status === "running")
      useVariants(running ? running.variants.map((one) => one.name) : [])
      begin()
    },
  }
}

/** A user that the store knows; where there is none, or this key may not look, a new one. */
async function someUser() {
  const { answer } = await settled(get("/api/v1/users?limit=1"))
  const known = answer?.users?.[0]
  return known ? String(known.user_id) : newUser()
}

/** The types of events that the data set holds; null where that is not known. */
async function eventTypes() {
  const { answer } = await settled(get("/api/v1/data"))
  const names = Object.keys(answer?.event_types ?? {})
  return names.length ? names : null
}

function ids(answer) {
  return (answer?.recommendations ?? []).map((entry) => entry.item_id)
}

async function settled(promise) {
  try {
    return { answer: await promise }
  } catch (error) {
    return { error }
  }
}

/** The number where the text is one: a data set's own ids may be numbers, and both name the same user. */
function idOf(text) {
  return /^(0|[1-9]\d{0,14})$/.test(text) ? Number(text) : text
}
