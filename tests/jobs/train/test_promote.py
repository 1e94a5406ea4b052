import asyncio

import pytest

from configs.settings import Settings
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.promotion import PromotionError
from features.serving.rollout import read_rollout
from features.serving.slots import Rollout, SlotDecision, read_decisions
from jobs.train.mlflow_registry import MlflowRegistry
from jobs.train.promote import main, promote, roll_back
from jobs.train.retrain import RetrainOptions, retrain
from jobs.train.store_calls import current_slots
from models.factors.als import AlsParameters

FIXED = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)


def made(settings: Settings, seed: int, slot: str | None) -> str:
    options = RetrainOptions(fixed=FIXED, seed=seed, slot=slot, force=True)
    return retrain(settings, options, lambda percent, line: None).version


def test_promotion_and_rollback(with_registry: Settings) -> None:
    first, second = made(with_registry, 1, "champion"), made(with_registry, 2, None)
    assert promote(with_registry, second, "better") is None
    assert current_slots(with_registry)["champion"].version == second
    assert MlflowRegistry(with_registry).aliases()["champion"][0] == second
    with pytest.raises(PromotionError, match="is the champion already"):
        promote(with_registry, second, "again")

    assert roll_back(with_registry, "worse") == (first, None)
    assert current_slots(with_registry)["champion"].version == first
    assert MlflowRegistry(with_registry).aliases()["champion"][0] == first
    with pytest.raises(PromotionError, match=f"was rolled back from {second} to {first} already"):
        roll_back(with_registry, "worse too")

    async def decisions() -> list[SlotDecision]:
        client = connect(with_registry.store, with_registry.store_url)
        try:
            return await read_decisions(client, keys_of(with_registry.store))
        finally:
            await client.aclose()

    assert [(d.version, d.previous) for d in asyncio.run(decisions())][:2] == [(first, second), (second, first)]


def test_without_the_registry_a_rollback_works_and_says_so(with_store: Settings) -> None:
    made(with_store, 1, "champion")
    second = made(with_store, 2, None)
    problem = promote(with_store, second, "better")
    assert problem is not None
    assert with_store.tracking_uri in problem
    assert current_slots(with_store)["champion"].version == second


def test_what_cannot_be_served_is_not_promoted(with_store: Settings) -> None:
    first, second = made(with_store, 1, "champion"), made(with_store, 2, None)
    with pytest.raises(PromotionError, match="there is no version 'nonsense'"):
        promote(with_store, "nonsense", "")
    damaged = with_store.bundles_dir / second / "items.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(PromotionError, match=r"items\.npz"):
        promote(with_store, second, "")
    assert current_slots(with_store)["champion"].version == first


def test_a_gradual_rollout_is_one_command_and_ends_with_the_promotion(
    with_store: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.train.promote.load_settings", lambda: with_store)
    first, second = made(with_store, 1, "champion"), made(with_store, 2, None)
    assert main(["challenger", "--share", "0.2"]) == 1
    assert "serves nothing" in capsys.readouterr().err
    assert main([second, "--share", "0.2", "--reason", "carefully"]) == 0
    assert capsys.readouterr().out == f"{second} gets 0.2 of the traffic\n"
    assert {name: slot.version for name, slot in current_slots(with_store).items()} == {
        "champion": first, "challenger": second,
    }  # fmt: skip
    assert main(["challenger", "--share", "0.5"]) == 0
    assert main(["challenger", "--share", "2"]) == 1

    async def rollout() -> Rollout | None:
        client = connect(with_store.store, with_store.store_url)
        try:
            return await read_rollout(client, keys_of(with_store.store))
        finally:
            await client.aclose()

    found = asyncio.run(rollout())
    assert found is not None
    assert (found.share, found.version) == (0.5, second)
    promote(with_store, second, "it went well")
    assert asyncio.run(rollout()) is None


def test_a_retraining_leaves_alone_what_was_promoted_after_its_model_was_judged(with_store: Settings) -> None:
    first, second = made(with_store, 1, "champion"), made(with_store, 2, None)
    lines: list[str] = []

    def report(percent: int, line: str) -> None:
        lines.append(line)
        if percent == 91:  # the gate has spoken
            promote(with_store, second, "a person is quicker")

    third = retrain(with_store, RetrainOptions(fixed=FIXED, seed=3, force=True), report).version
    words = f"slot champion does not serve {third}: the slot champion was changed meanwhile and serves {second} now"
    assert any(line.startswith(words) for line in lines), lines
    assert current_slots(with_store)["champion"].version == second != first
