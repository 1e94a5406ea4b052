// The newest events, as they come in: asked for once a second while somebody looks.

import { get } from "/console/frame/api.js"
import { badge, empty, failure, fill, h, onChange, table } from "/console/parts/elements.js"
import { clock, dateTime, nameOf, words } from "/console/parts/format.js"

const SHOWN = 20

/** {element, poll(), unmount()}; `poll` asks once, unless it still asks, or a person has paused it or is in it. */
export function liveTail() {
  const rows = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const pause = h("button", { type: "button", class: "slim", "aria-pressed": "false", onclick: toggle }, "Pause")
  const known = new Map() // what a compaction took out of the streams meanwhile stays shown
  let asking = false
  let paused = false
  let gone = false
  const write = (events) => fill(rows, events.length ? tail(events) : empty("No event waits for the log. The next one is shown here within a second."))
  let draw = onChange(write)

  function toggle() {
    paused = !paused
    pause.setAttribute("aria-pressed", paused)
    if (!paused) poll()
  }

  async function poll() {
    // A link that has the focus would be taken from under the keyboard.
    if (asking || paused || gone || rows.contains(document.activeElement)) return
    asking = true
    try {
      const { events } = await get(`/api/v1/data/events?limit=${SHOWN}`)
      if (gone || paused) return
      for (const event of events.toReversed()) known.set(`${event.stream_id} ${event.user_id}`, event)
      const newest = [...known].sort(([, a], [, b]) => Date.parse(b.received) - Date.parse(a.received)).slice(0, SHOWN)
      known.clear()
      for (const [key, event] of newest.toReversed()) known.set(key, event)
      draw(newest.map(([, event]) => event))
    } catch (error) {
      if (gone) return
      fill(rows, failure(error, poll))
      draw = onChange(write) // what stood there is gone
    } finally {
      asking = false
    }
  }

  return {
    element: h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Events as they come in"), pause), rows),
    poll,
    unmount: () => (gone = true),
  }
}

function tail(events) {
  return table(
    "The newest events",
    [
      { name: "Came in", cell: (one) => h("time", { title: dateTime(one.received) }, clock(one.received)) },
      { name: "User", head: true, cell: (one) => h("a", { href: `#/catalogue/user/${encodeURIComponent(one.user_id)}` }, one.user_id) },
      { name: "Event", cell: (one) => words(one.event_type) },
      { name: "Value", numeric: true, cell: (one) => one.value },
      { name: "Item", cell: (one) => h("a", { href: `#/catalogue/item/${encodeURIComponent(one.item_id)}` }, nameOf(one)) },
      { name: "Kind", cell: (one) => (one.simulated ? badge("simulated", "warn") : null) },
    ],
    events,
  )
}
