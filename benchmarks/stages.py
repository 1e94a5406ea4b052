"""Processor time of a recommendation's stages, in one process and without Serve around them.

Start the stack (`make up`), then `python -m benchmarks.stages`. Nothing is written to the store.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving import USERS, machine
from configs.settings import load_settings
from deployments.recommend.candidate_call import affinities_of, score_candidates
from deployments.recommend.messages import Question, Reply
from deployments.recommend.ranked_list import dress, rank
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval


async def measure(batch: int, rounds: int) -> dict[str, float]:
    """Microseconds of processor time per request and stage, medians over rounds of one micro-batch each."""
    settings = load_settings()
    retrieval = Retrieval("champion", settings)
    await retrieval.start()
    ranking = Ranking(settings, {"champion": retrieval.retrieve})
    await ranking.start()
    generator = np.random.default_rng(0)
    taken: dict[str, list[float]] = {}

    async def timed(stage: str, work: Callable[..., Any], *args: Any) -> Any:
        started = time.process_time()
        found = work(*args)
        if asyncio.iscoroutine(found):
            found = await found
        taken.setdefault(stage, []).append((time.process_time() - started) / batch * 1e6)
        return found

    try:
        for _ in range(rounds):
            users = [str(user) for user in generator.integers(1, USERS + 1, batch)]
            features = await timed("features, one round trip", _read, ranking, users)
            questions = [
                Question(user.encode(), mine.history, mine.older_seen, 100, True, (), None, (), affinities_of(mine))
                for user, mine in zip(users, features, strict=True)
            ]
            reply: Reply = await timed("retrieval and features", retrieval.retrieve, questions)
            loaded = retrieval._loaded
            assert loaded is not None
            assert reply.version is not None
            queries, *_ = await timed("  of which histories", retrieval._queries, loaded, questions)
            await timed("  of which fold-in and index", loaded.model.retrieve, queries, loaded.shelf)
            learned: list[np.ndarray | None] = [None] * batch
            ranker = await ranking._candidates.ranker(reply.version, Path(reply.bundle)) if reply.bundle else None
            if ranker is not None:
                learned = await timed("learned ranker", score_candidates, ranker, reply, features, [None] * batch)
            await timed("order and answer", _order, ranking, reply, learned)
    finally:
        await ranking.stop()
        await retrieval.stop()
    return {stage: float(np.median(times)) for stage, times in taken.items()}


async def _read(ranking: Ranking, users: list[str]) -> list[Any]:
    found = await asyncio.gather(*(ranking._store.read_users([user]) for user in users))
    return [features for [features] in found]


def _order(ranking: Ranking, reply: Reply, learned: list[np.ndarray | None]) -> None:
    for answer, scores in zip(reply.answers, learned, strict=True):
        dress(rank(reply, answer, scores, 10, 0.0, False), ranking._catalogue.items, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64], help="requests in one micro-batch")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    found = {batch: asyncio.run(measure(batch, args.rounds)) for batch in args.batches}
    print(machine())
    print(f"{'us of processor time per request':<36}" + "".join(f"{f'batch of {batch}':>14}" for batch in found))
    for stage in found[args.batches[0]]:
        print(f"{stage:<36}" + "".join(f"{stages[stage]:>14.0f}" for stages in found.values()))


if __name__ == "__main__":
    main()
