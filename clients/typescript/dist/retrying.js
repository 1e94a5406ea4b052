/** When a call is sent again, and how long to wait before. */
import { ApiError, NotAuthenticated, RateLimited, RaycommendError, ServerError, Unavailable, Unreachable } from "./errors.js";
export const RETRY = { attempts: 4, totalMs: 30_000, firstWaitMs: 100, longestWaitMs: 5_000 };
/** The wait after the n-th attempt, from 1. Half of it is drawn by chance: clients that failed together should not come
 * back together. */
export function backoffMs(retry, attempt) {
    return Math.min(retry.firstWaitMs * 2 ** (attempt - 1), retry.longestWaitMs) * (0.5 + Math.random() / 2);
}
/** The attempts of one call. Its clock starts with it. */
export class Attempts {
    retry;
    repeatable;
    mayRenewToken;
    #made = 0;
    #endsAt;
    constructor(retry, repeatable, mayRenewToken) {
        this.retry = retry;
        this.repeatable = repeatable;
        this.mayRenewToken = mayRenewToken;
        this.#endsAt = performance.now() + retry.totalMs;
    }
    timeoutMs(wanted) {
        return Math.max(Math.min(wanted, this.#endsAt - performance.now()), 1);
    }
    /** How long to wait before the next attempt. Throws `error` where there is none. */
    waitMs(error) {
        this.#made += 1;
        error.attempts = this.#made;
        if (this.#made >= this.retry.attempts || !this.#mayRepeat(error))
            throw error;
        const told = error instanceof ApiError ? error.retryAfterMs : null;
        const wait = told ?? backoffMs(this.retry, this.#made);
        if (performance.now() + wait >= this.#endsAt)
            throw error;
        return wait;
    }
    #mayRepeat(error) {
        if (error instanceof NotAuthenticated && this.mayRenewToken) {
            this.mayRenewToken = false; // a token may have ended on the way; one that is new and refused stays so
            return true;
        }
        if (error instanceof RateLimited)
            return true;
        if (error instanceof Unavailable)
            return this.repeatable || (error.status === 503 && error.retryAfterMs !== null);
        return (error instanceof Unreachable || error instanceof ServerError) && this.repeatable;
    }
}
