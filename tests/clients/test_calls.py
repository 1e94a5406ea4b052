"""The Python client's calls against the real applications, and what it says of what is wrong."""

import asyncio
import inspect
from datetime import UTC, datetime

import pytest
from raycommend_client import (
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    Event,
    EventRefusal,
    Filters,
    InvalidRequest,
    ItemEntry,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RaycommendError,
    UnexpectedAnswer,
    calls,
    models,
)
from raycommend_client.models import EventAnswer

from tests.clients.conftest import QUICK, Guarded
from tests.clients.faulty import Api
from tests.deployments.access.test_tokens import token

CALLS = [
    name
    for name, found in vars(calls).items()
    if inspect.isfunction(found)
    and str(inspect.signature(found).return_annotation).startswith("raycommend_client.calls.Call")
    and not name.startswith("_")
]


def test_a_list_an_event_and_the_list_after_it(client: Client) -> None:
    first = client.recommend("ada", top_k=3, filters=Filters(exclude_items=["1"]), explain=True)
    assert len(first.recommendations) == 3
    assert "1" not in {str(shown.item_id) for shown in first.recommendations}
    best = first.recommendations[0]
    said = client.record_event("ada", best.item_id, "like", recommendation_id=first.recommendation_id)
    assert (said.status, said.duplicate) == ("accepted", False)
    second = client.recommend("ada", top_k=3)
    assert best.item_id not in {shown.item_id for shown in second.recommendations}
    assert client.user("ada").events == {"like": 1}


def test_items_and_users(client: Client) -> None:
    assert client.put_item("new/1", "A new one", categories=["New"], year=2026).categories == ["New"]
    assert client.item("new/1").title == "A new one"
    assert client.find_items("new", category="New").total == 1
    assert client.categories()["New"] == 1
    answer = client.put_items([ItemEntry(item_id="new/2", title="Another"), ItemEntry(item_id="x ", title="Spaced")])
    assert (answer.accepted, answer.refused) == (1, 1)
    assert client.delete_item("new/2")["status"] == "deleted"
    client.record_event("bob", "new/1", "like")
    assert {str(one.item_id) for one in client.trending(category="New").items} == {"new/1"}
    assert client.find_users("bo").total == 1
    assert client.export_user("bob")["user_id"] == "bob"
    assert client.erase_user("bob").status == "erased"
    assert client.recommend("bob", preview=True).recommendations
    assert client.similar("item 1", limit=2).items  # one that the model knows
    assert client.catalogue().items.total >= 1
    assert client.health().components
    assert client.request("GET", "/api/v1/models")["models"]


def test_a_batch_says_of_each_event_what_became_of_it(client: Client) -> None:
    good, bad = Event.of("cyd", 1, "click"), Event.of("cyd", 2, "clack", timestamp=datetime.now(UTC))
    answer = client.record_events([good, bad])
    first, second = answer.results
    assert isinstance(first, EventAnswer)
    assert isinstance(second, EventRefusal)
    assert first.event_id
    assert (second.error.code, second.error.field) == ("invalid_field", "event_type")


def test_both_clients_have_every_call_with_its_parameters() -> None:
    assert len(CALLS) >= 20
    for name in CALLS:
        for kind in (Client, AsyncClient):
            own = list(inspect.signature(getattr(kind, name)).parameters)
            assert own == ["self", *inspect.signature(getattr(calls, name)).parameters], (kind, name)
            assert getattr(kind, name).__doc__


@pytest.mark.parametrize(
    ("name", "model"), [("recommend", models.RecommendRequest), ("record_event", models.EventRequest)]
)
def test_a_call_takes_every_field_that_the_document_has(name: str, model: type[models.EventRequest]) -> None:
    assert set(inspect.signature(getattr(calls, name)).parameters) == set(model.model_fields)


def test_the_asynchronous_client_does_the_same(api: Api) -> None:
    async def ask() -> tuple[int, str]:
        async with AsyncClient(api.url, retry=QUICK) as client:
            shown, said = await asyncio.gather(client.recommend("dan"), client.record_event("dan", 1, "click"))
            with pytest.raises(NotFound):
                await client.item("none")
            return len(shown.recommendations), said.status

    assert asyncio.run(ask()) == (10, "accepted")


@pytest.mark.parametrize(
    ("name", "given", "field"),
    [
        ("recommend", {"user_id": 1, "top_k": 0}, "top_k"),
        ("recommend", {"user_id": "", "top_k": 1}, "user_id"),
        ("recommend", {"user_id": 1.5}, "user_id"),
        ("recommend", {"user_id": True}, "user_id"),
        ("recommend", {"user_id": 1, "filters": {"exclude_items": ["1", None]}}, "filters.exclude_items.1"),
        ("recommend", {"user_id": 1, "filters": {"categories": []}}, "filters.categories"),
        ("record_event", {"user_id": 1, "item_id": "x" * 201, "event_type": "view"}, "item_id"),
        ("record_event", {"user_id": 1, "item_id": 1, "event_type": "view", "timestamp": datetime(2026, 1, 1)},
         "timestamp"),
        ("record_events", {"events": []}, "events"),
        ("put_item", {"item_id": "", "title": "x"}, "id"),
        ("put_item", {"item_id": 1, "title": "x", "year": 9999}, "year"),
        ("request", {"method": "GET", "path": "api/v1/models"}, "path"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_before_anything_is_sent(
    client: Client, api: Api, name: str, given: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        getattr(client, name)(**given)
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")
    assert (caught.value.request_id, caught.value.attempts, api.faults.seen) == (None, 0, [])


@pytest.mark.parametrize(
    ("user_id", "words"),
    [
        ("", "user_id: String should have at least 1 character"),
        (None, "user_id: Field required"),
        (1.5, "user_id: should be a valid integer or should be a valid string"),
    ],
)
def test_the_words_fit_what_was_given(client: Client, user_id: object, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.recommend(user_id)  # type: ignore[arg-type]
    assert caught.value.message == words


def test_what_is_left_out_is_left_to_the_server() -> None:
    assert calls.recommend("u", top_k=3, filters=Filters(exclude_items=[1])).body == (
        b'{"user_id":"u","top_k":3,"filters":{"exclude_items":[1]}}'
    )
    assert calls.put_item(1, "T", attributes={"brand": None}).body == (
        b'{"title":"T","hidden":false,"attributes":{"brand":null}}'
    )


def test_what_the_server_refuses_has_its_code_its_field_and_the_id_of_the_request(client: Client, api: Api) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        client.record_event(1, 1, "rating", rating=9.0)
    assert (invalid.value.status, invalid.value.code, invalid.value.field) == (422, "invalid_field", "rating")
    assert invalid.value.request_id == api.faults.seen[-1].headers["x-request-id"]
    assert invalid.value.request_id in str(invalid.value)
    client.record_event("eve", 1, "click", event_id="one")
    with pytest.raises(Conflict) as conflict:
        client.record_event("eve", 2, "click", event_id="one")
    assert conflict.value.code == "event_id_conflict"
    assert all(isinstance(error.value, ApiError | RaycommendError) for error in (invalid, conflict))
    assert len(api.faults.seen) == 3, "what is refused for good is sent once"


def test_keys_and_tokens(guarded: Guarded) -> None:
    url = guarded.api.url
    with Client(url) as nobody, pytest.raises(NotAuthenticated):
        nobody.recommend(1)
    with Client(url, api_key=guarded.shop_key) as shop:
        assert shop.recommend(1).recommendations
        with pytest.raises(NotAllowed):
            shop.erase_user(1)
    with Client(url, api_key=guarded.admin_key) as operator:
        assert operator.request("GET", "/api/v1/models")["models"]
    with Client(url, token=token(user_id="ada")) as ada:
        assert ada.recommend("ada").recommendations
        with pytest.raises(NotAllowed):
            ada.recommend("bob")


def test_a_token_that_has_ended_is_asked_for_again_once(guarded: Guarded) -> None:
    tokens = iter([token(exp=1), token(user_id="ada"), token(exp=1), token(exp=2)])
    with Client(guarded.api.url, token=lambda: next(tokens), retry=QUICK) as ada:
        assert ada.recommend("ada").recommendations
        with pytest.raises(NotAuthenticated) as caught:
            ada.recommend("ada")
    assert caught.value.attempts == 2

    async def fresh() -> str:
        return token(user_id="ada")

    async def ask() -> int:
        async with AsyncClient(guarded.api.url, token=fresh) as client:
            return len((await client.recommend("ada")).recommendations)

    assert asyncio.run(ask()) == 10


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "127.0.0.1:8000"}, "url: give an address as"),
        ({"url": "ftp://shop"}, "url: give an address as"),
        ({"url": "http://shop?x=1"}, "url: give an address as"),
        ({"api_key": "rk secret"}, "api_key: should be one line"),
        ({"token": "secret\n"}, "token: should be one line"),
        ({"api_key": "a", "token": "b"}, "token: give either api_key or token"),
        ({"timeout_s": 0}, "timeout_s: should be more than 0"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_wrong_argument_is_named_and_no_secret_is_repeated(
    kind: type[Client], given: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{words}") as caught:
        kind(**{"url": "http://127.0.0.1:1", **given})  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_a_success_with_other_content_is_said_to_be_unexpected(client: Client) -> None:
    wrong = calls.Call("GET", "/health/live", models.RecommendAnswer.model_validate_json)
    with pytest.raises(UnexpectedAnswer, match="GET /health/live answered 200 with other content"):
        client.send(wrong)
