"""What a retraining says of its data and its models: one line each."""

import time
from collections.abc import Callable

import numpy as np

from configs.settings import Settings
from jobs.launch.training_command import Report
from models.training.ranker_judgement import SecondStage
from models.training.training_data import TrainingData

_LARGE_SHARE = 0.2  # of all events, from which on one user or one item is worth a line
TOO_LITTLE = "too little data for a ranker"
NO_ORDER = (
    "the times of the data set say nothing of what came before what: its events count as of one moment in a random "
    "order, so every split is random, and the latest events are random ones"
)


def time_left(taken_s: float, share: float) -> str:
    """What a stage will still take, by what this share of it took; empty at its end."""
    left_s = taken_s * (1 - share) / share
    if left_s < 1:
        return ""
    return f"; some {left_s:.0f} s left of this" if left_s < 90 else f"; some {left_s / 60:.0f} min left of this"


def ranker_progress(report: Report) -> Callable[[float, str], None]:
    """What follows the training of the ranker, which is the retraining's 50 to 85 percent."""
    started = time.perf_counter()

    def tell(share: float, text: str) -> None:
        report(50 + round(35 * share), f"ranker: {text}{time_left(time.perf_counter() - started, share)}")

    return tell


def describe_second_stage(second: SecondStage | None, settings: Settings) -> list[str]:
    """What came of the ranker, and of what it was offered to learn from: a line each."""
    lines = [_ranker(second, settings)]
    lines.append(f"lists that were shown: {second.logged_note if second else TOO_LITTLE}")
    if second is not None and second.attributes_note:
        lines.append(f"attributes: {second.attributes_note}")
    if second is not None and second.sources_note:
        lines.append(f"further candidates: {second.sources_note}")
    return lines


def _ranker(second: SecondStage | None, settings: Settings) -> str:
    """One line: from what the ranker learned and what it wins, or why there is none."""
    if not settings.training.ranker:
        return "no ranker, as the settings say"
    if second is None or second.lists == 0:
        return TOO_LITTLE
    if second.ranker is None:
        return "the ranker does not help in the window before the latest and is left out"
    found = second.metrics
    if "latest_ndcg_at_10" not in found:
        return f"ranker learned from {second.ranker.lists:,} requests; nobody to judge it on in the latest window"
    text = f"NDCG@10 {found['latest_plain_ndcg_at_10']:.4f} without ranker, over {found['latest_users']:.0f} users"
    shown = f" and {second.ranker.logged_lists:,} lists that were shown" if second.ranker.logged_lists else ""
    return f"ranker learned from {second.ranker.lists:,} requests{shown}: {found['latest_ndcg_at_10']:.4f}, {text}"


def describe_data(data: TrainingData) -> list[str]:
    """How much there is, what had to be left out, and what it cannot teach: a line each."""
    text = (
        f"{data.name}: {len(data):,} events of {len(data.users):,} users with {len(data.items):,} items, "
        f"{data.log_events:,} of them from the event log"
    )
    left_out = []
    if data.simulated_left_out:
        left_out.append(f"{data.simulated_left_out:,} simulated events")
    if data.unknown_types:
        names = ", ".join(sorted(data.unknown_types))
        left_out.append(f"{sum(data.unknown_types.values()):,} events of types unknown to this preset ({names})")
    text = f"{text}; left out: {' and '.join(left_out)}" if left_out else text
    return [text, *([] if data.time_trusted else [NO_ORDER]), *_what_is_thin(data)]


def _what_is_thin(data: TrainingData) -> list[str]:
    """What these events cannot teach, one line each."""
    n, n_users, n_items = len(data), len(data.users), len(data.items)
    of_user, of_item = np.bincount(data.user, minlength=n_users), np.bincount(data.item, minlength=n_items)
    found = []
    if np.isnan(data.values).all():
        found.append("no event has a value: each counts by its type alone, and no rating can be foretold")
    if data.time_trusted and data.times_ms.min() == data.times_ms.max():
        found.append("all events are of one moment: what came before what is not known, and is drawn at random")
    for counts, what, lost in (
        (of_user, "users", "what else they like is only guessed from it"),
        (of_item, "items", "whom they suit is only guessed from it"),
    ):
        if (single := int((counts == 1).sum())) * 2 > len(counts):
            found.append(f"{single:,} of {len(counts):,} {what} have one event: {lost}")
    if n >= n_users * n_items and len(np.unique(data.user.astype(np.int64) * n_items + data.item)) == n_users * n_items:
        found.append("every user has every item: there is no taste to learn, and nothing new to recommend")
    for counts, ids, what in ((of_user, data.users.ids, "user"), (of_item, data.items.ids, "item")):
        largest = int(counts.argmax())
        if counts[largest] > max(_LARGE_SHARE * n, 2 * n / len(counts)):
            found.append(
                f"{what} {ids[largest]!r} has {counts[largest] / n:.0%} of all events, and shapes much of the model"
            )
    return found


def describe_metrics(metrics: dict[str, float], time_trusted: bool = True) -> str:
    """The evaluation of the first stage, with its intervals."""
    part = "latest tenth" if time_trusted else "a random tenth of each user's events"
    if "ndcg_at_10" not in metrics:
        return f"{part}: nobody to evaluate on; the metrics are undefined"
    parts = [
        f"{label} {metrics[name]:.4f} [{metrics[f'{name}_low']:.4f}, {metrics[f'{name}_high']:.4f}]"
        for label, name in (
            ("NDCG@10", "ndcg_at_10"),
            ("MAP@10 over |relevant|", "map_at_10"),
            ("recall@10", "recall_at_10"),
            ("popularity's NDCG@10", "popularity_ndcg_at_10"),
        )
    ]
    return f"{part}, {metrics['evaluated_users']:.0f} users: {', '.join(parts)}"
