// How numbers and times are written. A value that is not known is a dash, never a zero.

export const UNKNOWN = "–"

export function known(value) {
  return value !== null && value !== undefined && !Number.isNaN(value)
}

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en") : UNKNOWN
}

/** With as many digits as say something: 0.042, 1.53, 27.1, 1,204. */
export function amount(value) {
  if (!known(value)) return UNKNOWN
  const size = Math.abs(value)
  const digits = size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** A weight that fades: what is left of it, however little. */
export function small(value) {
  return value !== 0 && Math.abs(value) < 0.001 ? "below 0.001" : amount(value)
}

export function fixed(value, digits) {
  return known(value) ? value.toFixed(digits) : UNKNOWN
}

export function signed(value, digits) {
  return known(value) ? `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(digits)}` : UNKNOWN
}

export function percent(value, digits = 1) {
  return known(value) ? `${(value * 100).toFixed(digits)} %` : UNKNOWN
}

export function milliseconds(value) {
  if (!known(value)) return UNKNOWN
  return value >= 1000 ? `${amount(value / 1000)} s` : `${amount(value)} ms`
}

export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN
  const s = Math.max(0, seconds)
  if (s < 60) return `${Math.round(s)} s`
  if (s < 3600) return `${Math.round(s / 60)} min`
  if (s < 48 * 3600) return `${amount(s / 3600)} h`
  return `${Math.round(s / 86400)} days`
}

/** How long ago a time was: ISO text, or ms since the epoch. */
export function ago(time, now = Date.now()) {
  if (!time) return UNKNOWN
  const seconds = (now - new Date(time).getTime()) / 1000
  if (seconds < 2) return "just now"
  if (seconds > 60 * 86400) return new Date(time).toLocaleDateString("en-GB", { dateStyle: "medium" })
  return `${duration(seconds)} ago`
}

export function clock(time) {
  return known(time) ? new Date(time).toLocaleTimeString("en-GB") : UNKNOWN
}

export function dateTime(time) {
  if (!time) return UNKNOWN
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })
}

/** `event_type` as words. */
export function words(name) {
  return name.replaceAll("_", " ")
}

export function capital(name) {
  return name[0].toUpperCase() + name.slice(1)
}

/** Bytes as people read them: 812 B, 4.1 KB, 27.3 MB. */
export function bytes(value) {
  if (!known(value)) return UNKNOWN
  const units = ["B", "KB", "MB", "GB", "TB"]
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(value, 1)) / 3))
  return `${step ? amount(value / 1000 ** step) : Math.round(value)} ${units[step]}`
}

/** What an item is called: its title, or its id where nobody has described it. */
export function nameOf({ title, item_id: id }) {
  return known(title) && title !== "" ? title : String(id)
}
