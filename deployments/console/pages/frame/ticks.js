// One snapshot a second for the whole console: paused while nobody looks, honest about its age when it fails.

import { send } from "/console/frame/api.js"

const PERIOD_MS = 1000
const PATIENCE_MS = 5000

/**
 * Asks for snapshots while the page is visible.
 *
 * `onTick(snapshot, receivedAt)` is called at every success, also where nothing has changed (304), so that charts move.
 * `onState({failing, since, error})` is called after every request; `since` is the time of the last success.
 */
export class Ticks {
  constructor(onTick, onState) {
    this.onTick = onTick
    this.onState = onState
    this.snapshot = null
    this.etag = null
    this.since = null
    this.timer = null
    this.asking = false
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.now()))
  }

  /** Ask at once, then go on each second. */
  now() {
    this.pause()
    if (!document.hidden && !this.asking) this.ask()
  }

  pause() {
    clearTimeout(this.timer)
    this.timer = null
  }

  async ask() {
    this.asking = true
    const started = performance.now()
    try {
      const headers = this.etag ? { "If-None-Match": this.etag } : {}
      const answer = await send("GET", "/api/v1/console/snapshot", undefined, { headers, patience: PATIENCE_MS })
      if (answer.status !== 304) {
        this.snapshot = answer.content
        this.etag = answer.headers.get("etag")
      }
      this.since = Date.now()
      this.onState({ failing: false, since: this.since })
      this.onTick(this.snapshot, this.since)
    } catch (error) {
      this.onState({ failing: true, since: this.since, error })
    } finally {
      this.asking = false
      this.pause()
      if (!document.hidden) {
        this.timer = setTimeout(() => this.ask(), Math.max(50, PERIOD_MS - (performance.now() - started)))
      }
    }
  }
}
