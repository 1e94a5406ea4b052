// Files that were imported, and which of their rows were refused and why.

import { badge, empty, h, table } from "/console/parts/elements.js"
import { ago, count, dateTime } from "/console/parts/format.js"

const number = (value) => (value ? count(value) : null)

export function importsOf(found) {
  if (!found.length) return empty("No import left a record. Files of events come in by python -m jobs.import_events FILE")
  return [
    table(
      "Imports, the latest first",
      [
        { name: "Import", head: true, cell: (one) => one.name },
        { name: "Worked on", cell: (one) => h("span", { title: dateTime(one.at) }, ago(one.at)) },
        { name: "Rows", numeric: true, cell: (one) => (one.rows === null ? null : count(one.rows)) },
        { name: "Recorded", numeric: true, cell: (one) => (one.recorded === null ? null : count(one.recorded)) },
        { name: "Duplicates", numeric: true, cell: (one) => number(one.duplicates) },
        { name: "Refused", numeric: true, cell: (one) => number(one.refused) },
        { name: "State", cell: state },
      ],
      found,
    ),
    found.filter((one) => one.first_refused.length).map(refusals),
  ]
}

function state({ finished }) {
  if (finished === null) return badge("rows refused", "warn", "its report names them")
  return finished ? badge("finished", "good") : badge("not finished", "warn", "start the import again, and it goes on")
}

function refusals(one) {
  const left = (one.refused ?? 0) - one.first_refused.length
  return h(
    "details",
    {},
    h("summary", {}, one.refused === null ? `Refused rows of ${one.name}` : `${count(one.refused)} refused ${one.refused === 1 ? "row" : "rows"} of ${one.name}`),
    table(
      `Refused rows of ${one.name}`,
      [
        { name: "File", cell: (row) => row.file },
        { name: "Row", head: true, cell: (row) => row.row },
        { name: "Field", cell: (row) => row.field },
        { name: "Reason", cell: (row) => row.reason },
      ],
      one.first_refused,
    ),
    h("p", { class: "small muted" }, left > 0 ? `${count(left)} more are in ` : "All are in ", h("code", { class: "path" }, one.report)),
  )
}
