"""Experiments on real traffic: HTTP in, results out, on a stack started as `make up` starts it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from experiments.assignment import TrafficSplit, assign
from tests.waiting import wait_for

pytestmark = pytest.mark.stack
CONTEXT = {"simulated": True}


@pytest.fixture(scope="module")
def api(stack: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=90) as client:
        yield client


def spare(api: httpx.Client, stack: Any, seed: int) -> str:
    """A version in no slot: one that other tests on this stack have trained, or a new one."""
    models = answered(api.get("/api/v1/models"))["models"]
    free = [str(model["version"]) for model in models if model["available"] and not model["slots"]]
    if free:
        return free[0]
    before = {model["version"] for model in models}
    job = ["python", "-m", "jobs.retrain", "--no-search", "--seed", str(seed), "--slot", "none"]
    stack.run(["python", "-m", "jobs.submit", "--wait", "--", *job])
    [made] = {model["version"] for model in answered(api.get("/api/v1/models"))["models"]} - before
    return str(made)


@pytest.fixture(scope="module")
def second(api: httpx.Client, stack: Any) -> str:
    """A second version."""
    return spare(api, stack, 5)


@pytest.fixture(autouse=True)
def as_before(api: httpx.Client) -> Iterator[None]:
    """Afterwards no experiment runs, and the champion is that of before, also where a test has failed."""
    champion = slots(api)["champion"]
    yield
    for one in answered(api.get("/api/v1/experiments"))["experiments"]:
        if one["status"] == "running":
            step(api, one["id"], "stop")
    if slots(api)["champion"] != champion:
        answered(api.post(f"/api/v1/models/{champion}/promote"))


@pytest.fixture
def challenger(api: httpx.Client, second: str) -> str:
    """The second version, in the challenger's slot, where it answers."""
    if slots(api).get("challenger") != second:
        answered(api.post(f"/api/v1/models/{second}/promote", json={"slot": "challenger"}))
    wait_for(lambda: recommend(api, "x", force_variant="challenger")["model_version"] == second, 120)
    return second


@pytest.fixture
def no_challenger(api: httpx.Client) -> None:
    """The challenger's slot is empty."""
    if "challenger" in slots(api):
        answered(api.post("/api/v1/models/challenger/clear"))


def slots(api: httpx.Client) -> dict[str, str]:
    """The version in each slot that is filled."""
    found = answered(api.get("/api/v1/models"))["slots"]
    return {name: slot["version"] for name, slot in found.items() if slot is not None}


def answered(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def recommend(api: httpx.Client, user: str, **fields: Any) -> dict[str, Any]:
    return answered(api.post("/api/v1/recommend", json={"user_id": user, "context": CONTEXT, **fields}))


def variants(control: str = "champion", treatment: str = "challenger") -> list[dict[str, Any]]:
    return [{"name": "control", "weight": 0.5, "slot": control}, {"name": "new", "weight": 0.5, "slot": treatment}]


def create(api: httpx.Client, name: str, **fields: Any) -> str:
    body = {"id": name, "hypothesis": "a test", "variants": variants(), "minimum_days": 0, **fields}
    return str(answered(api.post("/api/v1/experiments", json=body), 201)["id"])


def step(api: httpx.Client, name: str, what: str, status: int = 200, **body: Any) -> dict[str, Any]:
    return answered(api.post(f"/api/v1/experiments/{name}/{what}", json=body or None), status)


def results(api: httpx.Client, name: str) -> dict[str, Any]:
    return answered(api.get(f"/api/v1/experiments/{name}/results"))


def test_the_brief_has_two_names(api: httpx.Client) -> None:
    found, older = (answered(api.get(f"/api/v1/mlops/{name}")) for name in ("ab-results", "ab-results-demo"))
    assert found == older
    assert found["reason"]


def test_impossible_steps_get_one_clear_error_each(api: httpx.Client, no_challenger: None) -> None:
    def refused(response: httpx.Response, status: int, field: str | None, words: str) -> None:
        error = answered(response, status)["error"]
        assert error.get("field") == field
        assert words in error["message"]

    body = {"hypothesis": "h", "variants": variants()}
    uneven = [{**variants()[0], "weight": 0.7}, variants()[1]]
    for change, field, words in (
        ({"variants": uneven}, "variants", "their weights sum to 1.2, not 1"),
        ({"variants": variants("champion", "best")}, "variants.1", "no such slot 'best'"),
        ({"primary_metric": "happiness"}, "primary_metric", "no such metric 'happiness'"),
        ({"colour": "red"}, "colour", "unknown field"),
    ):
        refused(api.post("/api/v1/experiments", json={**body, **change}), 422, field, words)
    create(api, "alone")
    refused(api.post("/api/v1/experiments", json={**body, "id": "alone"}), 409, "id", "there is an experiment")
    refused(api.post("/api/v1/experiments/alone/start"), 409, "variants.1", "the slot challenger serves nothing")
    for path in ("", "/results", "/series", "/users"):
        refused(api.get(f"/api/v1/experiments/nothing{path}"), 404, "id", "there is no experiment 'nothing'")
    refused(api.post("/api/v1/experiments/nothing/start"), 404, "id", "there is no experiment")
    refused(api.post("/api/v1/experiments/alone/stop"), 409, None, "only a running experiment can be stopped")
    refused(api.post("/api/v1/experiments/alone/promote"), 409, None, "start it first, nobody has seen")
    refused(api.post("/api/v1/models/rollout", json={"share": 0.5}), 409, None, "serves nothing")
    refused(api.post("/api/v1/models/rollout", json={"share": 1.5}), 422, "share", "less than or equal to 1")
    refused(
        api.post("/api/v1/recommend", json={"user_id": 1, "force_variant": "new"}), 422, "force_variant", "no 'new'"
    )
    step(api, "alone", "archive")
    unknown = {
        **body,
        "variants": [variants()[0], {"name": "new", "weight": 0.5, "version": "20200101-000000-00000000"}],
    }
    refused(
        api.post("/api/v1/experiments", json={**unknown, "id": "unknown"}),
        422,
        "variants.1.version",
        "there is no version",
    )


def test_an_experiment_from_start_to_promotion(api: httpx.Client, stack: Any, challenger: str) -> None:
    champion = recommend(api, "somebody")["model_version"]
    name = create(api, "whole", primary_metric="engagement", guardrails=[{"metric": "conversion"}])
    begun = step(api, name, "start", reason="a test")
    assert begun["versions"] == {"control": champion, "new": challenger}
    wait_for(lambda: recommend(api, "the first")["experiment"] == name)

    # Sticky, by the published hash, and truly answered by the variant's own model
    traffic = TrafficSplit(name, ("control", "new"), (0.5, 0.5))
    shown = {}
    for number in range(60):
        user = f"live-{number}"
        answer = shown[user] = recommend(api, user)
        assert not answer["degraded"]
        assert answer["experiment"] == name
        assert answer["variant"] == assign(traffic, user).variant
        assert answer["model_version"] == begun["versions"][answer["variant"]]
    assert recommend(api, "live-1")["variant"] == shown["live-1"]["variant"]

    # Events that name their list, and one that does not; a retry; a forced list, which counts nowhere
    for number, (user, answer) in enumerate(shown.items()):
        if answer["variant"] == "new" or number % 3 == 0:
            item = answer["recommendations"][0]["item_id"]
            event = {
                "user_id": user,
                "item_id": item,
                "event_type": "like",
                "context": CONTEXT,
                "event_id": f"l{number}",
            }
            if number % 2:
                event["recommendation_id"] = answer["recommendation_id"]
            for _ in range(2):
                answered(api.post("/api/v1/events", json=event))
    other = {"control": "new", "new": "control"}[shown["live-2"]["variant"]]
    forced = recommend(api, "live-2", force_variant=other)
    assert (forced["experiment"], forced["variant"]) == (name, other)

    found = results(api, name)
    assert (found["status"], found["traffic"], found["decision"]["winner"]) == ("running", "simulated", None)
    counted = {variant["name"]: variant for variant in found["variants"]}
    for variant in ("control", "new"):
        mine = [user for user, answer in shown.items() if answer["variant"] == variant]
        first = assign(traffic, "the first").variant == variant
        assert counted[variant]["users"] == len(mine) + first
        assert counted[variant]["mixed"] == 0
    liked = sum(a["variant"] == "new" for a in shown.values())
    assert counted["new"]["events"] == liked
    lists = counted["new"]["lists"]
    assert counted["new"]["metrics"]["engagement"]["value"] == pytest.approx(liked / lists)
    assert counted["new"]["metrics"]["mean_rating"]["value"] is None
    assert counted["new"]["metrics"]["mean_rating"]["reason"]
    [conversion] = [one for one in found["comparisons"] if one["metric"] == "conversion"]
    assert conversion["absolute"]["p_value"] is None
    assert "zero variance" in conversion["absolute"]["reason"]
    assert "at least 100 users" in found["decision"]["reason"]

    brief = answered(api.get("/api/v1/mlops/ab-results"))
    assert (brief["experiment"], brief["traffic"], brief["recommendation"]) == (name, "simulated", "keep_running")
    assert {one["name"]: one["n"] for one in brief["variants"]} == {
        one["name"]: one["users"] for one in found["variants"]
    }
    assert brief["comparison"]["variant"] == "new"

    # The rows from the log add up to the sums from the store, page by page
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 7} | ({} if cursor is None else {"cursor": cursor})
        page = answered(api.get(f"/api/v1/experiments/{name}/users", params=query))
        rows += page["users"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len({row["user_id"] for row in rows}) == len(rows) == sum(one["users"] for one in found["variants"])
    for variant in ("control", "new"):
        mine_rows = [row for row in rows if row["variant"] == variant]
        for quantity in ("lists", "events"):
            assert sum(row[quantity] for row in mine_rows) == counted[variant][quantity]
    assert answered(api.get(f"/api/v1/experiments/{name}/users?cursor=x"), 422)["error"]["field"] == "cursor"
    recommend(api, 4242)  # ids of this data set are whole numbers, and leave as such
    page = answered(api.get(f"/api/v1/experiments/{name}/users?limit=10000"))
    assert 4242 in {row["user_id"] for row in page["users"]}

    # While it runs: no second one on the same users, no rollout
    create(api, "second")
    error = step(api, "second", "start", 409)["error"]
    assert (error["field"], "whole runs on the same users" in error["message"]) == ("group", True)
    assert "stop it first" in answered(api.post("/api/v1/models/rollout", json={"share": 0.5}), 409)["error"]["message"]

    wait_for(lambda: len(answered(api.get(f"/api/v1/experiments/{name}/series?metric=engagement"))["points"]) >= 2)
    stopped = step(api, name, "stop", reason="enough")
    assert stopped["status"] == "stopped"
    wait_for(lambda: recommend(api, "afterwards")["experiment"] is None)
    assert recommend(api, "afterwards")["variant"] == "champion"
    wait_for(lambda: time.time() * 1000 > stopped["ended_ms"] + 100)
    before = results(api, name)["variants"]
    event = {"user_id": "live-1", "item_id": 50, "event_type": "like", "context": CONTEXT}
    answered(api.post("/api/v1/events", json=event))
    assert results(api, name)["variants"] == before, "what happens after the end does not count"

    assert "no winner" in step(api, name, "promote", 409)["error"]["message"]
    assert step(api, name, "promote", variant="new")["promoted_version"] == challenger
    wait_for(lambda: recommend(api, "afterwards")["model_version"] == challenger)
    whole = answered(api.get(f"/api/v1/experiments/{name}"))
    assert [change["change"] for change in whole["changes"]] == ["promoted", "stopped", "started", "created"]
    assert step(api, name, "archive")["status"] == "archived"
    answered(api.post(f"/api/v1/models/{champion}/promote", json={"reason": "back"}))
    wait_for(lambda: recommend(api, "afterwards")["model_version"] == champion)


def test_what_a_running_experiment_compares_is_not_promoted_over(api: httpx.Client, challenger: str) -> None:
    champion = recommend(api, "somebody")["model_version"]
    name = create(api, "disturbed")
    step(api, name, "start")
    wait_for(lambda: recommend(api, "x")["experiment"] == name)
    error = answered(api.post(f"/api/v1/models/{challenger}/promote"), 409)["error"]
    assert error["message"] == f"the slot champion is in use by the experiment {name}: stop it first"
    assert answered(api.get("/api/v1/models"))["slots"]["champion"]["version"] == champion
    step(api, name, "stop")


def test_three_models_share_the_users_by_their_weights(api: httpx.Client, stack: Any, challenger: str) -> None:
    third = spare(api, stack, 6)
    models = [{"slot": "champion"}, {"version": challenger}, {"version": third}]
    arms = [{"name": f"v{n}", "weight": (0.5, 0.25, 0.25)[n], **model} for n, model in enumerate(models)]
    name = create(api, "three", variants=arms)
    begun = step(api, name, "start")
    assert begun["slots"] == {"v0": "champion", "v1": "challenger", "v2": "challenger-2"}
    assert (begun["versions"]["v1"], begun["versions"]["v2"]) == (challenger, third)
    wait_for(lambda: recommend(api, "x")["experiment"] == name)
    answers = [recommend(api, f"three-{number}") for number in range(60)]
    assert {answer["variant"] for answer in answers} == {"v0", "v1", "v2"}
    for answer in answers:
        assert answer["model_version"] == begun["versions"][answer["variant"]]
    found = results(api, name)
    assert {one["variant"] for one in found["comparisons"]} == {"v1", "v2"}
    assert len(found["decision"]["adjusted_p_values"]) == 2
    step(api, name, "stop")


def test_a_rollout_sends_its_share_to_the_challenger_and_back(api: httpx.Client, challenger: str) -> None:
    wait_for(lambda: recommend(api, "x")["experiment"] is None)
    found = answered(api.post("/api/v1/models/rollout", json={"share": 0.5, "reason": "carefully"}))
    users = [f"rollout-{number}" for number in range(40)]
    try:
        assert (found["share"], found["version"]) == (0.5, challenger)
        wait_for(lambda: len({recommend(api, user)["variant"] for user in users}) == 2)
        answers = [recommend(api, user) for user in users]
        for answer in answers:
            assert (answer["model_version"] == challenger) == (answer["variant"] == "challenger")
            assert answer["experiment"] is None
        lines = answered(api.get("/api/v1/mlops/timeline"))["entries"]
        assert any("rollout of 0.5 of the traffic: carefully" in line["text"] for line in lines)
    finally:
        answered(api.post("/api/v1/models/rollout", json={"share": 0}))
    wait_for(lambda: {recommend(api, user)["variant"] for user in users} == {"champion"})


def test_simulated_users_browse_and_are_marked_everywhere(api: httpx.Client, stack: Any, challenger: str) -> None:
    arguments = ["--users", "12", "--lists", "3", "--drift", "0.5", "--truth", "champion,challenger", "--run", "live"]
    printed = stack.run(["python", "-m", "jobs.simulate", *arguments])
    found = json.loads(printed[printed.index("{") :])
    assert found["simulated"] is True
    assert sum(variant["lists"] for variant in found["variants"].values()) == 36
    assert found["true_click_through_before"] is not None
    assert found["true_click_through_after"] is not None
    assert set(found["truth"]["effects"]) == {"challenger"}
    recorded = 0
    for number in range(12):
        user = answered(api.get(f"/api/v1/users/sim-live-{number}/export"))
        assert len(user["exposures"]) >= 3
        assert all(exposure["simulated"] for exposure in user["exposures"])
        assert all(event["context"] == CONTEXT for event in user["events"])
        recorded += len(user["events"])
    assert recorded == found["events"]
