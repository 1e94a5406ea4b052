// Forms that describe an item or a user: an input for each attribute by its type, the server's refusal beside its field.

import { put } from "/console/frame/api.js"
import { confirm } from "/console/parts/dialogs.js"
import { announce, h } from "/console/parts/elements.js"
import { path } from "/console/catalogue/catalogue_api.js"

const LIST = "One a line"

/** Each makes an input for a value; `read(input)` gives what is sent, undefined for nothing. */
const INPUTS = {
  number: { make: (value) => h("input", { type: "number", step: "any", value }), read: (text) => Number(text) },
  text: { make: (value) => h("textarea", { rows: "3" }, value), read: (text) => text },
  keyword: { make: (value) => h("input", { value }), read: (text) => text },
  keywords: { make: (value) => h("textarea", { rows: "3", placeholder: LIST }, (value ?? []).join("\n")), read: lines },
  flag: {
    make: (value) => h("select", {}, [["", "not known"], ["true", "yes"], ["false", "no"]].map(([given, text]) => h("option", { value: given, selected: given === String(value ?? "") }, text))),
    read: (text) => text === "true",
  },
  time: {
    make: (value) => h("input", { type: "datetime-local", step: "1", value: value === undefined ? null : new Date(value).toISOString().slice(0, 19) }),
    read: (text) => (text.length === 16 ? `${text}:00Z` : `${text}Z`),
  },
}

function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean)
}

function labelled(name, label, input) {
  input.id = `describe-${name.replace(/\W/g, "-")}`
  const problem = h("p", { class: "small problem", id: `${input.id}-problem`, role: "alert", hidden: true })
  input.setAttribute("aria-describedby", problem.id)
  return { name, input, problem, element: h("div", { class: "field" }, h("label", { for: input.id }, label), input, problem) }
}

function attributeFields(schema, values) {
  return Object.entries(schema).map(([name, type]) => ({
    ...labelled(`attributes.${name}`, type === "time" ? `${name} (time, UTC)` : `${name} (${type})`, INPUTS[type].make(values[name])),
    attribute: name,
    read: INPUTS[type].read,
  }))
}

function attributesIn(fields) {
  const given = fields.filter((one) => one.attribute && one.input.value.trim() !== "")
  return Object.fromEntries(given.map((one) => [one.attribute, one.read(one.input.value)]))
}

/** Say beside the field what is wrong with it. Returns whether there is such a field. */
function mark(fields, error) {
  const wrong = fields.find(({ name }) => error.field === name || error.field?.startsWith(`${name}.`))
  for (const { input, problem } of fields) {
    problem.hidden = true
    input.removeAttribute("aria-invalid")
  }
  if (!wrong) return false
  wrong.problem.textContent = error.message
  wrong.problem.hidden = false
  wrong.input.setAttribute("aria-invalid", "true")
  wrong.input.focus()
  return true
}

/** Add an item, or change `item`. Resolves to what the server made of it; null where a person left it. */
export async function editItem({ item = null, schema }) {
  const values = item?.attributes ?? {}
  const id = labelled("item_id", "Id", h("input", { required: true, maxlength: "200", autocomplete: "off", spellcheck: "false" }))
  const title = labelled("title", "Title", h("input", { required: true, maxlength: "500", value: item?.title }))
  const categories = labelled("categories", "Categories", h("textarea", { rows: "3", placeholder: LIST }, item ? item.categories.join("\n") : ""))
  const year = labelled("year", "Year", h("input", { type: "number", step: "1", value: item?.year }))
  const hidden = labelled("hidden", "Hidden: recommended to nobody for now", h("input", { type: "checkbox", checked: item?.hidden }))
  const fields = [...(item ? [] : [id]), title, categories, year, ...attributeFields(schema, values), hidden]
  let made = null
  await confirm({
    title: item ? `Change ${title.input.value}` : "Add an item",
    lines: [item ? "It holds from the next second on, in every list." : "It can be recommended from the next second on."],
    label: item ? "Save" : "Add",
    fields: h("div", { class: "describe" }, fields.map((one) => one.element)),
    problemOf: (error) => mark(fields, error),
    act: async () => {
      const content = {
        title: title.input.value,
        categories: lines(categories.input.value),
        hidden: hidden.input.checked,
        attributes: attributesIn(fields),
      }
      if (year.input.value !== "") content.year = Number(year.input.value)
      made = await put(path("item", item ? item.item_id : id.input.value.trim()), content)
      announce(item ? "Saved" : "Added", "good")
    },
  })
  return made
}

/** Change the attributes of a user. Resolves to whether it was done. */
export function editUser(userId, values, schema) {
  const fields = attributeFields(schema, values)
  return confirm({
    title: `Change user ${userId}`,
    lines: ["These values take the place of all that the user has."],
    label: "Save",
    fields: h("div", { class: "describe" }, fields.map((one) => one.element)),
    problemOf: (error) => mark(fields, error),
    act: async () => {
      await put(path("user", userId), { attributes: attributesIn(fields) })
      announce("Saved", "good")
    },
  })
}
