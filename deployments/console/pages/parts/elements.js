// Building the page. Text is always a text node, never markup: a title may hold anything a user can type.

/**
 * An element. `properties`: `class`, `on...` handlers, `dataset`, and attributes; null, undefined and false leave one
 * out. `children`: nodes, texts, numbers, arrays of these; null and false are skipped.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (name === "dataset") Object.assign(element.dataset, value)
    else element.setAttribute(name, value === true ? "" : value)
  }
  element.append(...nodes(children))
  return element
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))))
}

/** Put other children in the place of all there are. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children))
  return element
}

/** Change a text only where it differs: an untouched node keeps a selection, and nothing is read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** A function that calls `draw(value)` when the value differs from the last one, by its JSON. */
export function onChange(draw) {
  let last
  return (value) => {
    const text = JSON.stringify(value)
    if (text === last) return
    last = text
    draw(value)
  }
}

/** Text for screen readers alone. */
export function unseen(text) {
  return h("span", { class: "visually-hidden" }, text)
}

/** A badge: its text says it, its colour repeats it. */
export function badge(text, kind = "quiet", title = null) {
  return h("span", { class: `badge ${kind}`, title }, text)
}

/** A card with a heading. */
export function card(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children)
}

export function empty(...children) {
  return h("p", { class: "empty" }, ...children)
}

/** What to show where a request failed, with a way to try again. */
export function failure(error, again = null) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", {}, error.message || String(error)),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  )
}

/** Say something to everyone: shown for a while, read out by screen readers. */
export function announce(text, kind = "quiet") {
  const toast = h("p", { class: `toast ${kind}` }, text)
  const all = document.getElementById("announcements")
  all.append(toast)
  while (all.children.length > 3) all.firstChild.remove()
  setTimeout(() => toast.remove(), 8000)
}

/** A button that is disabled and marked busy while its action runs. */
export function actionButton(label, action, properties = {}) {
  const button = h("button", { type: "button", ...properties }, label)
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true") return
    button.setAttribute("aria-busy", "true")
    try {
      await action()
    } catch (error) {
      announce(error.message || String(error), "bad")
    } finally {
      button.removeAttribute("aria-busy")
    }
  })
  return button
}

/** A function that runs `action` once nothing has called it for `ms`; `cancel()` forgets a call that waits. */
export function debounced(action, ms) {
  let timer
  const later = () => {
    clearTimeout(timer)
    timer = setTimeout(action, ms)
  }
  later.cancel = () => clearTimeout(timer)
  return later
}

/** Names and values; what is null is left out. */
export function facts(...pairs) {
  const known = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined)
  return h("dl", { class: "facts" }, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))
}

/**
 * A table of `rows`. `columns`: {name, cell(row), numeric, head}; one that has nothing to say of any row is left out.
 * `head` marks the column that names the row.
 */
export function table(caption, columns, rows) {
  const cells = rows.map((row) => columns.map((column) => column.cell(row)))
  const nothing = (value) => value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length)
  const used = columns.map((_, n) => n).filter((n) => columns[n].head || cells.some((row) => !nothing(row[n])))
  const kind = (n) => (columns[n].numeric ? "numeric" : null)
  const title = ({ name, unseen: quiet }) => (quiet ? unseen(name) : name)
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, used.map((n) => h("th", { scope: "col", class: kind(n) }, title(columns[n]))))),
      h(
        "tbody",
        {},
        cells.map((row) => h("tr", {}, used.map((n) => (columns[n].head ? h("th", { scope: "row" }, row[n]) : h("td", { class: kind(n) }, row[n]))))),
      ),
    ),
  )
}
