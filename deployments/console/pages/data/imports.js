// Files that were imported, and which of their rows were refused and why.

import { badge, empty, h, table } from "/console/parts/elements.js"
import { ago, count, dateTime } from "/console/parts/format.js"

export function importsOf(found) {
  if (!found.length) return empty("No file was imported beside the data set: python -m jobs.import_events FILE")
  return [
    table(
      "Imported files, the latest first",
      [
        { name: "File", head: true, cell: (one) => one.name },
        { name: "Worked on", cell: (one) => h("span", { title: dateTime(one.at) }, ago(one.at)) },
        { name: "Rows", numeric: true, cell: (one) => count(one.rows) },
        { name: "Recorded", numeric: true, cell: (one) => count(one.recorded) },
        { name: "Duplicates", numeric: true, cell: (one) => (one.duplicates ? count(one.duplicates) : null) },
        { name: "Refused", numeric: true, cell: (one) => (one.refused ? count(one.refused) : null) },
        { name: "State", cell: (one) => (one.finished ? badge("finished", "good") : badge("not finished", "warn", "start the import again, and it goes on")) },
      ],
      found,
    ),
    found.filter((one) => one.refused).map(refusals),
  ]
}

function refusals(one) {
  const left = one.refused - one.first_refused.length
  return h(
    "details",
    {},
    h("summary", {}, `${count(one.refused)} refused ${one.refused === 1 ? "row" : "rows"} of ${one.name}`),
    table(
      `Refused rows of ${one.name}`,
      [
        { name: "Row", head: true, cell: (row) => row.row },
        { name: "Field", cell: (row) => row.field },
        { name: "Reason", cell: (row) => row.reason },
      ],
      one.first_refused,
    ),
    h("p", { class: "small muted" }, left > 0 ? `${count(left)} more are in ` : "All are in ", h("code", { class: "path" }, one.report)),
  )
}
