"""Watching a model that was just promoted: what it must not break, and whether it did."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from configs.settings import AutopilotLimits
from deployments.replica.user_counts import OF_ONE_USER
from experiments.statistics.performance import change_since, share_interval
from experiments.statistics.ratio import ratio
from experiments.statistics.sums import PairSums, unpack_sums
from features.serving.replicas import ReplicaReport
from features.serving.slots import Slot

CONFIDENCE = 0.99
CLICK_CONFIDENCE = 0.999


class WatchedPromotion(BaseModel):
    """A promotion that is being watched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    since_ms: int
    until_ms: int
    previous: str
    previous_uri: str
    counts: dict[str, int]
    """The counts of `deployments.replica.user_counts` as they stood at the promotion."""
    clicks: list[float] | None
    """Sums of the clicked lists of the model before; None where too few were judged."""
    precision: list[float] | None = None
    """Sums of the average precision of its lists; None where too few were judged."""


def broken(
    watched: WatchedPromotion,
    counts: Mapping[str, int],
    clicks: PairSums,
    replicas: Sequence[ReplicaReport],
    limits: AutopilotLimits,
    now_ms: int,
    counting: int = 1,
) -> str | None:
    """Which guardrail is broken, in words; None where none is.

    Args:
        counts: the present counts, from `deployments.replica.user_counts`.
        clicks: sums of the clicked lists of the new model.
        replicas: what the replicas of the champion's retrieval report.
        counting: the replicas that counted: as often as they let one user count, he alone must not take a model back.
    """
    refusing = [one.problem for one in replicas if one.problem and one.wanted_version == watched.version]
    if refusing and now_ms - watched.since_ms > 1000:
        return f"{len(refusing)} of {len(replicas)} replicas refuse the bundle: {refusing[0]}"
    grown = {name: max(0, amount - watched.counts.get(name, 0)) for name, amount in counts.items()}
    n = grown.get("requests", 0)
    for name, limit, words in (
        ("failed", limits.max_error_share, "of the requests failed"),
        ("slow", limits.max_slow_share, f"of the recommendations took more than {limits.slow_s:g} s"),
    ):
        hits = min(grown.get(name, 0), n)
        if n >= limits.guard_requests and hits:
            low, high = share_interval(hits, n, CONFIDENCE)
            without_one = max(0, hits - OF_ONE_USER * counting)
            if share_interval(without_one, n, CONFIDENCE)[0] > limit:
                return (
                    f"{hits / n:.1%} [{low:.1%}, {high:.1%}] {words} since the promotion ({n} in all, the first "
                    f"{OF_ONE_USER} of each user); at most {limit:.1%} may"
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


def comparison(watched: WatchedPromotion, clicks: PairSums, precision: PairSums) -> str:
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
) -> WatchedPromotion:
    """Watch the model that a slot just got."""
    return WatchedPromotion(
        version=slot.version,
        since_ms=slot.since_ms,
        until_ms=slot.since_ms + int(limits.guard_s * 1000),
        previous=previous.version,
        previous_uri=previous.uri,
        counts=counts,
        clicks=clicks,
        precision=precision,
    )
