/** What a call throws. Every answer that is no success becomes one of these, and so does the lack of an answer. */
export declare class RaycommendError extends Error {
    /** Under which the server's log has the request; null where nothing was sent. */
    requestId: string | null;
    /** How often it was sent. */
    attempts: number;
    constructor(message: string, options?: ErrorOptions);
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
export declare class ApiError extends RaycommendError implements Refusal {
    readonly status: number;
    readonly code: string;
    readonly field: string | null;
    readonly retryAfterMs: number | null;
    constructor(refusal: Refusal);
}
/** 400, 413, 415, 422: the request is wrong; `field` names what. It would be refused again. */
export declare class InvalidRequest extends ApiError {
}
/** 401: no key or token, or one that is not known or has ended. */
export declare class NotAuthenticated extends ApiError {
}
/** 403: the key or token does not reach so far, or the server does not answer under this name. */
export declare class NotAllowed extends ApiError {
}
/** 404: there is no such item, user or address. */
export declare class NotFound extends ApiError {
}
/** 409: not possible now, or the `event_id` names another event. */
export declare class Conflict extends ApiError {
}
/** 429: the key has made all its requests of this minute. */
export declare class RateLimited extends ApiError {
}
/** 408, 502, 503, 504: overloaded, or a part of the server is away; it may work later. */
export declare class Unavailable extends ApiError {
}
/** Any other 5xx: the server could not do it. */
export declare class ServerError extends ApiError {
}
/** No answer: no connection, or none in time. What was sent may have been done all the same. */
export declare class Unreachable extends RaycommendError {
}
/** A success whose content is no JSON: another server answered. */
export declare class UnexpectedAnswer extends RaycommendError {
}
/** The error that an answer is. What does not come from the server itself, as a proxy's page, has the code
 * `http_error`. */
export declare function errorOf(status: number, retryAfter: string | null, content: string): ApiError;
/** The error of a request that this client refuses. */
export declare function invalid(field: string, words: string): InvalidRequest;
