/** When a call is sent again, and how long to wait before. */
import { RaycommendError } from "./errors.js";
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
export declare const RETRY: Retry;
/** The wait after the n-th attempt, from 1. Half of it is drawn by chance: clients that failed together should not come
 * back together. */
export declare function backoffMs(retry: Retry, attempt: number): number;
/** The attempts of one call. Its clock starts with it. */
export declare class Attempts {
    #private;
    readonly retry: Retry;
    readonly repeatable: boolean;
    private mayRenewToken;
    constructor(retry: Retry, repeatable: boolean, mayRenewToken: boolean);
    timeoutMs(wanted: number): number;
    /** How long to wait before the next attempt. Throws `error` where there is none. */
    waitMs(error: RaycommendError): number;
}
