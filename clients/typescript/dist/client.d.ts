/** The client: a method for each call, sent again where that helps. For Node 20 and later, and for browsers. */
import { type Retry } from "./retrying.js";
import type { components } from "./schema.js";
type Schemas = components["schemas"];
export type Id = number | string;
export type EventRequest = Schemas["EventRequest"];
export type EventAnswer = Schemas["EventAnswer"];
export type EventRefusal = Schemas["EventRefusal"];
export type BatchAnswer = Schemas["BatchAnswer"];
export type RecommendRequest = Schemas["RecommendRequest"];
export type RecommendAnswer = Schemas["RecommendAnswer"];
export type Recommendation = Schemas["Recommendation"];
export type ItemRequest = Schemas["ItemRequest"];
export type ItemEntry = Schemas["ItemEntry"];
export interface ClientOptions {
    /** A key of this server. In a page everybody can read it: give it the scopes `recommend` and `events` and no others. */
    apiKey?: string;
    /** A token of an identity provider (JWT), or a function that gives the one to use now. It is asked at each attempt,
     * and once more where the server no longer takes a token. */
    token?: string | (() => string | Promise<string>);
    /** How long an attempt may take. */
    timeoutMs?: number;
    retry?: Partial<Retry>;
    /** Let a request outlive the page that sends it; its body may have 64 KB at most. */
    keepalive?: boolean;
    /** In place of the global `fetch`. */
    fetch?: typeof fetch;
}
interface Call {
    method: string;
    path: string;
    body?: unknown;
    params?: Record<string, string | number | boolean | null | undefined>;
    /** Sending it again does no harm, even where the first one was done and its answer was lost. */
    repeatable?: boolean;
    /** Statuses that are an answer and no error. */
    answers?: number[];
}
/** An id that no other event or request has. */
export declare function newId(): string;
/** The event with an id: its own, or else a new one. */
export declare function withId(event: EventRequest): EventRequest & {
    event_id: string;
};
export declare class Client {
    #private;
    /** `url` is that of the API, as `http://127.0.0.1:8000`. Throws `InvalidRequest` where an argument is wrong. */
    constructor(url: string, options?: ClientOptions);
    /** A list for a user. A list that was made, but whose answer was lost on its way, counts as shown. */
    recommend(request: RecommendRequest): Promise<RecommendAnswer>;
    /** Record one event. Where it has no `event_id`, it gets one: so it counts once however often it is sent. */
    recordEvent(event: EventRequest): Promise<EventAnswer>;
    /** Record up to 1,000 events. Each is accepted or refused on its own: see `results`, in the order of the events. */
    recordEvents(events: EventRequest[]): Promise<BatchAnswer>;
    /** Items whose factors point the same way. */
    similar(itemId: Id, params?: {
        limit?: number;
    }): Promise<Schemas["SimilarAnswer"]>;
    /** What all users do now. */
    trending(params?: {
        window?: "1h" | "1d" | "7d";
        category?: string;
        limit?: number;
    }): Promise<Schemas["TrendingAnswer"]>;
    /** Items page by page; `next_cursor` of an answer is the `cursor` of the next page. `attributes` asks for values of
     * declared attributes. */
    findItems(query?: string, params?: {
        category?: string;
        shown?: "all" | "recommendable" | "hidden";
        limit?: number;
        cursor?: string;
    }, attributes?: Record<string, string>): Promise<Schemas["FoundItems"]>;
    /** An item of the catalogue, with what all users did. */
    item(itemId: Id): Promise<Schemas["ItemView"]>;
    /** Set an item, in place of all that was said of it before. It can be recommended at once. */
    putItem(itemId: Id, item: ItemRequest): Promise<Schemas["ItemView"]>;
    /** Set up to 1,000 items. Each is accepted or refused on its own: see `results`, in the order of the items. */
    putItems(items: ItemEntry[]): Promise<Schemas["ItemBatchAnswer"]>;
    /** Take an item out: it is never recommended again. */
    deleteItem(itemId: Id): Promise<Record<string, string>>;
    /** Events of an item by day and type, up to its last one. */
    itemDays(itemId: Id, params?: {
        days?: number;
    }): Promise<Schemas["DailyCounts"]>;
    /** Categories, with the number of items that can be recommended. */
    categories(): Promise<Record<string, number>>;
    /** How many items and users there are, and which attributes they may carry. */
    catalogue(): Promise<Schemas["CatalogueView"]>;
    /** What is known of a user. */
    user(userId: Id): Promise<Schemas["UserView"]>;
    /** Set a user's attributes, in place of all that the user had. */
    putUser(userId: Id, attributes: Record<string, unknown>): Promise<Schemas["UserView"]>;
    /** Users by the beginning of their id, page by page. */
    findUsers(query?: string, params?: {
        limit?: number;
        cursor?: string;
    }): Promise<Schemas["FoundUsers"]>;
    /** All that is kept of a user. */
    exportUser(userId: Id): Promise<Record<string, unknown>>;
    /** Erase a user from everything; the answer comes when that is done. */
    eraseUser(userId: Id): Promise<Schemas["ErasedView"]>;
    /** Every component. An answer also where the system is down: `status` says so. */
    health(): Promise<Schemas["Health"]>;
    /** Any address of the interface: what operators do has no calls of its own. A POST is sent again only where it surely
     * was not done. */
    request(method: string, path: string, body?: unknown, params?: Call["params"]): Promise<unknown>;
}
export {};
