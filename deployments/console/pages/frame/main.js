// The frame: which page is shown, the theme, the state of the connection.

import { failure, fill, h, setText } from "/console/parts/elements.js"
import { capital, clock } from "/console/parts/format.js"
import { identify, showKey } from "/console/frame/key.js"
import { Ticks } from "/console/frame/ticks.js"
import { remember } from "/console/frame/series.js"

const PAGES = {
  overview: () => import("/console/overview/overview.js"),
  recommendations: () => import("/console/recommendations/recommendations.js"),
  experiments: () => import("/console/experiments/experiments.js"),
  models: () => import("/console/models/models.js"),
  catalogue: () => import("/console/catalogue/catalogue.js"),
  data: () => import("/console/data/data.js"),
  access: () => import("/console/access/access.js"),
}
const WITH_PLACES = new Set(["catalogue"]) // pages with addresses below their own
const main = document.getElementById("main")
const WITHOUT_ADMIN = "recommendations"
let admin = true
let shown = null // { name, page, mounted }
let turn = 0
let away = false // no answer since the last one

const ticks = new Ticks(
  (snapshot, receivedAt) => {
    // A module that failed to load may stay failed until the document is loaded anew.
    if (shown?.missing) location.reload()
    remember(snapshot, receivedAt)
    showHealth(snapshot)
    update(snapshot)
  },
  showState,
)

/** `#/catalogue/item/7?tab=1` -> {name: "catalogue", rest: ["item", "7"], query}; the name is null where there is no such page. */
function place() {
  const [path, text = ""] = location.hash.replace(/^#\/?/, "").split("?")
  const [first, ...rest] = path.split("/").map(decoded)
  const name = first || "overview"
  const query = new URLSearchParams(text)
  if (!Object.hasOwn(PAGES, name) || (rest.length && !WITH_PLACES.has(name))) return { name: null, rest, query }
  return admin ? { name, rest, query } : { name: WITHOUT_ADMIN, rest: [], query }
}

function decoded(part) {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // a person typed a % that stands for itself
  }
}

/** Show the page of the address. `again`: it stands there already, and what it could not load is asked for anew. */
async function show(again = false) {
  if (location.hash && !location.hash.startsWith("#/")) return
  const { name, rest, query } = place()
  // A page that follows its address keeps what it shows beside that.
  if (!again && name !== null && shown?.name === name && shown.mounted?.go) return shown.mounted.go(query, rest)
  const mine = ++turn
  for (const link of document.querySelectorAll("nav [data-page]")) {
    if (link.dataset.page !== name) link.removeAttribute("aria-current")
    else {
      link.setAttribute("aria-current", "page")
      link.scrollIntoView({ block: "nearest", inline: "nearest" }) // on a phone the pages' names do not all fit
    }
  }
  const first = shown === null
  shown?.mounted?.unmount?.()
  shown = { name }
  if (name === null) return showNoPage(first)
  let page
  try {
    page = await PAGES[name]()
  } catch (error) {
    if (mine !== turn) return
    shown.missing = true
    const why = "This page could not be loaded: the server does not answer. It comes by itself as soon as it does."
    fill(main, h("p", { class: "failure", role: "alert", title: error.message }, why))
    return
  }
  if (mine !== turn) return // another page was asked for meanwhile
  document.title = `${page.title} · Raycommend`
  const heading = h("h1", { tabindex: "-1" }, page.title)
  const content = h("div", { class: `page ${name}` })
  fill(main, h("div", { class: "page-head" }, heading, h("p", {}, page.about)), content)
  shown.mounted = page.mount(content, query, rest)
  // A screen reader follows to the new page; the first page is where it starts anyway.
  if (!first && !again) heading.focus({ preventScroll: true })
  if (!again) window.scrollTo(0, 0)
  if (ticks.snapshot) update(ticks.snapshot)
}

function showNoPage(first) {
  document.title = "No such page · Raycommend"
  const heading = h("h1", { tabindex: "-1" }, "There is no such page")
  const home = admin ? "overview" : WITHOUT_ADMIN
  const lines = [h("code", {}, location.hash), " names no page of this console. Go to ", h("a", { href: `#/${home}` }, capital(home)), " or to another page above."]
  fill(main, h("div", { class: "page-head" }, heading, h("p", {}, lines)))
  if (!first) heading.focus({ preventScroll: true })
}

function update(snapshot) {
  shown?.mounted?.update?.(snapshot)
}

function showHealth(snapshot) {
  const { status, components } = snapshot.health
  const badge = document.getElementById("health")
  const troubled = Object.entries(components).filter(([, component]) => component.status !== "ok")
  const kind = { ok: "good", degraded: "warn", down: "bad" }[status]
  badge.className = `badge ${kind}`
  badge.title = troubled.map(([name, component]) => `${name}: ${component.detail}`).join("\n") || "every component is well"
  setText(badge, status === "ok" ? "all well" : `${status}: ${troubled.map(([name]) => name).join(", ")}`)
}

function showState({ failing, since, error }) {
  const badge = document.getElementById("stale")
  document.body.classList.toggle("is-stale", failing)
  badge.hidden = !failing
  const back = away && !failing
  away = failing
  if (back && main.querySelector(".failure")) show(true)
  if (!failing) return
  badge.title = error.message
  setText(badge, since ? `stale since ${clock(since)}` : "no answer")
  const health = document.getElementById("health")
  health.className = "badge"
  health.title = error.message
  setText(health, since ? "health unknown" : error.message)
}

function themeNow() {
  const chosen = document.documentElement.dataset.theme
  return chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")
}

function labelTheme() {
  const button = document.getElementById("theme")
  const other = themeNow() === "dark" ? "light" : "dark"
  button.setAttribute("aria-label", `Change to the ${other} theme`)
  button.title = button.getAttribute("aria-label")
  setText(button, other === "dark" ? "☾" : "☀")
}

document.getElementById("theme").addEventListener("click", () => {
  const theme = themeNow() === "dark" ? "light" : "dark"
  document.documentElement.dataset.theme = theme
  try {
    localStorage.setItem("theme", theme)
  } catch {
    // storage is forbidden: the choice holds until the page is left
  }
  labelTheme()
  window.dispatchEvent(new CustomEvent("theme"))
})
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  labelTheme()
  window.dispatchEvent(new CustomEvent("theme"))
})
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault() // the address names the page
  main.focus()
})
/** With a key that is no administrator's there is one page, and no snapshot to ask for. */
async function begin() {
  const key = await identify()
  admin = key.scopes.includes("admin")
  showKey(document.getElementById("key"), key)
  if (!admin) {
    for (const link of document.querySelectorAll("nav [data-page]")) link.hidden = link.dataset.page !== WITHOUT_ADMIN
    document.getElementById("health").hidden = true
  }
  window.addEventListener("hashchange", () => show())
  await show()
  if (!admin) return
  ticks.now()
  // So that a change of the page asks for nothing more; one that fails now is tried again when it is wanted.
  for (const load of Object.values(PAGES)) load().catch(() => {})
}

labelTheme()
begin().catch((error) => fill(main, failure(error, () => location.reload())))
