/** Sends what a user sees and clicks in a page, without holding the page up. */
import { type ClientOptions, type EventRequest, type Id } from "./client.js";
export interface BeaconOptions extends Pick<ClientOptions, "apiKey" | "token" | "timeoutMs"> {
    /** Whose events these are. */
    userId: Id;
    /** Longest time until an event is sent. */
    flushEveryMs?: number;
    /** Events that wait at most. */
    maxEvents?: number;
    /** Part of an element that must be on the screen to be seen, and for how long. */
    seenShare?: number;
    seenMs?: number;
    /** Event types; null sends none of that kind. */
    impressionType?: string | null;
    clickType?: string | null;
    /** Where events outlive the page: `localStorage` unless said otherwise, null for nowhere. */
    storage?: Storage | null;
    /** Told of events that will not be sent (any more), and why. Without it the browser's console is. */
    onLost?: (events: EventRequest[], reason: string) => void;
}
/**
 * A beacon. Elements name their item, and themselves or an element around them their list:
 *
 *     <ul data-raycommend-list="bc2edf7a..."> <li data-raycommend-item="272"> ...
 *
 * An item that was seen is an event of type `view`, once for each list in a page; a click on it one of type `click`.
 */
export declare class Beacon {
    #private;
    /** `url` is that of the API. Throws `InvalidRequest` where an argument is wrong. */
    constructor(url: string, options: BeaconOptions);
    /** Events that the server has not answered for yet. */
    get waiting(): number;
    /** Look at the items within `root`. Call it again when there are more of them. */
    watch(root?: ParentNode & EventTarget): void;
    /** Take any other event, as `add_to_cart`. It is sent soon, and at once when the page is left. */
    track(itemId: Id, eventType: string, fields?: Partial<EventRequest>): void;
    /** Send what waits, and wait for the answers. Returns how many events still wait. */
    flush(): Promise<number>;
    /** Stop looking. What waits stays in storage, and the next beacon sends it. */
    stop(): void;
}
