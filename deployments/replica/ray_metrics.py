"""The counts of a replica as metrics of Ray Serve, on the port where Ray exports its own."""

from collections.abc import Mapping

from ray.serve.metrics import Counter

from deployments.replica.latency import BOUNDS_S

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "requests": ("Requests answered, by endpoint and status", ("endpoint", "code")),
    "errors": ("Requests refused or failed, by endpoint and error code", ("endpoint", "code")),
    "events": ("Events recorded, by type", ("type",)),
    "events_duplicate": ("Events that had been recorded before", ()),
    "events_refused": ("Events refused within a batch", ()),
    "features_refreshed": ("Times that an event changed a user's features", ()),
    "cache_hits": ("Lists from the cache", ()),
    "cold_starts": ("Lists for users of whom nothing is known", ()),
    "degraded": ("Lists made without the online store", ()),
    "variant_fallbacks": ("Lists by the champion because a variant's slot did not answer", ()),
    "version_mismatches": ("Lists by another version than their variant promises, which count for no experiment", ()),
    "exposures_lost": ("Lists that were shown and could not be logged", ()),
    "guarded": ("The first requests of each user under one model, and how many of them failed or were slow", ("what",)),
    "by_group": ("Requests by group of users: asked, failed, lists, and slow ones of these", ("what", "group")),
    "fold_ins": ("Lists by a user vector folded in at request time", ()),
    "latency": ("Durations by stage, with the upper bound of the bucket as le: not cumulative", ("stage", "le")),
    "latency_us": ("Sum of durations by stage, in microseconds", ("stage",)),
}


class RayMetrics:
    """Adds what a replica counted to Ray's counters. It is made in the replica's `__init__`, as Ray demands.

    Ray's own histogram takes one observation a call, which would cost more than the request's arithmetic. Bucket counts
    as counters are the same numbers: `histogram_quantile` reads them after a cumulative sum, and the console's
    `/metrics` has them as a histogram proper.
    """

    def __init__(self) -> None:
        self._counters = {
            name: Counter(f"raycommend_{name}", description=text, tag_keys=tags)  # type: ignore[arg-type]
            for name, (text, tags) in FAMILIES.items()
        }

    def __call__(self, amounts: Mapping[str, int]) -> None:
        """Add amounts by name, as `deployments.replica.request_metrics.RequestMetrics` counts them.

        What has no family is left out: the report to the store comes after this one, and must not wait for it.
        """
        for name, amount in amounts.items():
            family, *values = name.split(":")
            if family not in FAMILIES:
                continue
            tags = FAMILIES[family][1]
            if family == "latency":
                values[1] = "+Inf" if int(values[1]) == len(BOUNDS_S) else f"{BOUNDS_S[int(values[1])]:g}"
            self._counters[family].inc(amount, dict(zip(tags, values, strict=True)))
