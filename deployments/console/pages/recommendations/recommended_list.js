// One list as it was answered: where each title comes from, why, and how far it moved.

import { badge, empty, h } from "/console/parts/elements.js"
import { amount, fixed, nameOf, percent, words } from "/console/parts/format.js"

const SOURCES = {
  fold_in: "from the history, solved at this request",
  trained: "the vector of the last training",
  category: "too new for the model: scored by its categories",
  trending: "what gains interest now",
  popular: "what most people like",
  newest: "just added",
  repeat: "had before, and due again",
  follows: "comes after what was taken up last",
  sequence: "by the order of your latest events",
  neighbour: "liked by those who like the same",
  near: "taken up by others within minutes of your latest",
  exploration: "drawn at random, to learn from",
}

/**
 * The list as nodes. `before`: the answer that it follows, to say what moved; `actions(entry)`: what stands beside a title;
 * `link(entry)`: the address of a title.
 */
export function listOf(answer, { heading = null, before = null, actions = null, link = null } = {}) {
  const old = new Map((before?.recommendations ?? []).map((entry) => [entry.item_id, entry.rank]))
  const top = Math.max(...answer.recommendations.map((entry) => Math.abs(entry.score)), 1e-9)
  return h(
    "div",
    { dataset: { variant: answer.variant } },
    h(
      "div",
      { class: "card-head" },
      heading && h("h2", {}, heading),
      h(
        "div",
        { class: "buttons" },
        answer.recommendation_id === null && !answer.degraded && badge("preview", "quiet", "counted nowhere"),
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
      ? h("ol", { class: "items" }, answer.recommendations.map((entry) => line(entry, { old, top, actions, link })))
      : empty("No title is left under these filters."),
  )
}

function line(entry, { old, top, actions, link }) {
  const reasons = entry.reason ?? []
  return h(
    "li",
    { class: old.size && !old.has(entry.item_id) ? "fresh" : null, dataset: { item: entry.item_id } },
    h("span", { class: "rank" }, entry.rank),
    h(
      "div",
      {},
      h("p", { class: "title" }, link ? h("a", { href: link(entry) }, nameOf(entry)) : nameOf(entry)),
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
        entry.genres?.length ? h("span", {}, entry.genres.join(", ")) : null,
        moved(old, entry),
      ),
      reasons.length
        ? h("p", { class: "line" }, `Because of ${reasons.map((one) => `${nameOf(one)} (${percent(one.share, 0)})`).join(", ")}`)
        : null,
    ),
    actions && actions(entry),
  )
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
