"""Training and evaluation see of a past request what serving saw when it came: MovieLens, replayed through the store.

Events of one second, events that arrive late, histories longer than the store keeps, and items that were put into the
catalogue or changed after the training are among them; items and users have attributes of each type. Of half the items
an event lets them be seen no more, and the others come again; every source of candidates is on.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import orjson
import pandas as pd
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import Tables, load_dataset, processed_dir
from data.dataset_writer import write_dataset
from data.fields.attributes import AttributeType
from data.prepare import prepare
from deployments.http.schemas import RecommendRequest
from deployments.recommend.candidate_call import ranker_input
from deployments.recommend.messages import Question, Reply
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.items.catalogue import Catalogue, Item, put_items
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.streams.compaction import compact
from features.users.erasure import Erasures
from jobs.batch.serving_stage import catalogue_of, read_catalogue
from jobs.maintenance.rebuild_features import RebuildOptions, rebuild_features
from jobs.train.load_data import load_training_data
from jobs.train.retrain import Result, RetrainOptions, retrain
from models.bundle.reading import load_bundle
from models.factors.als import AlsParameters
from models.ranking.features import FEATURES
from models.relations.more_sources import MoreSources
from models.training.bundle_stage import stage_of_bundle
from models.training.first_stage import find_candidates
from models.training.past_requests import Past, in_store_order
from models.training.ranker_lists import request_features, rerank
from models.training.training_data import places
from tests.features.servers import Server, valkey_binary

ROUNDS, ASKED = 20, 50  # 1,000 requests
EVENTS = 100  # between two rounds
TOP_K = 20
LATE = 40  # every tenth event arrives so many events later than it happened
MORE = MoreSources(repeats=10, follows=20, neighbours=20)
NEW_ITEMS = ("put 1", "put 2", "put 3")
DAY_MS = 86_400_000
CHANGED = 20  # items that are put again, with other attributes, while the model serves
ITEM_ATTRIBUTES: dict[str, AttributeType] = {
    "price": "number",
    "blurb": "text",
    "studio": "keyword",
    "moods": "keywords",
    "colour": "flag",
    "released": "time",
}
PARAMETERS = AlsParameters(factors=32, regularization=30.0, alpha=4.0, iterations=6)


@dataclass(frozen=True)
class Served:
    """What serving saw and answered: `arrived` events had been recorded before."""

    user_id: str
    arrived: int
    features: np.ndarray
    candidates: list[str]
    listed: list[str]


@pytest.fixture(scope="module")
def trained(
    project_settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch
) -> Iterator[tuple[Settings, Result, pd.DataFrame]]:
    """The earlier part of MovieLens 100K in a store of its own, a model with a ranker of it, and the later events."""
    prepare(project_settings)
    whole = load_dataset(processed_dir(project_settings))
    ordered = coming_again(whole.interactions.sort_values("timestamp_ms", kind="stable").reset_index(drop=True))
    monkeypatch_module.setattr(
        "models.training.ranker_judgement.choose_sources", lambda *_: (MORE, "as the test wants")
    )
    cut = len(ordered) - ROUNDS * EVENTS
    folder = tmp_path_factory.mktemp("past")
    # Items without any event are candidates in serving alone; training knows nothing of them. By their categories they
    # reach no list here, by what is written of them they would.
    described = whole.items[whole.items["item_id"].isin(ordered[:cut]["item_id"])]
    described = described.join(pd.DataFrame(attributes(described["item_id"].tolist(), ordered[:cut]), described.index))
    users = whole.users[["user_id"]].copy()
    place = np.arange(len(users))
    users["age"] = np.where(place % 9 == 0, np.nan, place % 60.0)
    users["town"] = [f"town {number % 12}" if number % 9 else None for number in place.tolist()]
    users["member"] = [bool(number % 2) for number in place.tolist()]
    tables = Tables(
        ordered[:cut],
        described,
        users,
        item_attributes=ITEM_ATTRIBUTES,
        user_attributes={"age": "number", "town": "keyword", "member": "flag"},
    )
    write_dataset(folder / "processed", tables, whole.meta.name, "the earlier part", "0" * 64, ("int", "int"))
    server = Server(valkey_binary(), folder / "store")
    try:
        settings = Settings(
            state_dir=folder / "state",
            data_dir=folder,
            store={"url": server.url, "timeout_s": 30},
            serving={"deadline_s": 60, "trending_s": 0.02, "watch_s": 0.02, "cache_size": 0, "trending_window": "1d"},
            tracking={"uri": "http://127.0.0.1:9"},  # nobody listens; a training goes on without its registry
            training={"factors": 32, "ranker_trees": 40, "content": False},
            data={"events": "groceries"},
        )
        asyncio.run(rebuild_features(settings, RebuildOptions()))
        result = retrain(settings, RetrainOptions(fixed=PARAMETERS, force=True), lambda percent, line: None)
        yield settings, result, ordered[cut:]
    finally:
        server.stop()


def test_training_sees_what_serving_saw(trained: tuple[Settings, Result, pd.DataFrame]) -> None:
    settings, result, later = trained
    events = arriving(later)
    served = asyncio.run(replay(settings, events))
    asyncio.run(compact(settings))
    bundle = load_bundle(result.path)
    facts = bundle.manifest.ranker
    assert facts is not None, "this training was to give a ranker"
    assert facts.trending_window == "1d", "that of the settings"
    assert bundle.ranking is not None
    assert facts.more == MORE
    assert bundle.ranking.reads_repeats
    used = bundle.ranking.attributes
    assert {one.type for one in used.items} == set(ITEM_ATTRIBUTES.values()) - {"text"}
    assert {one.name for one in used.users} == {"age", "town", "member"}
    assert {name[:5] for name in facts.attribute_features} == {"item.", "user."}

    data = in_store_order(load_training_data(settings, Erasures({})))
    stage = stage_of_bundle(
        bundle,
        data,
        catalogue_of(data, read_catalogue(settings)),
        settings.serving.prior_weight,
        settings.store.history_limit,
    )
    past = Past(data, turns=places(np.lexsort((data.turn, data.arrived_ms))))
    base = len(data) - len(events)
    users = data.users.encode([one.user_id for one in served])
    asked = np.array([base + one.arrived for one in served])
    requests = past.requests(users, asked, np.full(len(served), time.time() * 1000))
    # What this test is about is there.
    assert sum(len(rows) > settings.store.history_limit for rows in requests.rows) >= ROUNDS
    new = data.items.encode(NEW_ITEMS)
    assert any(np.isin(data.item[rows], new).any() for rows in requests.rows)
    assert (np.diff(later["timestamp_ms"]) == 0).sum() > 500
    assert (np.diff([event.timestamp_ms for event in events]) < 0).sum() > 100

    candidates = find_candidates(stage, requests, facts.candidates, facts.trending, facts.more)
    sources = slice(facts.candidates + facts.trending, None)
    assert (candidates.items[:, sources] >= 0).mean() > 0.5
    best = rerank(stage, bundle.ranking.ranker, requests, candidates, TOP_K)
    blocks = request_features(stage, requests, candidates)
    features = [one for _, block, lengths in blocks for one in np.split(block, np.cumsum(lengths)[:-1])]
    ids = [str(item) for item in data.items.ids.tolist()]
    assert len(served) == ROUNDS * ASKED
    for number, one in enumerate(served):
        found = candidates.items[number]
        assert [ids[item] for item in found[found >= 0]] == one.candidates, one.user_id
        for name, mine, theirs in zip(bundle.ranking.ranker.features, features[number].T, one.features.T, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5, err_msg=f"{name} of {one.user_id}")
    repeats = np.concatenate([one.features[:, FEATURES.index("repeat_rhythm")] for one in served])
    assert (~np.isnan(repeats)).sum() > 100
    known = np.concatenate([~np.isnan(one.features[:, len(FEATURES) :]) for one in served])
    assert ((known.mean(axis=0) > 0.1) & (known.mean(axis=0) <= 1)).all(), "some attribute says nothing"
    # Whoever has no history yet gets what is popular; all others are listed in the ranker's order.
    ranked = [number for number, one in enumerate(served) if one.candidates]
    assert len(ranked) > 0.95 * len(served)
    for number in ranked:
        assert [ids[item] for item in best[number]] == served[number].listed, served[number].user_id


def coming_again(events: pd.DataFrame) -> pd.DataFrame:
    """Every third event is on what the same user had ten events before. Items of even number are liked, after which a
    list leaves them out, the others are bought, and may come again."""
    earlier = events.groupby("user_id")["item_id"].shift(10)
    again = earlier.notna() & (np.arange(len(events)) % 3 == 0)
    item = events["item_id"].where(~again, earlier)
    liked = item.astype(int) % 2 == 0
    return events.assign(item_id=item, event_type=np.where(liked, "like", "purchase"))


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def attributes(item_ids: list[str], events: pd.DataFrame) -> list[dict[str, object]]:
    """Attributes of each type, of which every tenth is unknown. The price gives away how often an item is going to be
    rated in the windows that training looks at, so that the ranker learns to read attributes."""
    generator = np.random.default_rng(5)
    half = len(events) // 2
    early, late = (part["item_id"].value_counts() for part in (events[:half], events[half:]))
    found: list[dict[str, object]] = []
    for place, item_id in enumerate(item_ids):
        whole = {
            "price": float(late.get(item_id, 0) / (1 + early.get(item_id, 0))),
            "blurb": f"about {item_id}",
            "studio": f"studio {place // 2}",  # more of them than have a number of their own
            "moods": [f"mood {mood}" for mood in generator.integers(0, 30, generator.integers(1, 11))],
            "colour": bool(generator.random() < 0.7),
            "released": int(generator.integers(0, 900_000_000_000)),
        }
        found.append({name: None if generator.random() < 0.1 else value for name, value in whole.items()})
    return found


def arriving(later: pd.DataFrame) -> list[Event]:
    """The later events in the order in which the store gets them, some on items that the model has never seen."""
    place = np.arange(len(later))
    item_ids = later["item_id"].to_numpy(object)
    new = place % 250 == 7
    item_ids[new] = [NEW_ITEMS[number % len(NEW_ITEMS)] for number in range(new.sum())]
    late = np.where(place % 10 == 3, place + LATE, place)
    late[len(later) - LATE :] = place[len(later) - LATE :]  # nothing arrives after the last round
    found = []
    for arrival, row in enumerate(np.argsort(late, kind="stable").tolist()):
        source = later.iloc[row]
        found.append(
            Event(
                event_id=f"e{row}",
                user_id=source["user_id"],
                item_id=item_ids[row],
                event_type="view" if new[row] else source["event_type"],  # a rated one would be trending at once
                timestamp_ms=int(source["timestamp_ms"]),
                value=None if new[row] else float(source["value"]),
                received_ms=int(time.time() * 1000) - DAY_MS + arrival,
            )
        )
    return found


async def replay(settings: Settings, events: list[Event]) -> list[Served]:
    """Before each part of the events ask for those whose turn it is, and for the users of the longest histories."""
    client, keys = connect(settings.store, settings.store_url), keys_of(settings.store)
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    dataset = load_dataset(processed_dir(settings))
    told = [
        {name: value for name, value in one.items() if value is not None}
        for one in attributes([*NEW_ITEMS, *(f"again {n}" for n in range(CHANGED))], dataset.interactions)
    ]
    new = [Item(name, name, 1998, ("Put later",), attributes=one) for name, one in zip(NEW_ITEMS, told, strict=False)]
    await put_items(client, keys, new)
    listed_items = await Catalogue(client, keys).load()
    catalogue = {item.item_id: item.categories for item in listed_items}
    again = [
        replace(item, attributes=one)
        for item, one in zip(sorted(listed_items, key=lambda item: item.item_id), told[len(new) :], strict=False)
    ]
    known = dataset.interactions
    longest = known["user_id"].value_counts().index.tolist()
    newest = int(known["timestamp_ms"].max())
    retrieval = Retrieval("champion", settings)
    replies: list[tuple[list[Question], Reply]] = []

    async def ask(questions: list[Question]) -> Reply:
        reply = await retrieval.retrieve(questions)
        replies.append((questions, reply))
        return reply

    await retrieval.start()
    ranking = Ranking(settings, {"champion": ask})
    await ranking.start()
    changed = await put_items(client, keys, again)
    deadline = time.monotonic() + 30
    while (await retrieval.retrieve([_question("nobody")])).catalogue_version < changed:
        assert time.monotonic() < deadline, "a change of the catalogue is seen"
        await asyncio.sleep(0.01)
    served: list[Served] = []
    try:
        for start in range(0, len(events), EVENTS):
            part = events[start : start + EVENTS]
            users = list(dict.fromkeys([*longest[:3], *(event.user_id for event in part), *longest]))[:ASKED]
            stored = dict(zip(users, await store.read_users(users), strict=True))
            deadline = time.monotonic() + 30
            while (await retrieval.retrieve([_question(users[0])])).at_ms != newest:
                assert time.monotonic() < deadline, "what is popular is read again all the time"
                await asyncio.sleep(0.01)
            replies.clear()
            answers = await asyncio.gather(
                *(ranking.recommend(RecommendRequest(user_id=user, top_k=TOP_K)) for user in users)
            )
            listed = {user: _listed(answer) for user, answer in zip(users, answers, strict=True)}
            for questions, reply in replies:
                asked = [question.user_id.decode() for question in questions]
                features = ranker_input(reply, [stored[user] for user in asked], [None] * len(asked))
                lengths = np.array([answer.folded for answer in reply.answers])
                blocks = np.split(features, np.cumsum(lengths)[:-1])
                for user, answer, block in zip(asked, reply.answers, blocks, strict=True):
                    candidates = answer.item_ids.decode().split("\n")[: answer.folded]
                    served.append(Served(user, start, block, candidates, listed[user]))
            await store.record_events(
                [replace(event, categories=tuple(catalogue.get(event.item_id, ()))) for event in part]
            )
            newest = max(newest, *(event.timestamp_ms for event in part))
    finally:
        await ranking.stop()
        await retrieval.stop()
        await client.aclose()
    return served


def _question(user_id: str) -> Question:
    return Question(user_id.encode(), None, None, 1, True, (), None, ())


def _listed(answer: bytes) -> list[str]:
    return [str(entry["item_id"]) for entry in orjson.loads(answer)["recommendations"]]
