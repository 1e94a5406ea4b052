/** When a call is sent again, and how long to wait before. */

import { ApiError, NotAuthenticated, RateLimited, RaycommendError, ServerError, Unavailable, Unreachable } from "./errors.js";

export interface Retry {
  /** How often a call is sent at most; 1 never repeats. */
  attempts: number;
  /** A call with all its attempts and waits takes no longer. Where the server asks for a longer wait than is left, the
   * error comes at once and says for how long. */
  totalMs: number;
  /** Wait after the first attempt where the server names none; it doubles with each further one. */
  firstWaitMs: number;
  /** What it doubles to. */
  longestWaitMs: number;
}

export const RETRY: Retry = { attempts: 4, totalMs: 30_000, firstWaitMs: 100, longestWaitMs: 5_000 };

/** The wait after the n-th attempt, from 1. Half of it is drawn by chance: clients that failed together should not come
 * back together. */
export function backoffMs(retry: Retry, attempt: number): number {
  return Math.min(retry.firstWaitMs * 2 ** (attempt - 1), retry.longestWaitMs) * (0.5 + Math.random() / 2);
}

/** The attempts of one call. Its clock starts with it. */
export class Attempts {
  #made = 0;
  readonly #endsAt: number;

  constructor(readonly retry: Retry, readonly repeatable: boolean, private mayRenewToken: boolean) {
    this.#endsAt = performance.now() + retry.totalMs;
  }

  timeoutMs(wanted: number): number {
    return Math.max(Math.min(wanted, this.#endsAt - performance.now()), 1);
  }

  /** How long to wait before the next attempt. Throws `error` where there is none. */
  waitMs(error: RaycommendError): number {
    this.#made += 1;
    error.attempts = this.#made;
    if (this.#made >= this.retry.attempts || !this.#mayRepeat(error)) throw error;
    const told = error instanceof ApiError ? error.retryAfterMs : null;
    const wait = told ?? backoffMs(this.retry, this.#made);
    if (performance.now() + wait >= this.#endsAt) throw error;
    return wait;
  }

  #mayRepeat(error: RaycommendError): boolean {
    if (error instanceof NotAuthenticated && this.mayRenewToken) {
      this.mayRenewToken = false; // a token may have ended on the way; one that is new and refused stays so
      return true;
    }
    if (error instanceof RateLimited) return true;
    if (error instanceof Unavailable) return this.repeatable || (error.status === 503 && error.retryAfterMs !== null);
    return (error instanceof Unreachable || error instanceof ServerError) && this.repeatable;
  }
}
