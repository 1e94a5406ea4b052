// Requests to the HTTP interface: JSON in and out, one kind of error, the key of this session.

const KEY = "api-key"
const PATIENCE_MS = 15_000

/** An answer other than 2xx, or none at all (status 0). `field`: the one that is wrong, where one is. */
export class ApiError extends Error {
  constructor(status, code, message, field = null) {
    super(message)
    this.status = status
    this.code = code
    this.field = field
  }
}

/** Use a key from now on, until the tab is closed. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key)
}

export function forgetKey() {
  sessionStorage.removeItem(KEY)
}

function keyHeaders() {
  const key = sessionStorage.getItem(KEY)
  return key ? { Authorization: `Bearer ${key}` } : {}
}

export async function get(path, options = {}) {
  return (await send("GET", path, undefined, options)).content
}

export async function put(path, content, options = {}) {
  return (await send("PUT", path, content, options)).content
}

export async function post(path, content = {}, options = {}) {
  return (await send("POST", path, content, options)).content
}

/**
 * Send a request. `headers` are added; `patience` is the longest wait in ms.
 * Returns {status, headers, content}; 304 has no content. Throws ApiError.
 */
export async function send(method, path, content, { headers = {}, signal, patience = PATIENCE_MS } = {}) {
  const limit = AbortSignal.timeout(patience)
  let answer
  try {
    answer = await fetch(path, {
      method,
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      headers: { ...keyHeaders(), ...headers, ...(content === undefined ? {} : { "Content-Type": "application/json" }) },
      body: content === undefined ? undefined : JSON.stringify(content),
    })
  } catch (error) {
    if (error.name === "AbortError") throw error
    const why = error.name === "TimeoutError" ? `no answer within ${patience / 1000} s` : "the server does not answer"
    throw new ApiError(0, "unreachable", why)
  }
  if (answer.status === 304) return { status: 304, headers: answer.headers, content: null }
  let received = null
  try {
    received = await answer.json()
  } catch {
    // A proxy's own page: its status says enough.
  }
  if (!answer.ok) {
    // The key was taken back meanwhile: the page starts again, and asks for another.
    if (answer.status === 401 && path !== "/api/v1/console/key") location.reload()
    const error = received?.error
    throw new ApiError(answer.status, error?.code ?? "http_error", error?.message ?? `the server answers ${answer.status}`, error?.field)
  }
  return { status: answer.status, headers: answer.headers, content: received }
}
