"""Reads what a training learns from: the imported data set and the offline event log."""

import hashlib
from collections import Counter

import pandas as pd

from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import load_dataset
from data.event_log import read_event_log
from data.prepare import processed_dir
from features.users.erasure import Erasures
from models.training.training_data import TrainingData, training_data_from_frame


def load_training_data(settings: Settings, erasures: Erasures) -> TrainingData:
    """Read the data set and the log.

    Args:
        settings: they say where data set and log lie.
        erasures: users whose interactions in the data set are left out; the log has lost theirs already.

    Raises:
        DataError: no data, or too little to learn from: fewer than two users or two items.
    """
    dataset = load_dataset(processed_dir(settings))
    log = read_event_log(settings.log_dir)
    types = load_event_types(settings.data.events)
    invented = log["simulated"].fillna(False).astype(bool) & (not settings.training.simulated)
    log = log[~invented]
    known = log["event_type"].isin(list(types.by_name))
    unknown = Counter(log.loc[~known, "event_type"].tolist())
    log = log[known]
    imported = dataset.interactions
    erased = erasures.covered(imported["user_id"].unique())
    if erased:
        imported = imported[~imported["user_id"].isin(erased)]
    frame = pd.concat([imported, log], ignore_index=True) if len(log) else imported
    digest = hashlib.sha256("\n".join([dataset.meta.fingerprint, *sorted(erased)]).encode())
    for user, item, event_type, value, time_ms in log[list(imported.columns)].itertuples(index=False):
        digest.update(f"\n{user}\t{item}\t{event_type}\t{value}\t{time_ms}".encode())
    return training_data_from_frame(
        frame,
        types,
        name=dataset.meta.name,
        id_types=(dataset.meta.user_id_type, dataset.meta.item_id_type),
        log_events=len(log),
        unknown_types=dict(unknown),
        simulated_left_out=int(invented.sum()),
        fingerprint=digest.hexdigest(),
    )
