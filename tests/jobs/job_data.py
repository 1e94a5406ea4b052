"""A small data set with a known answer."""

import numpy as np
import pandas as pd

from configs.settings import Settings
from data.dataset import Tables, processed_dir
from data.dataset_writer import write_dataset

SECOND = 1000


def two_tastes(n_users: int = 60, n_items: int = 40, per_user: int = 15, seed: int = 0) -> pd.DataFrame:
    """Users of even number rate mostly items of even number, the others the odd ones; one event a second."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        own = np.arange(user % 2, n_items, 2)
        liked = generator.choice(own, min(per_user, len(own)), replace=False)
        other = generator.choice(np.arange(1 - user % 2, n_items, 2), 2, replace=False)
        rows += [(str(user), str(item), "rating", 5.0) for item in liked]
        rows += [(str(user), str(item), "rating", 1.0) for item in other]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "event_type", "value"])
    frame = frame.iloc[generator.permutation(len(frame))].reset_index(drop=True)
    return frame.assign(timestamp_ms=np.arange(len(frame), dtype=np.int64) * SECOND)


def write_interactions(
    settings: Settings, interactions: pd.DataFrame, time_trusted: bool = True, name: str = "two tastes"
) -> None:
    items = pd.DataFrame({"item_id": interactions["item_id"].unique()})
    items = items.assign(title=items["item_id"], year=None, categories=[[] for _ in range(len(items))], added_ms=None)
    users = pd.DataFrame({"user_id": interactions["user_id"].unique()})
    write_dataset(
        processed_dir(settings), Tables(interactions, items, users), name, "a test", "0" * 64, ("int", "int"),
        time_trusted=time_trusted,
    )  # fmt: skip
