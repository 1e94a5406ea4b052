"""Watching a model that was just promoted: what it must not break, and whether it did."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from configs.settings import AutopilotLimits
from deployments.replica.latency import BOUNDS_S, counts_of
from deployments.replica.request_metrics import reached_and_failed
from experiments.statistics.performance import change_since, share_interval
from experiments.statistics.ratio import ratio
from experiments.statistics.sums import PairSums, unpack_sums
from features.serving.replicas import ReplicaReport
from features.serving.slots import Slot

MODEL_ERRORS = ("model_unavailable", "internal_error", "deadline_exceeded")
"""Errors that a model can be blamed for; overload and a store that is away are not among them."""
CONFIDENCE = 0.99
CLICK_CONFIDENCE = 0.999


class Watched(BaseModel):
    """A promotion that is being watched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    since_ms: int
    until_ms: int
    previous: str
    previous_uri: str
    counts: dict[str, int]
    """The counts of `counts_now` as they stood at the promotion."""
    clicks: list[float] | None
    """Sums of the clicked lists of the model before; None where too few were judged."""
    precision: list[float] | None = None
    """Sums of the average precision of its lists; None where too few were judged."""


def counts_now(totals: Mapping[str, int], slow_s: float) -> dict[str, int]:
    """Requests, failed ones, lists and slow lists, over all replicas."""
    buckets = counts_of(totals, "total")
    slow = sum(count for bound, count in zip((*BOUNDS_S, float("inf")), buckets, strict=True) if bound > slow_s)
    return {
        "requests": reached_and_failed(totals, "recommend")[0],
        "failed": sum(totals.get(f"errors:recommend:{code}", 0) for code in MODEL_ERRORS),
        "lists": sum(buckets),
        "slow": slow,
    }


def broken(
    watched: Watched,
    counts: Mapping[str, int],
    clicks: PairSums,
    replicas: Sequence[ReplicaReport],
    limits: AutopilotLimits,
    now_ms: int,
) -> str | None:
    """Which guardrail is broken, in words; None where none is.

    Args:
        counts: the present counts, from `counts_now`.
        clicks: sums of the clicked lists of the new model.
        replicas: what the replicas of the champion's retrieval report.
    """
    refusing = [one.problem for one in replicas if one.problem and one.wanted_version == watched.version]
    if refusing and now_ms - watched.since_ms > 1000:
        return f"{len(refusing)} of {len(replicas)} replicas refuse the bundle: {refusing[0]}"
    grown = {name: max(0, amount - watched.counts.get(name, 0)) for name, amount in counts.items()}
    for hits, of, limit, words in (
        ("failed", "requests", limits.max_error_share, "of the requests failed"),
        ("slow", "lists", limits.max_slow_share, f"of the recommendations took more than {limits.slow_s:g} s"),
    ):
        n = grown[of]
        if n >= limits.guard_requests:
            low, high = share_interval(min(grown[hits], n), n, CONFIDENCE)
            if low > limit:
                return (
                    f"{grown[hits] / n:.1%} [{low:.1%}, {high:.1%}] {words} since the promotion ({n} in all); "
                    f"at most {limit:.1%} may"
                )
    if watched.clicks is not None and clicks.other_total >= limits.guard_requests:
        before = unpack_sums(watched.clicks)
        change = change_since(before, clicks, limits.max_drop, CLICK_CONFIDENCE)
        if change.dropped:
            return (
                f"the click rate fell from {change.then:.4f} to {change.now:.4f} ({change.relative:+.1%} "
                f"[{change.low:+.1%}, {change.high:+.1%}]); at most -{limits.max_drop:.0%} is borne"
            )
        # Where nobody clicks at all there is no variance for an interval, and none is needed.
        expected = ratio(before)
        if clicks.total == 0 and expected is not None:
            high = share_interval(0, clicks.n, CLICK_CONFIDENCE)[1]
            if high < expected * (1 - limits.max_drop):
                return f"none of {clicks.n} users clicked anything; before, {expected:.1%} of lists were clicked"
    return None


def comparison(watched: Watched, clicks: PairSums, precision: PairSums) -> str:
    """Live quality of the new model beside that of the model before, in words; empty where it is not known.

    Args:
        clicks, precision: sums over the lists of the new model.
    """
    found = []
    for name, before, now in (("click rate", watched.clicks, clicks), ("MAP@10", watched.precision, precision)):
        if before is None:
            continue
        change = change_since(unpack_sums(before), now, 0.0, CONFIDENCE)
        if change.relative is not None:
            found.append(
                f"its {name} is {change.now:.4f}, that of the model before was {change.then:.4f} "
                f"({change.relative:+.1%} [{change.low:+.1%}, {change.high:+.1%}])"
            )
    return "; ".join(found)


def begin(
    slot: Slot,
    previous: Slot,
    counts: dict[str, int],
    clicks: list[float] | None,
    precision: list[float] | None,
    limits: AutopilotLimits,
) -> Watched:
    """Watch the model that a slot just got."""
    return Watched(
        version=slot.version,
        since_ms=slot.since_ms,
        until_ms=slot.since_ms + int(limits.guard_s * 1000),
        previous=previous.version,
        previous_uri=previous.uri,
        counts=counts,
        clicks=clicks,
        precision=precision,
    )
