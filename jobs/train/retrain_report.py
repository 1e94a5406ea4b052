"""What a retraining says of its data and its models: one line each."""

from collections.abc import Callable

from configs.settings import Settings
from models.training.ranker_judgement import SecondStage
from models.training.training_data import TrainingData

Report = Callable[[int, str], None]
"""Called with percent done and one line."""
NO_ORDER = (
    "the times of the data set say nothing of what came before what: they are dealt to its events at random, so every "
    "split is random, and the latest events are random ones"
)


def describe_ranker(second: SecondStage | None, settings: Settings) -> str:
    """One line: from what the ranker learned and what it wins, or why there is none."""
    if not settings.training.ranker:
        return "no ranker, as the settings say"
    if second is None or second.lists == 0:
        return "too little data for a ranker"
    if second.ranker is None:
        return "the ranker does not help in the window before the latest and is left out"
    found = second.metrics
    if "latest_ndcg_at_10" not in found:
        return f"ranker learned from {second.ranker.lists:,} requests; nobody to judge it on in the latest window"
    text = f"NDCG@10 {found['latest_plain_ndcg_at_10']:.4f} without ranker, over {found['latest_users']:.0f} users"
    shown = f" and {second.ranker.logged_lists:,} lists that were shown" if second.ranker.logged_lists else ""
    return f"ranker learned from {second.ranker.lists:,} requests{shown}: {found['latest_ndcg_at_10']:.4f}, {text}"


def describe_data(data: TrainingData) -> str:
    """How much there is, and what had to be left out."""
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
    return f"{text}; left out: {' and '.join(left_out)}" if left_out else text


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
