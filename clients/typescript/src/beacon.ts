/** Sends what a user sees and clicks in a page, without holding the page up. */

import { Client, type ClientOptions, type EventRequest, type Id, newId } from "./client.js";
import { ApiError, InvalidRequest, RaycommendError, invalid } from "./errors.js";
import { type Pending, PendingEvents } from "./pending.js";
import { backoffMs, RETRY } from "./retrying.js";

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

const ITEM = "data-raycommend-item";
const LIST = "data-raycommend-list";
const BATCH_EVENTS = 50;
/** A browser lets requests that outlive their page hold 64 KB together. */
const BATCH_BYTES = 50_000;
/** After this time an event says when it happened. Before, its arrival says it better than a browser's clock. */
const FRESH_MS = 10_000;
const LONGEST_WAIT_MS = 60_000;
const LATER = ["store_unavailable", "store_busy", "store_full", "storage_full", "overloaded", "deadline_exceeded"];

/**
 * A beacon. Elements name their item, and themselves or an element around them their list:
 *
 *     <ul data-raycommend-list="bc2edf7a..."> <li data-raycommend-item="272"> ...
 *
 * An item that was seen is an event of type `view`, once for each list in a page; a click on it one of type `click`.
 */
export class Beacon {
  readonly #client: Client;
  readonly #pending: PendingEvents;
  readonly #options: Required<Omit<BeaconOptions, "apiKey" | "token" | "timeoutMs" | "storage" | "onLost">>;
  readonly #lost: (events: EventRequest[], reason: string) => void;
  readonly #observer: IntersectionObserver;
  readonly #timers = new Map<Element, ReturnType<typeof setTimeout>>();
  readonly #seen = new Set<string>();
  readonly #roots = new Map<ParentNode & EventTarget, (event: Event) => void>();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #stopped = new AbortController();
  #atOnce = BATCH_EVENTS;
  #failures = 0;
  #notBefore = 0; // by a clock that nobody sets

  /** `url` is that of the API. Throws `InvalidRequest` where an argument is wrong. */
  constructor(url: string, options: BeaconOptions) {
    const { apiKey, token, timeoutMs, storage, onLost, ...rest } = options;
    const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)) as typeof rest;
    this.#options = {
      flushEveryMs: 2_000, maxEvents: 500, seenShare: 0.5, seenMs: 1_000, impressionType: "view", clickType: "click",
      ...given,
    };
    if (this.#options.userId === "" || this.#options.userId === null || this.#options.userId === undefined) {
      throw invalid("userId", "say whose events these are");
    }
    for (const name of ["flushEveryMs", "maxEvents", "seenMs"] as const) {
      if (!(this.#options[name] > 0)) throw invalid(name, `should be more than 0, not ${this.#options[name]}`);
    }
    if (!(this.#options.seenShare > 0 && this.#options.seenShare <= 1)) {
      throw invalid("seenShare", `should be more than 0 and at most 1, not ${this.#options.seenShare}`);
    }
    const sending: ClientOptions = { retry: { attempts: 1 }, keepalive: true };
    if (apiKey !== undefined) sending.apiKey = apiKey;
    if (token !== undefined) sending.token = token;
    if (timeoutMs !== undefined) sending.timeoutMs = timeoutMs;
    this.#client = new Client(url, sending);
    this.#lost = onLost ?? ((events, reason) => console.warn(`raycommend: ${events.length} events are lost: ${reason}`, events));
    this.#pending = new PendingEvents(this.#options.maxEvents, storage === undefined ? ownStorage() : storage, newId());
    const tooMany = this.#pending.adopt();
    if (tooMany.length > 0) this.#lost(tooMany, "an earlier page left them, and they are too old or too many");
    this.#observer = new IntersectionObserver((entries) => this.#looked(entries), { threshold: this.#options.seenShare });
    this.#timer = setInterval(() => void this.#send(), this.#options.flushEveryMs);
    const { signal } = this.#stopped;
    addEventListener("pagehide", () => void this.#send(), { signal });
    document.addEventListener("visibilitychange", () => void (document.hidden && this.#send()), { signal });
  }

  /** Events that the server has not answered for yet. */
  get waiting(): number {
    return this.#pending.size;
  }

  /** Look at the items within `root`. Call it again when there are more of them. */
  watch(root: ParentNode & EventTarget = document): void {
    for (const element of root.querySelectorAll(`[${ITEM}]`)) this.#observer.observe(element);
    if (this.#roots.has(root)) return;
    const clicked = (event: Event) => this.#clicked(event);
    this.#roots.set(root, clicked);
    for (const kind of ["click", "auxclick"]) root.addEventListener(kind, clicked, { capture: true, signal: this.#stopped.signal });
  }

  /** Take any other event, as `add_to_cart`. It is sent soon, and at once when the page is left. */
  track(itemId: Id, eventType: string, fields: Partial<EventRequest> = {}): void {
    const event = { ...fields, user_id: this.#options.userId, item_id: itemId, event_type: eventType } as EventRequest;
    const taken = this.#pending.add(event, Date.now());
    if (!taken) this.#lost([event], `${this.#options.maxEvents} events wait already`);
  }

  /** Send what waits, and wait for the answers. Returns how many events still wait. */
  async flush(): Promise<number> {
    while (await this.#send());
    return this.waiting;
  }

  /** Stop looking. What waits stays in storage, and the next beacon sends it. */
  stop(): void {
    clearInterval(this.#timer);
    this.#observer.disconnect();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#stopped.abort();
    void this.#send();
  }

  #looked(entries: IntersectionObserverEntry[]): void {
    if (this.#options.impressionType === null) return;
    for (const { target, isIntersecting } of entries) {
      clearTimeout(this.#timers.get(target));
      this.#timers.delete(target);
      if (isIntersecting) this.#wait(target);
    }
  }

  #wait(element: Element): void {
    const look = () => {
      if (document.hidden) return this.#wait(element); // nobody sees a page in the background
      this.#timers.delete(element);
      this.#observer.unobserve(element);
      this.#wasSeen(element);
    };
    this.#timers.set(element, setTimeout(look, this.#options.seenMs));
  }

  #wasSeen(element: Element): void {
    const item = element.getAttribute(ITEM);
    const list = listOf(element);
    const key = JSON.stringify([item, list]);
    if (!item || this.#seen.has(key)) return;
    this.#seen.add(key);
    this.track(item, this.#options.impressionType!, list);
  }

  #clicked(event: Event): void {
    const element = event.target instanceof Element ? event.target.closest(`[${ITEM}]`) : null;
    const item = element?.getAttribute(ITEM);
    if (!element || !item || this.#options.clickType === null) return;
    if (event.type === "auxclick" && (event as MouseEvent).button !== 1) return; // only the middle button follows links
    this.track(item, this.#options.clickType, listOf(element));
  }

  /** Send the next events; returns whether there may be more to send at once. */
  async #send(): Promise<boolean> {
    if (performance.now() < this.#notBefore) return false;
    const batch = this.#pending.next(this.#atOnce, BATCH_BYTES);
    if (batch.length === 0) return false;
    for (const entry of batch) entry.sending = true;
    try {
      const answer = await this.#client.recordEvents(batch.map(sent));
      this.#answered(batch, answer.results);
      return this.#notBefore === 0;
    } catch (error) {
      return this.#failed(batch, error);
    } finally {
      for (const entry of batch) entry.sending = false;
    }
  }

  #answered(batch: Pending[], results: { status?: string; error?: { code: string; message: string; field?: string } }[]): void {
    const settled: Pending[] = [];
    const refused = new Map<string, EventRequest[]>();
    let later = false;
    batch.forEach((entry, index) => {
      const error = results[index]?.status === "refused" ? results[index]?.error : undefined;
      if (error === undefined) settled.push(entry);
      else if (LATER.includes(error.code)) later = true;
      else if (error.field === "timestamp" && sent(entry).timestamp !== undefined) entry.at = Date.now(); // a wrong clock
      else {
        settled.push(entry);
        refused.set(error.message, [...(refused.get(error.message) ?? []), entry.event]);
      }
    });
    this.#pending.remove(settled);
    for (const [reason, events] of refused) this.#lost(events, reason);
    this.#atOnce = BATCH_EVENTS;
    this.#failures = later ? this.#failures + 1 : 0;
    this.#notBefore = later ? performance.now() + this.#backoffMs() : 0;
  }

  /** Whether there may be more to send at once. */
  #failed(batch: Pending[], error: unknown): boolean {
    if (error instanceof InvalidRequest) {
      // What is wrong with a batch as a whole (too large, more than a key's limit) may be right for half of it.
      if (batch.length > 1) this.#atOnce = Math.floor(batch.length / 2);
      else {
        this.#atOnce = BATCH_EVENTS;
        this.#pending.remove(batch);
        this.#lost(batch.map((entry) => entry.event), error.message);
      }
      return true;
    }
    this.#failures += 1;
    const told = error instanceof ApiError ? error.retryAfterMs : null;
    this.#notBefore = performance.now() + (told ?? this.#backoffMs());
    if (this.#failures === 1) {
      const words = error instanceof RaycommendError ? error.message : String(error);
      console.warn(`raycommend: events wait, and are sent again: ${words}`);
    }
    return false;
  }

  #backoffMs(): number {
    return backoffMs({ ...RETRY, firstWaitMs: 1_000, longestWaitMs: LONGEST_WAIT_MS }, this.#failures);
  }
}

/** The event as it is sent. */
function sent({ event, at }: Pending): EventRequest {
  if (event.timestamp !== undefined || Date.now() - at < FRESH_MS) return event;
  return { ...event, timestamp: at };
}

function listOf(element: Element): Partial<EventRequest> {
  const list = element.closest(`[${LIST}]`)?.getAttribute(LIST);
  return list ? { recommendation_id: list } : {};
}

/** The browser's storage; null where it is forbidden. */
function ownStorage(): Storage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}
