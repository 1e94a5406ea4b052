/** The events of a page that the server has not answered for yet. They are kept in the browser's storage as well, so that
 * the next page sends what this one could not. */

import { type EventRequest, withId } from "./client.js";

/** An event that waits, and when it happened (milliseconds since 1970, by the browser's clock). */
export interface Pending {
  event: EventRequest & { event_id: string };
  at: number;
  /** A request is on its way with it. */
  sending?: boolean;
}

const PREFIX = "raycommend-events:";
/** The server tells a repeated event from a new one for 24 hours. What is older could count twice, and is given up. */
export const OLDEST_MS = 23 * 3_600_000;

export class PendingEvents {
  #entries: Pending[] = [];
  readonly #key: string;

  /** `storage` may be null: then what is not sent when the page ends is lost unless its last request arrives. */
  constructor(readonly most: number, private storage: Storage | null, page: string) {
    this.#key = PREFIX + page;
  }

  get size(): number {
    return this.#entries.length;
  }

  /** Take an event, unless there is no room. Returns whether there was. */
  add(event: EventRequest, at: number): boolean {
    if (this.#entries.length >= this.most) return false;
    this.#entries.push({ event: withId(event), at });
    this.#save();
    return true;
  }

  /** Take over what other pages have left; returns the events that are too old or have no room. An event that another
   * page is still sending is sent twice under one id, and counts once. */
  adopt(): EventRequest[] {
    const lost: EventRequest[] = [];
    for (const key of this.#keys()) {
      for (const left of this.#read(key)) {
        const fits = Date.now() - left.at <= OLDEST_MS && this.#entries.length < this.most;
        if (fits) this.#entries.push({ event: left.event, at: left.at });
        else lost.push(left.event);
      }
      this.#save();
      this.storage?.removeItem(key); // after they are saved here: a page that ends in between loses none
    }
    return lost;
  }

  /** The next events that no request is on its way with: at most so many, and so many bytes of JSON. */
  next(count: number, bytes: number): Pending[] {
    const found: Pending[] = [];
    let room = bytes;
    for (const entry of this.#entries) {
      if (entry.sending) continue;
      room -= JSON.stringify(entry.event).length * 3 + 50; // a character has up to 3 bytes, and a time may be added
      if (found.length >= count || (room < 0 && found.length > 0)) break;
      found.push(entry);
    }
    return found;
  }

  /** The server has answered for these, or they are given up. */
  remove(entries: Pending[]): void {
    const gone = new Set(entries);
    this.#entries = this.#entries.filter((entry) => !gone.has(entry));
    this.#save();
  }

  #keys(): string[] {
    try {
      return Object.keys(this.storage ?? {}).filter((key) => key.startsWith(PREFIX) && key !== this.#key);
    } catch {
      return [];
    }
  }

  #read(key: string): Pending[] {
    try {
      const found = JSON.parse(this.storage?.getItem(key) ?? "[]");
      return Array.isArray(found) ? found.filter((one) => typeof one?.event?.event_id === "string" && one.at > 0) : [];
    } catch {
      return []; // somebody else wrote there
    }
  }

  #save(): void {
    try {
      if (this.#entries.length === 0) this.storage?.removeItem(this.#key);
      else this.storage?.setItem(this.#key, JSON.stringify(this.#entries.map(({ event, at }) => ({ event, at }))));
    } catch {
      this.storage = null; // full or forbidden: the events stay in memory
    }
  }
}
