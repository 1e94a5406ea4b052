/** The client: a method for each call, sent again where that helps. For Node 20 and later, and for browsers. */

import { errorOf, invalid, RaycommendError, UnexpectedAnswer, Unreachable } from "./errors.js";
import { Attempts, RETRY, type Retry } from "./retrying.js";
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
export function newId(): string {
  // Pages without HTTPS have random bytes, but no ready ids of them, which come ten times as fast.
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The event with an id: its own, or else a new one. */
export function withId(event: EventRequest): EventRequest & { event_id: string } {
  return { ...event, event_id: event.event_id ?? newId() };
}

export class Client {
  readonly #url: string;
  readonly #options: ClientOptions;
  readonly #retry: Retry;

  /** `url` is that of the API, as `http://127.0.0.1:8000`. Throws `InvalidRequest` where an argument is wrong. */
  constructor(url: string, options: ClientOptions = {}) {
    if (!URL.canParse(url) || !/^https?:\/\/[^?#]+$/.test(url)) {
      throw invalid("url", `give an address as http://127.0.0.1:8000, not ${JSON.stringify(url)}`);
    }
    if (options.apiKey !== undefined && options.token !== undefined) throw invalid("token", "give either apiKey or token");
    this.#url = url.replace(/\/+$/, "");
    this.#options = { timeoutMs: 10_000, ...options };
    this.#retry = { ...RETRY, ...options.retry };
    for (const [name, value] of [...Object.entries(this.#retry), ["timeoutMs", this.#options.timeoutMs] as const]) {
      if (!(Number(value) > 0)) throw invalid(name, `should be more than 0, not ${value}`);
    }
    if (options.apiKey !== undefined) authorization(options.apiKey, "apiKey");
  }

  /** A list for a user. A list that was made, but whose answer was lost on its way, counts as shown. */
  recommend(request: RecommendRequest): Promise<RecommendAnswer> {
    return this.#send({ method: "POST", path: "/api/v1/recommend", body: request });
  }

  /** Record one event. Where it has no `event_id`, it gets one: so it counts once however often it is sent. */
  async recordEvent(event: EventRequest): Promise<EventAnswer> {
    return this.#send({ method: "POST", path: "/api/v1/events", body: withId(event) });
  }

  /** Record up to 1,000 events. Each is accepted or refused on its own: see `results`, in the order of the events. */
  async recordEvents(events: EventRequest[]): Promise<BatchAnswer> {
    return this.#send({ method: "POST", path: "/api/v1/events/batch", body: { events: events.map(withId) } });
  }

  /** Items whose factors point the same way. */
  similar(itemId: Id, params: { limit?: number } = {}): Promise<Schemas["SimilarAnswer"]> {
    return this.#send({ method: "GET", path: `/api/v1/items/${part(itemId)}/similar`, params });
  }

  /** What all users do now. */
  trending(params: { window?: "1h" | "1d" | "7d"; category?: string; limit?: number } = {}): Promise<Schemas["TrendingAnswer"]> {
    return this.#send({ method: "GET", path: "/api/v1/trending", params });
  }

  /** Items page by page; `next_cursor` of an answer is the `cursor` of the next page. `attributes` asks for values of
   * declared attributes. */
  findItems(
    query = "",
    params: { category?: string; shown?: "all" | "recommendable" | "hidden"; limit?: number; cursor?: string } = {},
    attributes: Record<string, string> = {},
  ): Promise<Schemas["FoundItems"]> {
    const filters = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`attribute.${name}`, value]));
    return this.#send({ method: "GET", path: "/api/v1/items", params: { query, ...params, ...filters } });
  }

  /** An item of the catalogue, with what all users did. */
  item(itemId: Id): Promise<Schemas["ItemView"]> {
    return this.#send({ method: "GET", path: `/api/v1/items/${part(itemId)}` });
  }

  /** Set an item, in place of all that was said of it before. It can be recommended at once. */
  putItem(itemId: Id, item: ItemRequest): Promise<Schemas["ItemView"]> {
    return this.#send({ method: "PUT", path: `/api/v1/items/${part(itemId)}`, body: item });
  }

  /** Set up to 1,000 items. Each is accepted or refused on its own: see `results`, in the order of the items. */
  putItems(items: ItemEntry[]): Promise<Schemas["ItemBatchAnswer"]> {
    return this.#send({ method: "POST", path: "/api/v1/items/batch", body: { items } });
  }

  /** Take an item out: it is never recommended again. */
  deleteItem(itemId: Id): Promise<Record<string, string>> {
    return this.#send({ method: "DELETE", path: `/api/v1/items/${part(itemId)}` });
  }

  /** Events of an item by day and type, up to its last one. */
  itemDays(itemId: Id, params: { days?: number } = {}): Promise<Schemas["DailyCounts"]> {
    return this.#send({ method: "GET", path: `/api/v1/items/${part(itemId)}/daily`, params });
  }

  /** Categories, with the number of items that can be recommended. */
  categories(): Promise<Record<string, number>> {
    return this.#send({ method: "GET", path: "/api/v1/categories" });
  }

  /** How many items and users there are, and which attributes they may carry. */
  catalogue(): Promise<Schemas["CatalogueView"]> {
    return this.#send({ method: "GET", path: "/api/v1/catalogue" });
  }

  /** What is known of a user. */
  user(userId: Id): Promise<Schemas["UserView"]> {
    return this.#send({ method: "GET", path: `/api/v1/users/${part(userId)}` });
  }

  /** Set a user's attributes, in place of all that the user had. */
  putUser(userId: Id, attributes: Record<string, unknown>): Promise<Schemas["UserView"]> {
    return this.#send({ method: "PUT", path: `/api/v1/users/${part(userId)}`, body: { attributes } });
  }

  /** Users by the beginning of their id, page by page. */
  findUsers(query = "", params: { limit?: number; cursor?: string } = {}): Promise<Schemas["FoundUsers"]> {
    return this.#send({ method: "GET", path: "/api/v1/users", params: { query, ...params } });
  }

  /** All that is kept of a user. */
  exportUser(userId: Id): Promise<Record<string, unknown>> {
    return this.#send({ method: "GET", path: `/api/v1/users/${part(userId)}/export` });
  }

  /** Erase a user from everything; the answer comes when that is done. */
  eraseUser(userId: Id): Promise<Schemas["ErasedView"]> {
    return this.#send({ method: "DELETE", path: `/api/v1/users/${part(userId)}` });
  }

  /** Every component. An answer also where the system is down: `status` says so. */
  health(): Promise<Schemas["Health"]> {
    return this.#send({ method: "GET", path: "/health", answers: [200, 503] });
  }

  /** Any address of the interface: what operators do has no calls of its own. A POST is sent again only where it surely
   * was not done. */
  request(method: string, path: string, body?: unknown, params: Call["params"] = {}): Promise<unknown> {
    if (!path.startsWith("/")) throw invalid("path", `give it from the root, as /api/v1/models, not ${JSON.stringify(path)}`);
    const repeatable = method.toUpperCase() !== "POST";
    return this.#send({ method, path, body, params, repeatable, answers: [200, 201, 202, 204] });
  }

  async #send<T>(call: Call): Promise<T> {
    const requestId = newId();
    const attempts = new Attempts(this.#retry, call.repeatable ?? true, typeof this.#options.token === "function");
    for (;;) {
      try {
        return await this.#attempt<T>(call, requestId, attempts.timeoutMs(this.#options.timeoutMs!));
      } catch (error) {
        if (!(error instanceof RaycommendError)) throw error;
        error.requestId ??= requestId;
        const wait = attempts.waitMs(error);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async #attempt<T>(call: Call, requestId: string, timeoutMs: number): Promise<T> {
    const headers: Record<string, string> = { "x-request-id": requestId };
    if (call.body !== undefined) headers["content-type"] = "application/json";
    const { apiKey, token } = this.#options;
    if (apiKey !== undefined) headers["authorization"] = authorization(apiKey, "apiKey");
    else if (token !== undefined) {
      headers["authorization"] = authorization(typeof token === "string" ? token : await token(), "token");
    }
    let status: number, retryAfter: string | null, content: string;
    try {
      const answer = await (this.#options.fetch ?? fetch)(this.#url + call.path + query(call.params), {
        method: call.method,
        headers,
        body: call.body === undefined ? null : JSON.stringify(call.body),
        signal: AbortSignal.timeout(timeoutMs),
        keepalive: this.#options.keepalive ?? false,
      });
      [status, retryAfter, content] = [answer.status, answer.headers.get("retry-after"), await answer.text()];
    } catch (error) {
      throw new Unreachable(`${call.method} ${call.path}: ${error}`, { cause: error });
    }
    if (!(call.answers ?? [200]).includes(status)) throw errorOf(status, retryAfter, content);
    try {
      return (content === "" ? undefined : JSON.parse(content)) as T;
    } catch {
      throw new UnexpectedAnswer(`${call.method} ${call.path} answered ${status} with what is no JSON`);
    }
  }
}

/** The header that shows a key or token; the error does not repeat it. */
function authorization(secret: string, name: string): string {
  if (!/^[\x21-\x7e]+$/.test(secret)) throw invalid(name, "should be one line of visible ASCII characters, without spaces");
  return `Bearer ${secret}`;
}

function query(params: Call["params"] = {}): string {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/** An id as a part of an address. Throws for one that would lead to another address. */
function part(id: Id): string {
  const text = String(id);
  const isId = (typeof id === "string" && !["", ".", ".."].includes(text)) || Number.isSafeInteger(id);
  if (!isId) throw invalid("id", `give a whole number or a text that is not empty, not ${JSON.stringify(id)}`);
  return encodeURIComponent(text);
}
