"""What experiments have counted: the sums of each variant, read in one round trip whatever the number of events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs.settings import Store
from experiments.attribution import Rule, ShownList, UserReplay
from experiments.user_totals import STATISTICS, UserTotals, VariantSums, add_sums, user_statistics
from features.redis.connection import Command, StoreClient
from features.redis.keys import Keys


def rule_of(store: Store) -> Rule:
    """The limits of attribution that the settings ask for."""
    return Rule(
        window_ms=store.attribution_window_s * 1000,
        session_gap_ms=store.session_gap_s * 1000,
        clock_skew_ms=store.clock_skew_s * 1000,
        lists_kept=store.attribution_lists,
        counted_lists=store.counted_lists,
    )


async def read_sums(
    client: StoreClient, keys: Keys, experiment: str, variants: Sequence[str]
) -> dict[str, VariantSums]:
    """The sums of each variant over all partitions. Raises `StoreUnavailable`."""
    fields = [f"{experiment}|{variant}|{name}" for variant in variants for name in STATISTICS]
    shares = await client.read(
        [("HMGET", keys.experiment_sums(partition), *fields) for partition in range(keys.partitions)]
    )
    width = len(STATISTICS)
    return {
        variant: add_sums(
            {name: int(value or 0) for name, value in zip(STATISTICS, share[width * place :], strict=False)}
            for share in shares
        )
        for place, variant in enumerate(variants)
    }


TOTALS = (
    "first_ms", "last_ms", "before", "simulated", "mixed", "lists", "clicked", "engaged", "precision", "events",
    "conversions", "rated", "ratings", "sessions",
)  # fmt: skip
"""Order of a user's totals as `experiment.lua` keeps them."""


async def write_ends(client: StoreClient, keys: Keys, ends: Mapping[str, int]) -> None:
    """Tell every partition the last moment that counts for experiments that were stopped. Safe to repeat."""
    commands = [
        ("HSETNX", keys.experiment_sums(partition), f"{experiment}|end", end_ms)
        for experiment, end_ms in ends.items()
        for partition in range(keys.partitions)
    ]
    await client.read(commands)


def user_commands(keys: Keys, user_id: str, replay: UserReplay, idle_s: int) -> list[Command]:
    """Writes that leave what the scripts would have left of a user; into a partition that was cleared.

    Args:
        idle_s: how long an idle user is kept; 0 for ever.
    """
    fields = [text for name, totals in replay.totals.items() for text in (f"t:{name}", pack_totals(totals))]
    lists = "".join(pack_list(shown) for shown in replay.lists)
    commands: list[Command] = [("HSET", keys.user_experiments(user_id), *fields, "lists", lists)]
    if replay.current is not None:
        current = f"{replay.current}|{replay.totals[replay.current].variant}"
        commands.append(("HSET", keys.user(user_id), "x", current))
    if idle_s:
        commands += [("EXPIRE", key, idle_s) for key in (keys.user(user_id), keys.user_experiments(user_id))]
    return commands


def sums_command(key: str, replays: Iterable[UserReplay], ends: Mapping[str, int]) -> list[Command]:
    """The write of a partition's hash of sums, none where there is nothing to count."""
    total: dict[str, int] = {}
    for replay in replays:
        for experiment, totals in replay.totals.items():
            for name, value in user_statistics(totals).items():
                field = f"{experiment}|{totals.variant}|{name}"
                total[field] = total.get(field, 0) + value
    total = {field: value for field, value in total.items() if value}
    total |= {f"{experiment}|end": end_ms for experiment, end_ms in ends.items()}
    return [("HSET", key, *(part for pair in total.items() for part in pair))] if total else []


def pack_totals(totals: UserTotals) -> str:
    """A user's totals in the form in which `experiment.lua` keeps them."""
    return " ".join((totals.variant, *(str(int(getattr(totals, name))) for name in TOTALS)))


def unpack_user(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What the store holds of a user for experiments, JSON-ready: totals by experiment, and the latest lists to which
    events can belong, newest first."""
    experiments = {}
    for name, packed in fields.items():
        if name.startswith(b"t:"):
            variant, *numbers = packed.decode().split(" ")
            counts = dict(zip(TOTALS, map(int, numbers), strict=True))
            experiments[name[2:].decode()] = {"variant": variant, **counts}
    lists = []
    for line in fields.get(b"lists", b"").decode().splitlines():
        head, *items = line.split("\t")
        recommendation_id, time_ms, clicked, engaged, hits = head.split(" ")
        lists.append(
            {
                "recommendation_id": recommendation_id,
                "time_ms": int(time_ms),
                "clicked": clicked == "1",
                "engaged": engaged == "1",
                "hits": hits,
                "item_ids": [item_id for item_id in items if item_id],
            }
        )
    return {"experiments": experiments, "counted_lists": lists}


def pack_list(shown: ShownList) -> str:
    """A list in the form in which `experiment.lua` keeps it."""
    hits = "".join("2" if shown.forced else "1" if hit else "0" for hit in shown.hits)
    head = f"{shown.recommendation_id} {shown.time_ms} {int(shown.clicked)} {int(shown.engaged)} {hits}"
    return "\t".join((head, *shown.item_ids, "\n"))
