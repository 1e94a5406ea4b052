/** What a call throws. Every answer that is no success becomes one of these, and so does the lack of an answer. */

export class RaycommendError extends Error {
  /** Under which the server's log has the request; null where nothing was sent. */
  requestId: string | null = null;
  /** How often it was sent. */
  attempts = 0;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** What an error of the server holds. */
export interface Refusal {
  status: number;
  /** Names the reason, as `invalid_field`; programs compare it. */
  code: string;
  message: string;
  /** The field that is wrong, where there is one. */
  field: string | null;
  /** After which time the server asks to come again, where it says so. */
  retryAfterMs: number | null;
}

/** The server refused, or this client did so before it sent anything. */
export class ApiError extends RaycommendError implements Refusal {
  readonly status: number;
  readonly code: string;
  readonly field: string | null;
  readonly retryAfterMs: number | null;

  constructor(refusal: Refusal) {
    super(`${refusal.status} ${refusal.code}: ${refusal.message}`);
    this.status = refusal.status;
    this.code = refusal.code;
    this.field = refusal.field;
    this.retryAfterMs = refusal.retryAfterMs;
  }
}

/** 400, 413, 415, 422: the request is wrong; `field` names what. It would be refused again. */
export class InvalidRequest extends ApiError {}
/** 401: no key or token, or one that is not known or has ended. */
export class NotAuthenticated extends ApiError {}
/** 403: the key or token does not reach so far, or the server does not answer under this name. */
export class NotAllowed extends ApiError {}
/** 404: there is no such item, user or address. */
export class NotFound extends ApiError {}
/** 409: not possible now, or the `event_id` names another event. */
export class Conflict extends ApiError {}
/** 429: the key has made all its requests of this minute. */
export class RateLimited extends ApiError {}
/** 408, 502, 503, 504: overloaded, or a part of the server is away; it may work later. */
export class Unavailable extends ApiError {}
/** Any other 5xx: the server could not do it. */
export class ServerError extends ApiError {}

/** No answer: no connection, or none in time. What was sent may have been done all the same. */
export class Unreachable extends RaycommendError {}

/** A success whose content is no JSON: another server answered. */
export class UnexpectedAnswer extends RaycommendError {}

const BY_STATUS = new Map<number, new (refusal: Refusal) => ApiError>([
  [400, InvalidRequest], [413, InvalidRequest], [415, InvalidRequest], [422, InvalidRequest],
  [401, NotAuthenticated], [403, NotAllowed], [404, NotFound], [409, Conflict], [429, RateLimited],
  [408, Unavailable], [502, Unavailable], [503, Unavailable], [504, Unavailable],
]);

/** The error that an answer is. What does not come from the server itself, as a proxy's page, has the code
 * `http_error`. */
export function errorOf(status: number, retryAfter: string | null, content: string): ApiError {
  const Kind = BY_STATUS.get(status) ?? (status >= 500 ? ServerError : ApiError);
  const said = saidBy(content);
  return new Kind({
    status,
    code: said?.code ?? "http_error",
    message: said?.message ?? (content.slice(0, 200).trim() || "no content"),
    field: said?.field ?? null,
    retryAfterMs: milliseconds(retryAfter),
  });
}

/** The error of a request that this client refuses. */
export function invalid(field: string, words: string): InvalidRequest {
  const message = `${field}: ${words}`;
  return new InvalidRequest({ status: 422, code: "invalid_field", message, field, retryAfterMs: null });
}

function saidBy(content: string): { code: string; message: string; field?: string } | null {
  try {
    const { error } = JSON.parse(content);
    return typeof error?.code === "string" && typeof error?.message === "string" ? error : null;
  } catch {
    return null;
  }
}

/** The header Retry-After in milliseconds: it holds a number of seconds, or a date. */
function milliseconds(retryAfter: string | null): number | null {
  if (retryAfter === null || retryAfter.trim() === "") return null;
  const seconds = Number(retryAfter);
  const found = Number.isNaN(seconds) ? Date.parse(retryAfter) - Date.now() : seconds * 1000;
  return Number.isNaN(found) ? null : Math.max(found, 0);
}
