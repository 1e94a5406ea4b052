"""Every key of the online store.

A user's keys, the streams that carry the user's events and exposures, and that partition's share of the item
counters all begin with one hash tag (`{p07}`), so a script touches one slot and a Redis Cluster works unchanged.
What is global (catalogue, slots, locks) lives under the tag `{control}`.
"""

import zlib

PARTITION_KINDS = "uhsdlxai"
"""Kinds of keys that come one per user (u, h, s, d, l, x, a) or one per item (i)."""


def confirmed_key(key: str) -> str:
    """String, in the slot of `key`: the write behind which the store's copies are asked how far they are."""
    return f"{key[: key.index('}') + 1]}:confirmed"


class Keys:
    """Builds keys.

    Args:
        prefix: first part of every key; without braces, so that the tag behind it decides the slot.
        partitions: over how many hash tags users spread.
    """

    def __init__(self, prefix: str, partitions: int) -> None:
        self.prefix = prefix
        self.partitions = partitions
        self._tags = [f"{prefix}:{{p{number:02d}}}:" for number in range(partitions)]
        self._control = f"{prefix}:{{control}}:"

    def partition_of(self, user_id: str) -> int:
        """The partition that owns a user: crc32 of the id's UTF-8 text, modulo the number of partitions."""
        return zlib.crc32(user_id.encode()) % self.partitions

    def _tag(self, user_id: str) -> str:
        return self._tags[zlib.crc32(user_id.encode()) % self.partitions]

    # These keys belong to one user.

    def user(self, user_id: str) -> str:
        """Hash: version, counters, activity, category affinity, first and last seen."""
        return f"{self._tag(user_id)}u:{user_id}"

    def history(self, user_id: str) -> str:
        """String: the packed history (`features.users.history`)."""
        return f"{self._tag(user_id)}h:{user_id}"

    def older_seen(self, user_id: str) -> str:
        """String: newline-joined items that the bounded history let go, only to exclude what was seen."""
        return f"{self._tag(user_id)}s:{user_id}"

    def ledger(self, user_id: str) -> str:
        """String: answers given to the user's latest events, by which a retry is known (`record_event.lua`)."""
        return f"{self._tag(user_id)}d:{user_id}"

    def last_exposure(self, user_id: str) -> str:
        """String: the id of the last list that the user was shown."""
        return f"{self._tag(user_id)}l:{user_id}"

    def user_experiments(self, user_id: str) -> str:
        """Hash: what experiments have counted of the user (`experiment.lua`)."""
        return f"{self._tag(user_id)}x:{user_id}"

    def user_attributes(self, user_id: str) -> str:
        """String: JSON of the user's attributes."""
        return f"{self._tag(user_id)}a:{user_id}"

    def of_user(self, user_id: str) -> tuple[int, list[str]]:
        """The user's partition, and the keys `user`, `history`, `older_seen`, `ledger`; quicker than one by one."""
        partition = self.partition_of(user_id)
        tag = self._tags[partition]
        return partition, [f"{tag}u:{user_id}", f"{tag}h:{user_id}", f"{tag}s:{user_id}", f"{tag}d:{user_id}"]

    # These keys belong to one partition.

    def item(self, partition: int, item_id: str) -> str:
        """Hash: what this partition's users did with an item."""
        return f"{self._tags[partition]}i:{item_id}"

    def users(self, partition: int) -> str:
        """Sorted set: ids of the partition's users, all with score 0, in the order of their bytes."""
        return f"{self._tags[partition]}users"

    def trending(self, partition: int, window: str) -> str:
        """Sorted set: log2 of the decayed weight of this partition's strongest items."""
        return f"{self._tags[partition]}trending:{window}"

    def events(self, partition: int) -> str:
        """Stream of events that are not yet in the offline log."""
        return f"{self._tags[partition]}events"

    def exposures(self, partition: int) -> str:
        """Stream of exposures that are not yet in the offline log."""
        return f"{self._tags[partition]}exposures"

    def exposures_trimmed(self, partition: int) -> str:
        """String: exposures that were dropped at `store.max_exposures`, before a compaction took them, ever."""
        return f"{self._tags[partition]}exposures_trimmed"

    def experiment_sums(self, partition: int) -> str:
        """Hash: this partition's share of the sums of all experiments (`experiment.lua`)."""
        return f"{self._tags[partition]}experiments"

    def totals(self, partition: int) -> str:
        """Hash: `events` behind the features, `last_ms` the newest timestamp."""
        return f"{self._tags[partition]}totals"

    def confirmed(self, partition: int) -> str:
        """String: see `confirmed_key`."""
        return confirmed_key(self._tags[partition])

    def rebuilding(self, partition: int) -> str:
        """Present while the partition's features are being rebuilt: events are logged and applied at its end."""
        return f"{self._tags[partition]}rebuilding"

    def pattern(self, kind: str) -> str:
        """A SCAN pattern over all partitions' keys of one kind of `PARTITION_KINDS`. For offline jobs only."""
        if kind not in PARTITION_KINDS:
            raise ValueError(f"no such kind of key: {kind!r}")
        return f"{self.prefix}:{{p*}}:{kind}:*"

    # These keys belong to the store as a whole.

    @property
    def meta(self) -> str:
        """Hash: `format`, `partitions`, `seeded`, `users_indexed`; `erasure_key`: fingerprint of that of `erased`."""
        return f"{self._control}meta"

    @property
    def versions(self) -> str:
        """Hash: `catalogue`, `serving`, `erasures` and `access`, each counted up by every change; `slot:<name>` is the
        version of the serving state at which a slot changed last."""
        return f"{self._control}versions"

    @property
    def catalogue(self) -> str:
        """Hash: item id -> JSON."""
        return f"{self._control}catalogue"

    @property
    def catalogue_changes(self) -> str:
        """Stream: ids of changed items; an entry's id is `<catalogue version>-0`."""
        return f"{self._control}catalogue_changes"

    @property
    def attribute_schema(self) -> str:
        """Hash: `item:<name>` or `user:<name>` -> the attribute's type."""
        return f"{self._control}attribute_schema"

    @property
    def slots(self) -> str:
        """Hash: slot name -> JSON."""
        return f"{self._control}slots"

    @property
    def decisions(self) -> str:
        """Stream: the timeline of slot changes."""
        return f"{self._control}decisions"

    @property
    def experiments(self) -> str:
        """Hash: experiment -> JSON of its definition and state."""
        return f"{self._control}experiments"

    @property
    def experiment_changes(self) -> str:
        """Stream: every change of every experiment."""
        return f"{self._control}experiment_changes"

    def experiment_series(self, experiment: str) -> str:
        """Stream: an experiment's sums as they grew."""
        return f"{self._control}experiment_series:{experiment}"

    @property
    def rollout(self) -> str:
        """String: JSON of the share of traffic that the challenger gets without an experiment."""
        return f"{self._control}rollout"

    @property
    def guard(self) -> str:
        """String: JSON of the promotion that is being watched (`features.serving.serving_state.Guard`)."""
        return f"{self._control}guard"

    @property
    def aliases(self) -> str:
        """Hash: slot -> version of the serving state at which the registry's alias last followed it."""
        return f"{self._control}aliases"

    def request(self, token: str) -> str:
        """String: the answer to a change of the serving state, for a repeat of it; expires."""
        return f"{self._control}request:{token}"

    @property
    def replicas(self) -> str:
        """Hash: serving replica -> JSON of what it last said of itself."""
        return f"{self._control}replicas"

    @property
    def run(self) -> str:
        """String: the retraining in progress, JSON (`features.serving.run_record`)."""
        return f"{self._control}run"

    @property
    def last_run(self) -> str:
        """String: the latest retraining that has ended, JSON."""
        return f"{self._control}last_run"

    def run_result(self, run_id: str) -> str:
        """String: what the job of a retraining found, JSON; expires."""
        return f"{self._control}run_result:{run_id}"

    @property
    def timeline(self) -> str:
        """Stream: what was noticed and decided, JSON."""
        return f"{self._control}timeline"

    @property
    def autopilot(self) -> str:
        """Hash: name -> JSON of what autopilot keeps between two looks."""
        return f"{self._control}autopilot"

    @property
    def drift_reference(self) -> str:
        """String: the first window of the present champion, JSON (`deployments.autopilot.drift_watch`)."""
        return f"{self._control}drift_reference"

    @property
    def quality(self) -> str:
        """Hash: `<model version>|<day>|<sum>` -> what became of served lists; `watermark`: judged up to then."""
        return f"{self._control}quality"

    @property
    def left_out(self) -> str:
        """Hash: second -> simulated events of it that wait in the streams; `counted`: that they were counted at all."""
        return f"{self._control}left_out"

    def shown_items(self, version: str, day: str) -> str:
        """HyperLogLog: items that a model showed on a day."""
        return f"{self._control}shown:{version}:{day}"

    @property
    def telemetry(self) -> str:
        """Hash: count -> total over all replicas, ever."""
        return f"{self._control}telemetry"

    def telemetry_slice(self, number: int) -> str:
        """Hash: the same within one slice of time (`features.telemetry.counters`); expires."""
        return f"{self._control}telemetry:{number}"

    @property
    def telemetry_writers(self) -> str:
        """Hash: replica -> `<number of its last report>:<time in ms>:<deployment>:<start in ms>`."""
        return f"{self._control}reporters"

    @property
    def erased(self) -> str:
        """Hash: keyed digest of an erased user id -> time of the erasure in ms."""
        return f"{self._control}erased"

    @property
    def access(self) -> str:
        """String: JSON of the API keys, hashed (`features.access.key_records`)."""
        return f"{self._control}access"

    @property
    def audit(self) -> str:
        """Stream: what admins did and what was refused, JSON (`features.access.audit_log`)."""
        return f"{self._control}audit"

    def rate(self, api_key: str, minute: int) -> str:
        """String: requests and events of an API key within a minute; expires."""
        return f"{self._control}rate:{api_key}:{minute}"

    def lock(self, name: str) -> str:
        """String: token of the job that holds the lock."""
        return f"{self._control}lock:{name}"
