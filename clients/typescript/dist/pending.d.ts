/** The events of a page that the server has not answered for yet. They are kept in the browser's storage as well, so that
 * the next page sends what this one could not. */
import { type EventRequest } from "./client.js";
/** An event that waits, and when it happened (milliseconds since 1970, by the browser's clock). */
export interface Pending {
    event: EventRequest & {
        event_id: string;
    };
    at: number;
    /** A request is on its way with it. */
    sending?: boolean;
}
/** The server tells a repeated event from a new one for 24 hours. What is older could count twice, and is given up. */
export declare const OLDEST_MS: number;
export declare class PendingEvents {
    #private;
    readonly most: number;
    private storage;
    /** `storage` may be null: then what is not sent when the page ends is lost unless its last request arrives. */
    constructor(most: number, storage: Storage | null, page: string);
    get size(): number;
    /** Take an event, unless there is no room. Returns whether there was. */
    add(event: EventRequest, at: number): boolean;
    /** Take over what other pages have left; returns the events that are too old or have no room. An event that another
     * page is still sending is sent twice under one id, and counts once. */
    adopt(): EventRequest[];
    /** The next events that no request is on its way with: at most so many, and so many bytes of JSON. */
    next(count: number, bytes: number): Pending[];
    /** The server has answered for these, or they are given up. */
    remove(entries: Pending[]): void;
}
