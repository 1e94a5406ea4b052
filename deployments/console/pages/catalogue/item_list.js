// All items: found by words, by category, by an attribute, page by page.

import { get } from "/console/frame/api.js"
import { debounced, h, table } from "/console/parts/elements.js"
import { count, nameOf } from "/console/parts/format.js"
import { attributeColumns, itemLink, itemsOf, states } from "/console/catalogue/catalogue_api.js"
import { editItem } from "/console/catalogue/description_form.js"
import { pagedResults } from "/console/catalogue/paged_results.js"

const ADDRESS = "#/catalogue"
const SHOWN = { all: "all", recommendable: "not hidden", hidden: "hidden" }
const EXAMPLES = { flag: "true or false", time: "2024-05-01T10:00:00Z" }
const MOST_CATEGORIES = 2000

export function itemList(root, { query, schemas, focus }) {
  const search = h("input", { id: "item-query", type: "search", autocomplete: "off", maxlength: "200", placeholder: "Words of a title, or an id" })
  const category = h("select", { id: "item-category" }, h("option", { value: "" }, "any"))
  const attribute = h("select", { id: "item-attribute" }, h("option", { value: "" }, "any"))
  const value = h("input", { id: "item-value", autocomplete: "off", maxlength: "200" })
  const fields = { category: fieldOf("Category", category), attribute: fieldOf("Attribute", attribute), value: fieldOf("Value", value) }
  const shown = h("select", { id: "item-shown" }, Object.entries(SHOWN).map(([kind, text]) => h("option", { value: kind }, text)))
  const none = ["No item is found by this.", "The catalogue lists no item yet. Add one, or import some."]
  const list = pagedResults({ address: ADDRESS, noun: ["item", "items"], place, ask: itemsOf, schemas, tableOf, none })
  let types = {}
  for (const one of Object.values(fields)) one.hidden = true

  root.append(
    h(
      "section",
      { class: "card" },
      h(
        "div",
        { class: "card-head" },
        h("h2", { tabindex: "-1" }, "Items"),
        h("button", { type: "button", class: "primary", onclick: add }, "Add an item"),
      ),
      h("form", { class: "fields", role: "search", onsubmit: (event) => event.preventDefault() }, fieldOf("Find", search), Object.values(fields), fieldOf("Shown", shown)),
      list.parts,
    ),
  )

  /** What the fields ask for, as it stands in the address. */
  function place() {
    const found = new URLSearchParams()
    if (search.value.trim()) found.set("query", search.value.trim())
    if (category.value) found.set("category", category.value)
    if (attribute.value && value.value.trim()) found.set(`attribute.${attribute.value}`, value.value.trim())
    if (shown.value !== "all") found.set("shown", shown.value)
    return found
  }

  function read(address) {
    search.value = address.get("query") ?? ""
    choose(category, address.get("category") ?? "")
    shown.value = Object.hasOwn(SHOWN, address.get("shown")) ? address.get("shown") : "all"
    const [name, wanted] = [...address].find(([key]) => key.startsWith("attribute.")) ?? ["", ""]
    choose(attribute, name.replace("attribute.", ""))
    showValue()
    value.value = wanted
  }

  function showValue() {
    const type = types[attribute.value]
    fields.value.hidden = !attribute.value
    value.type = type === "number" ? "number" : "text"
    value.step = "any"
    value.placeholder = EXAMPLES[type] ?? ""
  }

  function tableOf(items, schema) {
    return table(
      "Items",
      [
        { name: "Title", head: true, cell: itemLink },
        { name: "Id", cell: (item) => (nameOf(item) === String(item.item_id) ? null : h("code", {}, item.item_id)) },
        { name: "Year", cell: (item) => item.year },
        { name: "Categories", cell: (item) => item.categories.join(", ") },
        ...attributeColumns(schema),
        { name: "State", cell: states },
      ],
      items,
    )
  }

  async function add() {
    const made = await editItem({ schema: (await schemas).items })
    if (made) location.hash = `#/catalogue/item/${encodeURIComponent(made.item_id)}`
  }

  const later = debounced(list.changed, 250)
  search.addEventListener("input", later)
  value.addEventListener("input", later)
  for (const select of [category, shown]) select.addEventListener("change", list.changed)
  attribute.addEventListener("change", () => {
    value.value = ""
    showValue()
    if (attribute.value) value.focus()
    list.changed()
  })
  Promise.allSettled([get("/api/v1/categories"), schemas]).then(([all, schema]) => {
    const names = Object.keys(all.value ?? {})
    fields.category.hidden = !names.length
    category.append(...names.slice(0, MOST_CATEGORIES).map((name) => h("option", { value: name }, `${name} (${count(all.value[name])})`)))
    types = schema.value?.items ?? {}
    const attributes = Object.keys(types)
    fields.attribute.hidden = !attributes.length
    attribute.append(...attributes.map((name) => h("option", { value: name }, name)))
    read(query)
    list.load()
  })
  if (focus) root.querySelector("h2").focus({ preventScroll: true })
  return {
    go(address) {
      read(address)
      list.load()
    },
    unmount: () => {
      later.cancel()
      list.stop()
    },
  }
}

function fieldOf(label, input) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input)
}

/** Choose an option; one that the list does not have is added, so that an address is never read as another one. */
function choose(select, value) {
  if (value && ![...select.options].some((one) => one.value === value)) select.append(h("option", { value }, value))
  select.value = value
}
