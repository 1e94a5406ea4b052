// Data: what was imported, what was refused, how much comes in, and how fresh it is.

import { get } from "/console/frame/api.js"
import { card, empty, facts, failure, fill, h, onChange, setText, table } from "/console/parts/elements.js"
import { ago, bytes, count, dateTime, duration, percent, words } from "/console/parts/format.js"
import { schemas } from "/console/catalogue/catalogue_api.js"
import { importsOf } from "/console/data/imports.js"
import { liveTail } from "/console/data/live_tail.js"

export const title = "Data"
export const about = "What the platform learns from: the data set, files imported later, and the events that come in now."

const AGAIN_MS = 5000

export function mount(root) {
  const waiting = () => h("div", {}, h("p", { class: "loading" }, "Loading"))
  const [dataSet, schema, mapping, fresh, imports, kept] = Array.from({ length: 6 }, waiting)
  const mapCard = card("Map", mapping)
  const tail = liveTail()
  let asking = false
  let askedAt = 0
  let gone = false
  root.append(
    h("div", { class: "columns" }, card("Data set", dataSet), card("Freshness", fresh)),
    tail.element,
    h("div", { class: "columns" }, card("Schema", schema), mapCard),
    card("Imports", imports),
    card("What is kept", kept),
  )
  const draw = {
    dataSet: onChange((view) => fill(dataSet, dataSetFacts(view))),
    schema: onChange((found) => fill(schema, schemaTable(found))),
    mapping: onChange((found) => {
      mapCard.hidden = found === null
      fill(mapping, found && mapTable(found))
    }),
    imports: onChange((found) => fill(imports, importsOf(found))),
    kept: onChange((found) => fill(kept, keptTable(found))),
  }

  async function load() {
    if (asking) return
    asking = true
    try {
      const [view, found] = await Promise.all([get("/api/v1/data"), schemas()])
      if (gone) return
      const { data_set: set } = view
      draw.dataSet({ set, problem: view.problem, types: view.event_types, preset: view.preset })
      draw.schema(found)
      draw.mapping(view.mapping)
      draw.imports(view.imports)
      fill(fresh, freshness(view))
      askedAt = Date.now()
    } catch (error) {
      if (!gone && !askedAt) for (const place of [dataSet, schema, mapping, fresh, imports]) fill(place, empty("Not known while this fails."))
      if (!gone) fill(fresh, failure(error, load))
    } finally {
      asking = false
    }
  }

  load()
  return {
    update(snapshot) {
      draw.kept(snapshot.system?.kept ?? null)
      for (const line of fresh.querySelectorAll("time")) setText(line, ago(Number(line.dataset.ms)))
      tail.poll()
      if (Date.now() - askedAt > AGAIN_MS) load()
    },
    unmount() {
      gone = true
      tail.unmount()
    },
  }
}

function dataSetFacts({ set, problem, types, preset }) {
  if (!set) return [empty(`${problem[0].toUpperCase()}${problem.slice(1)}.`), facts(["Meaning of events", `preset ${preset}`])]
  const trusted = set.time_trusted
  return facts(
    ["Name", set.name],
    ["From", set.source],
    ["Events", count(set.n_interactions)],
    ["By type", Object.entries(types).map(([type, number]) => `${words(type)} ${count(number)}`).join(", ") || null],
    ["Users", `${count(set.n_users)}, ids are ${ID_TYPES[set.user_id_type]}`],
    ["Items", `${count(set.n_items)}, ids are ${ID_TYPES[set.item_id_type]}`],
    ["Span", trusted === false ? "its times cannot be trusted: nothing is judged in time order" : `${dateTime(set.first_ms)} to ${dateTime(set.last_ms)}`],
    ["Meaning of events", `preset ${set.preset ?? preset}`],
    ["Fingerprint", h("code", { title: set.fingerprint }, set.fingerprint.slice(0, 16))],
  )
}

const ID_TYPES = { int: "whole numbers", str: "texts" }

/** What the data set and the settings declare, as the catalogue has it. */
function schemaTable(found) {
  const rows = Object.entries({ item: found.items, user: found.users }).flatMap(([of, schema]) => Object.entries(schema).map(([name, type]) => ({ of, name, type })))
  if (!rows.length) return empty("Neither items nor users have attributes of their own, beside title, year and categories.")
  return table(
    "Attributes of items and users",
    [
      { name: "Attribute", head: true, cell: (row) => row.name },
      { name: "Of", cell: (row) => row.of },
      { name: "Type", cell: (row) => row.type },
    ],
    rows,
  )
}

/** The map as it was kept: a line for each value, named by its place. */
function mapTable(found) {
  const lines = (value, place) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return Object.entries(value).flatMap(([name, one]) => lines(one, [...place, name]))
    return [{ name: place.join(" "), value: Array.isArray(value) ? value.map(plain).join(", ") : plain(value) }]
  }
  return table(
    "Meanings and the columns that hold them",
    [
      { name: "Meaning", head: true, cell: (row) => row.name },
      { name: "Column or value", cell: (row) => row.value },
    ],
    lines(found, []),
  )
}

function plain(value) {
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value)
}

function freshness(view) {
  const { events, exposures } = view.streams
  const when = (time) => time && h("time", { dataset: { ms: Date.parse(time) }, title: dateTime(time) }, ago(time))
  const queue = ({ pending, lag_s: lag, used_bytes: used }) => (pending ? `${count(pending)}, the oldest ${duration(lag)} old, ${bytes(used)}` : "none")
  return facts(
    ["Events behind the features", count(view.events)],
    ["Newest event happened", when(view.last_event) ?? "no event yet"],
    ["Last event came in", when(view.last_arrival) ?? "none since the import"],
    ["Events waiting for the log", queue(events)],
    ["Lists waiting for the log", queue(exposures)],
    ["Event log", view.log.parts ? `${count(view.log.parts)} parts, ${bytes(view.log.used_bytes)}` : "empty"],
    ["Last compaction", when(view.log.last_compaction) ?? "none yet"],
  )
}

function keptTable(found) {
  if (found === null) return empty("The online store does not answer.")
  if (!found.length) return empty("Not measured yet: autopilot measures it.")
  return table(
    "Bytes by group, against their budgets",
    [
      { name: "Group", head: true, cell: (one) => one.group },
      { name: "Used", numeric: true, cell: (one) => bytes(one.used_bytes) },
      { name: "Budget", numeric: true, cell: (one) => (one.budget_bytes ? bytes(one.budget_bytes) : null) },
      { name: "Share", numeric: true, cell: (one) => (one.budget_bytes ? percent(one.used_bytes / one.budget_bytes) : null) },
    ],
    found,
  )
}
