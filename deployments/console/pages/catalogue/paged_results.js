// What a list of the catalogue shows below its fields: the total, one page of rows, and the way to the next page.

import { empty, failure, fill, h } from "/console/parts/elements.js"
import { count } from "/console/parts/format.js"
import { pager } from "/console/catalogue/catalogue_api.js"

/**
 * @param address of the list, without its query
 * @param noun what the rows are, one and many, as ["item", "items"]; the second names the rows in the answer, and the schema
 * @param place gives what the fields ask for, as URLSearchParams
 * @param ask gets one page of the API
 * @param schemas a promise of the schemas
 * @param tableOf makes the table of rows and a schema
 * @param none the words where nothing is found, and where there is nothing at all
 */
export function pagedResults({ address, noun: [one, many], place, ask, schemas, tableOf, none: [notFound, nothing] }) {
  const results = h("div", {}, h("p", { class: "loading" }, "Loading"))
  const total = h("p", { class: "small muted", role: "status" })
  const pages = h("div", {})
  let asked = 0

  async function load() {
    const mine = ++asked
    const cursor = new URLSearchParams(location.hash.split("?")[1] ?? "").get("cursor")
    results.setAttribute("aria-busy", "true")
    try {
      const [answer, schema] = await Promise.all([ask({ ...Object.fromEntries(place()), ...(cursor ? { cursor } : {}) }), schemas])
      if (mine !== asked) return
      fill(total, `${count(answer.total)} ${answer.total === 1 ? one : many}`)
      fill(results, answer[many].length ? tableOf(answer[many], schema[many]) : empty(place().size ? notFound : nothing))
      fill(pages, pager(address, place(), cursor, answer.next_cursor))
    } catch (error) {
      if (mine !== asked) return
      fill(total)
      fill(pages)
      fill(results, failure(error, load))
    } finally {
      if (mine === asked) results.removeAttribute("aria-busy")
    }
  }

  /** The fields' place becomes the address, and is asked for. */
  function changed() {
    const found = place().toString()
    window.history.replaceState(null, "", found ? `${address}?${found}` : address)
    load()
  }

  return { parts: [total, results, pages], load, changed, stop: () => (asked += 1) }
}
