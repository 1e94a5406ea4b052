"""The models page: every step asks first, and what is confirmed happens."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.stack
TRAINED_S = 300.0


@pytest.fixture(scope="module")
def second(stack: Any, api: httpx.Client) -> Iterator[str]:
    """A version beside the champion: the one that a test of this page has trained, or else a new one. Afterwards the
    champion of before serves again."""
    first = champion(api)
    if len(api.get("/api/v1/models").json()["models"]) < 2:
        stack.run(["python", "-m", "jobs.retrain", "--no-search", "--iterations", "3", "--seed", "7", "--slot", "none"])
    versions = [model["version"] for model in api.get("/api/v1/models").json()["models"]]
    yield next(version for version in versions if version != first)
    if champion(api) != first:
        api.post(f"/api/v1/models/{first}/promote")


def champion(api: httpx.Client) -> str:
    version: str = api.get("/api/v1/models").json()["slots"]["champion"]["version"]
    return version


def open_models(open_page: Any, version: str) -> Page:
    page: Page = open_page("#/models")
    page.locator(f'tr[data-version="{version}"]').wait_for()
    return page


def test_retraining_shows_its_progress_to_the_end(open_page: Any, api: httpx.Client, until: Any) -> None:
    known = {model["version"] for model in api.get("/api/v1/models").json()["models"]}
    page = open_page("#/models")
    page.get_by_role("button", name="Retrain now").click()
    page.get_by_role("dialog").get_by_label("Reason, for the timeline").fill("asked for in a test")
    page.get_by_role("dialog").get_by_role("button", name="Retrain").click()
    bar = page.get_by_role("progressbar")
    bar.wait_for()
    job = page.locator("code", has_text="retrain-").first.inner_text()
    until(page, "document.querySelector('progress').value > 0", TRAINED_S)
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=TRAINED_S * 1000)
    assert api.get(f"/api/v1/mlops/jobs/{job}").json()["status"] == "SUCCEEDED"
    models = api.get("/api/v1/models").json()["models"]
    [made] = [model for model in models if model["version"] not in known]
    assert "asked for in a test" in made["registry"]["reason"]
    expect(page.locator(f'tr[data-version="{made["version"]}"]')).to_be_visible()


def test_versions_show_what_the_api_knows(open_page: Any, api: httpx.Client, second: str) -> None:
    answer = api.get("/api/v1/models").json()
    page = open_models(open_page, second)
    shown = page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.dataset.version)")
    assert shown == [model["version"] for model in answer["models"]]
    row = page.locator(f'tr[data-version="{second}"]')
    metrics = next(model for model in answer["models"] if model["version"] == second)["manifest"]["metrics"]
    expect(row).to_contain_text(f"{metrics['ndcg_at_10']:.3f}")
    row.get_by_role("button", name=re.compile("^Details")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("regularization")
    expect(dialog.get_by_role("link", name=re.compile("in MLflow"))).to_be_visible()


def test_two_versions_are_compared(open_page: Any, api: httpx.Client, second: str) -> None:
    page = open_models(open_page, second)
    for version in (second, champion(api)):
        page.get_by_label(f"Compare {version}").check()
    comparison = page.get_by_label("Comparison", exact=True)
    expect(comparison).to_contain_text("NDCG@10")
    found = {
        model["version"]: model["manifest"]["metrics"]["ndcg_at_10"]
        for model in api.get("/api/v1/models").json()["models"]
    }
    difference = found[second] - found[champion(api)]
    sign = "+" if difference >= 0 else "−"
    expect(comparison.locator("tr:has-text('NDCG@10')")).to_contain_text(f"{sign}{abs(difference):.4f}")


def test_promotion_asks_first_and_a_rollback_takes_it_back(open_page: Any, api: httpx.Client, second: str) -> None:
    first = champion(api)
    page = open_models(open_page, second)
    page.get_by_role("button", name=f"Promote: {second}").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert champion(api) == first

    page.get_by_role("button", name=f"Promote: {second}").click()
    page.get_by_label("Reason, for the timeline").fill("a test of the console")
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    expect(page.locator(f'tr[data-version="{second}"]')).to_contain_text("champion")
    assert champion(api) == second
    assert api.get("/api/v1/models").json()["slots"]["champion"]["reason"] == "a test of the console"
    registered = {model["version"]: model["registry"] for model in api.get("/api/v1/models").json()["models"]}
    assert registered[second]["aliases"] == ["champion"]

    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.locator(f'tr[data-version="{first}"]')).to_contain_text("champion")
    assert champion(api) == first


@pytest.mark.parametrize("slot", ["challenger", "challenger-2"])
def test_a_version_is_loaded_as_challenger_and_taken_out(
    open_page: Any, api: httpx.Client, second: str, slot: str
) -> None:
    page = open_models(open_page, second)
    page.get_by_role("button", name=f"Challenge: {second}").click()
    page.get_by_role("dialog").get_by_label("Slot").select_option(slot)
    page.get_by_role("button", name="Load as challenger").click()
    expect(page.locator(f'tr[data-version="{second}"]').get_by_text(slot, exact=True)).to_be_visible()
    assert api.get("/api/v1/models").json()["slots"][slot]["version"] == second
    page.get_by_role("button", name=f"Empty the {slot} slot").click()
    page.get_by_role("dialog").get_by_role("button", name="Empty the slot").click()
    expect(page.get_by_role("button", name=f"Empty the {slot} slot")).to_have_count(0)
    assert slot not in api.get("/api/v1/models").json()["slots"]


def test_a_rollout_gives_a_share_of_the_users_to_the_challenger(open_page: Any, api: httpx.Client, second: str) -> None:
    api.post(f"/api/v1/models/{second}/promote", json={"slot": "challenger"}).raise_for_status()
    try:
        page = open_models(open_page, second)
        page.get_by_role("button", name="Roll out").click()
        page.get_by_role("dialog").get_by_role("spinbutton").fill("25")
        page.get_by_role("dialog").get_by_role("button", name="Roll out").click()
        expect(page.get_by_text("25 % of users get the challenger")).to_be_visible(timeout=120_000)
        deadline = time.monotonic() + 20
        while (api.get("/api/v1/console/snapshot").json()["split"]["rollout"] or {}).get("share") != 0.25:
            assert time.monotonic() < deadline, "the snapshot does not tell of the rollout"
            time.sleep(0.1)
    finally:
        api.post("/api/v1/models/rollout", json={"share": 0}).raise_for_status()
        api.post("/api/v1/models/challenger/clear").raise_for_status()


def test_a_step_that_fails_says_so_in_its_window(open_page: Any, api: httpx.Client, second: str) -> None:
    page = open_page("#/models", expected=("status of 409",))
    page.get_by_role("button", name=f"Promote: {second}").click()
    api.post(f"/api/v1/models/{second}/promote")
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("is the champion already")
    api.post("/api/v1/models/rollback")


def test_the_latest_evaluation_is_shown(open_page: Any, stack: Any, api: httpx.Client) -> None:
    folder = stack.settings.state_dir / "evaluation"
    folder.mkdir(exist_ok=True)
    page = open_page("#/models")
    if api.get("/api/v1/models/evaluation").json()["report"] is None:
        expect(page.get_by_text("Nothing was evaluated yet")).to_be_visible()
    value = {"mean": 0.25, "low": 0.2, "high": 0.3}
    names = ("ndcg_at_10", "map_at_10", "recall_at_10", "hit_rate_at_10")
    arms = [
        {"protocol": protocol, "name": name, "users": 70, **dict.fromkeys(names, value), "coverage": 0.5, "cpu_s": 90,
         "segments": {"tail items": value}}
        for protocol in ("P1", "P5 new")
        for name in ("popularity", "ALS + ranker")
    ]  # fmt: skip
    pair = {"protocol": "P5 new", "of": "ALS + ranker", "over": "popularity", "mean": 0.01, "low": -0.01, "high": 0.02}
    report = {"data": "orders", "weighting": "consumption", "arms": arms, "comparisons": [pair],
              "skipped": {"P4": "the times are whole days"}}  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(report))
    page.reload()
    section = page.locator("section", has=page.get_by_role("heading", name="Evaluation", exact=True))
    expect(section).to_contain_text("P4 was left out: the times are whole days")
    expect(section.get_by_role("rowheader", name="ALS + ranker").first).to_be_visible()
    section.get_by_label("Protocol").select_option("P5 new")
    expect(section).to_contain_text("ALS + ranker over popularity: NDCG@10 +0.0100 [−0.0100, +0.0200]")
    expect(section).to_contain_text("tail items")


@pytest.mark.parametrize(
    ("path", "content", "status", "field"),
    [
        ("20990101-000000-00000000/promote", {}, 404, "version"),
        ("nonsense/promote", {"slot": "best"}, 422, "slot"),
        ("nonsense/promote", {"colour": "red"}, 422, "colour"),
        ("rollback", {"expected": "another"}, 409, "expected"),
        ("rollback", {"reason": ""}, 422, "reason"),
        ("challenger/clear", {}, 409, None),
        ("challenger-2/clear", {}, 409, None),
        ("best/clear", {}, 404, "slot"),
    ],
)
def test_impossible_steps_are_refused(
    api: httpx.Client, path: str, content: dict[str, str], status: int, field: str | None
) -> None:
    answer = api.post(f"/api/v1/models/{path}", json=content)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].get("field") == field
