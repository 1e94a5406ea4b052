// The last minutes of the snapshots' counters, kept while the console is open, whichever page is shown.

const KEPT = 300
const SMOOTHED_MS = 5000

/** { time, system, learning } of each tick, the oldest first; the parts are null where the store did not answer. */
export const ticks = []

export function remember(snapshot, time) {
  ticks.push({ time, system: snapshot.system, learning: snapshot.learning })
  if (ticks.length > KEPT) ticks.shift()
}

/**
 * The rate per second of a counter that only grows, over the five seconds before each tick: replicas report about once
 * a second, so the difference of two ticks alone would jump between nothing and double.
 *
 * `read(tick)`: the counter, or null where it is not known.
 */
export function rates(read) {
  let start = 0
  return ticks.map((tick, end) => {
    while (start < end - 1 && tick.time - ticks[start].time > SMOOTHED_MS) start += 1
    const now = read(tick)
    const before = read(ticks[start])
    const seconds = (tick.time - ticks[start].time) / 1000
    if (now === null || before === null || now === undefined || before === undefined || seconds < 0.5) return null
    return Math.max(0, (now - before) / seconds)
  })
}

export function values(read) {
  return ticks.map((tick) => read(tick) ?? null)
}
