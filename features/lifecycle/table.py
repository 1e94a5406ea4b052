# ruff: noqa: E501 - a row is one line, so that the table reads as one
"""One row for each key, stream, file and artifact that the system keeps. docs/operations.md shows the rows.

Tests hold it complete: every key of `features.redis.keys`, every entry of the state folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from configs.groups.keeping import Keeping

Group = Literal["streams", "users", "ledgers", "items", "control", "log", "bundles", "registry", "files"]
"""What shares a budget: `keeping.<group>_bytes`."""


@dataclass(frozen=True)
class Kept:
    """What is kept under one name.

    Attributes:
        name: of a key, its builder in `Keys`; of a file, its path in the state folder or as the settings name it.
        owner: the module or program that writes it.
        growth: what makes it larger.
        retention: what makes it smaller, and when.
        alert: what tells of trouble with it, beside `budget_<group>`, which every group has.
    """

    name: str
    owner: str
    growth: str
    retention: str
    group: Group
    alert: str = ""


_IDLE = "store.idle_user_days after the user's last event"
KEYS: tuple[Kept, ...] = (
    Kept("events", "features.recording", "each event", "a compaction: by age, by size", "streams", "stream_lag, compaction"),
    Kept("exposures", "features.recording", "each list shown", "a compaction; at most store.max_exposures a partition", "streams", "exposures_trimmed, compaction"),
    Kept("exposures_trimmed", "features.recording", "none: a number a partition", "for good", "streams", "exposures_trimmed"),
    Kept("user", "features.recording", "each new user; 48 categories at most", _IDLE, "users"),
    Kept("history", "features.recording", "each event, to store.history_limit", _IDLE, "users"),
    Kept("older_seen", "features.recording", "what leaves the history, to store.seen_limit", _IDLE, "users"),
    Kept("user_experiments", "features.experiments", "each experiment of a user", "store.idle_user_days after the user's last event or counted list", "users"),
    Kept("user_attributes", "features.users", "each user with attributes", f"{_IDLE}; without an event the user's erasure", "users"),
    Kept("users", "features.recording", "each new user: the id", "the user's erasure; an id of an expired user, when a list meets it", "users"),
    Kept("last_exposure", "features.recording", "each new user", "store.dedupe_window_s", "users"),
    Kept("ledger", "features.recording", "27 bytes an event, 8192 events at most", "store.dedupe_window_s after the user's last event", "ledgers"),
    Kept("item", "features.recording", "each new item, in each partition", "for good", "items"),
    Kept("trending", "features.recording", "each item with events", "the 1000 strongest of a partition and window", "items"),
    Kept("catalogue", "features.items", "each item that is put", "deleted by a person", "items"),
    Kept("catalogue_changes", "features.items", "each change of an item", "the latest 10,000", "items"),
    Kept("attribute_schema", "features.items", "each declared attribute, 50 of items and 50 of users at most", "for good: items and users carry values of it", "control"),
    Kept("experiment_sums", "features.experiments", "each variant of each experiment", "for good", "control"),
    Kept("totals", "features.recording", "none: two numbers a partition", "for good", "control"),
    Kept("confirmed", "features.redis", "none: a mark a partition, with store.copies", "for good", "control"),
    Kept("rebuilding", "features.recovery", "none: a mark a partition", "the end of the rebuild", "control"),
    Kept("meta", "features.redis", "none: a few fields", "for good", "control"),
    Kept("versions", "features.serving", "none: one field a counter", "for good", "control"),
    Kept("slots", "features.serving", "none: two slots", "for good", "control"),
    Kept("decisions", "features.serving", "each change of a slot", "the latest 10,000", "control"),
    Kept("experiments", "features.experiments", "each experiment", "for good", "control"),
    Kept("experiment_changes", "features.experiments", "each step of an experiment", "the latest 10,000", "control"),
    Kept("experiment_series", "features.experiments", "a point at a time while an experiment runs", "the latest 2,000 of an experiment", "control"),
    Kept("rollout", "features.serving", "none: one value", "the next rollout", "control"),
    Kept("guard", "features.serving", "none: one value", "the end of the watch", "control"),
    Kept("aliases", "features.serving", "none: two fields", "for good", "control"),
    Kept("request", "features.serving", "each change of the serving state", "60 s", "control"),
    Kept("replicas", "features.serving", "each replica", "10 s after its last report", "control", "model_mismatch"),
    Kept("run", "features.serving", "none: one value", "the end of the retraining", "control"),
    Kept("last_run", "features.serving", "none: one value", "the next retraining", "control", "retraining_failed"),
    Kept("run_result", "features.serving", "each retraining", "30 days", "control"),
    Kept("timeline", "features.serving", "each decision and alert", "the latest 10,000", "control"),
    Kept("autopilot", "deployments.autopilot", "none: two fields", "for good", "control"),
    Kept("drift_reference", "deployments.autopilot", "none: one window of lists", "the next champion", "control"),
    Kept("quality", "features.telemetry", "each model and day", "keeping.quality_days", "control"),
    Kept("shown_items", "features.telemetry", "each model and day, 12 KB at most", "40 days", "control"),
    Kept("left_out", "features.telemetry", "each second with simulated events", "the compaction of that second", "control"),
    Kept("telemetry", "features.telemetry", "each name of a count", "for good", "control"),
    Kept("telemetry_slice", "features.telemetry", "each ten seconds", "15 minutes", "control"),
    Kept("telemetry_writers", "features.telemetry", "each replica", "an hour after its last report", "control"),
    Kept("erased", "features.users", "each erased user", "for good: it keeps the user erased", "control"),
    Kept("access", "features.access", "each API key, 1,000 at most", "for good; of revoked ones the oldest go at 1,000", "control"),
    Kept("audit", "features.access", "each change by an admin, and refused tries", "the latest 10,000", "control"),
    Kept("rate", "deployments.access", "each API key and minute", "two minutes", "control"),
    Kept("lock", "features.redis", "none: one value a kind of job", "30 s after its holder died", "control"),
)  # fmt: skip
FILES: tuple[Kept, ...] = (
    Kept("log", "features.streams", "each compaction", "for good: training reads it; erasure rewrites it", "log"),
    Kept("log/erasure_key", "features.users", "none", "for good: without it erased users cannot be told", "log"),
    Kept("bundles", "jobs.train", "each training", "training.keep_bundles, and those of the slots", "bundles"),
    Kept("mlflow", "MLflow", "each training: a run, its trials, a model version and its artifacts", "for good; a person deletes runs, then mlflow gc", "registry"),
    Kept("pending_publications", "jobs.train", "trainings that the registry missed", "delivered by the next training", "registry"),
    Kept("store", "the online store", "each write, until its file is rewritten", "the server's own rewrites", "files", "disk, store_full, store_not_durable"),
    Kept("logs", "deployments.local", "lines of the stack's processes", "make clean", "files"),
    Kept("run", "deployments.local", "none: a record for each process", "make down", "files"),
    Kept("tune", "jobs.train", "the trials of a training", "the end of the training", "files"),
    Kept("dataset.json", "data", "none: the name of the data set that filled the folder", "make clean", "files"),
    Kept("imports", "data, jobs.maintenance", "each imported file: its state, refused rows, and history until it is in the log", "make clean", "files"),
    Kept("evaluation", "jobs.evaluate", "none: the latest report", "the next evaluation", "files"),
    Kept("evaluation_data", "jobs.evaluate", "each data set given with --data: its prepared form", "a person removes it", "files"),
    Kept("replay.jsonl", "jobs.evaluate", "the answers of a replay", "the next replay", "files"),
    Kept("prometheus", "Prometheus", "each scrape", "15 days, Prometheus' own", "files"),
    Kept("format.json", "deployments.local", "none: the format of the folder, and the version that wrote it", "make clean", "files"),
    Kept("settings.yaml", "deployments.local", "none", "the next start", "files"),
    Kept("serve_config.yaml", "deployments.local", "none", "the next start", "files"),
    Kept("ray_token", "deployments.local", "none", "make clean", "files"),
    Kept("env", "deployments.local", "none", "make down", "files"),
    Kept("store_passwords.json", "deployments.local", "none: a password for each role", "make clean", "files"),
    Kept("store_users.acl", "deployments.local", "none: the same hashed, with what each role may do", "make clean", "files"),
    Kept("mlflow_password", "deployments.local", "none: the password of the stack's own MLflow", "make clean", "files"),
    Kept("lock", "deployments.local", "none: who changes the stack", "make clean", "files"),
    Kept("supervisor.lock", "deployments.local", "none: who runs the stack", "make clean", "files"),
    Kept("supervision.json", "deployments.local", "each part that was started again, the latest 50", "make down", "files", "unsupervised, store_down, mlflow_down, ray_down, serve_down"),
    Kept("access.json", "deployments.access", "none: the API keys (hashed) as the replicas last knew them", "make clean", "files"),
    Kept("data_dir", "data", "none: the data set, raw and prepared", "the next data set", "files"),
    Kept("run_dir", "Ray", "Ray's session and logs", "the next start, and Ray's own rotation", "files"),
)  # fmt: skip
BY_FILE: dict[str, Group] = {row.name: row.group for row in FILES}
GROUPS: tuple[Group, ...] = Group.__args__  # type: ignore[attr-defined]


def budget_bytes(keeping: Keeping, group: Group) -> int:
    """The budget that all rows of a group share."""
    budget: int = getattr(keeping, f"{group}_bytes")
    return budget


def markdown(keeping: Keeping) -> Iterator[str]:
    """The table as docs/operations.md shows it, line by line, with the budgets of the settings given."""
    yield "| kept | where | owner | grows by | until | budget of its group | alerts |"
    yield "|---|---|---|---|---|---|---|"
    for where, rows in (("key", KEYS), ("file", FILES)):
        for row in rows:
            budget = f"{row.group}: {budget_bytes(keeping, row.group) // 1_000_000:,} MB"
            alerts = ", ".join(filter(None, (row.alert, f"budget_{row.group}")))
            yield f"| `{row.name}` | {where} | {row.owner} | {row.growth} | {row.retention} | {budget} | {alerts} |"
