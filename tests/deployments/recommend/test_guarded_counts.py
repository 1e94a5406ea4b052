"""What `Ranking` counts for the guard of a promoted model: of each user the first requests, well answered or not."""

import asyncio

import pytest

from deployments.http.errors import ApiError
from deployments.recommend.messages import Question, Reply
from deployments.recommend.ranking import Ranking
from deployments.replica.user_counts import OF_ONE_USER, user_counts
from deployments.replica.user_groups import KINDS, group_share
from features.serving.slots import CHAMPION
from tests.deployments.recommend.conftest import Functions

pytestmark = pytest.mark.anyio


async def test_the_first_requests_of_each_user_count(functions: Functions) -> None:
    for user in ["ada"] * 20 + ["ben", "cy"]:
        await functions.recommend(user_id=user)
    await functions.recommend(user_id="dan", preview=True)
    counts = functions.ranking.metrics.totals()
    assert user_counts(counts) == {"requests": OF_ONE_USER + 2, "failed": 0, "slow": 0}
    assert [group_share(counts, "slow", kind).requests for kind in KINDS] == [22, 0, 22, 0]


async def test_what_a_model_is_to_blame_for_counts_as_failed(functions: Functions) -> None:
    async def broken(_: list[Question]) -> Reply:
        raise RuntimeError("a bundle that nobody can use")

    async def hangs(_: list[Question]) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    for number, ask in enumerate((broken, hangs)):
        settings = functions.settings.model_copy(
            update={"serving": functions.settings.serving.model_copy(update={"deadline_s": 0.3})}
        )
        ranking = Ranking(settings, {CHAMPION: ask})
        await ranking.start()
        try:
            functions.ranking = ranking
            for _ in range(OF_ONE_USER + 2):
                with pytest.raises((ApiError, RuntimeError)):
                    await functions.recommend(user_id=f"user {number}")
            totals = ranking.metrics.totals()
            assert [group_share(totals, "slow", kind).requests for kind in KINDS] == [5, 5, 0, 0]
            counts = user_counts(totals)
            assert (counts["requests"], counts["failed"]) == (OF_ONE_USER, OF_ONE_USER)
        finally:
            await ranking.stop()
