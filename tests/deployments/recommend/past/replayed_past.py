"""Later events replayed through the store, and what serving sees and lists between them."""

import asyncio
import time
from dataclasses import dataclass, replace

import numpy as np
import orjson
import pandas as pd

from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import load_dataset, processed_dir
from data.event_log import EventLog
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
from features.streams.stream_reader import newest_ids
from models.ranking.ranker import Ranker

ASKED = 50  # requests of a round
EVENTS = 100  # between two rounds
TOP_K = 20
LATE = 40  # every tenth event arrives so many events later than it happened
NEW_ITEMS = ("put 1", "put 2", "put 3")
DAY_MS = 86_400_000
CHANGED = 20  # items that are put again, with other attributes, while the model serves


@dataclass(frozen=True)
class Served:
    """What serving saw and answered: `arrived` events had been recorded before; of the candidates `block`, and of the
    user `of_user`, what the ranker reads."""

    user_id: str
    arrived: int
    block: np.ndarray
    of_user: np.ndarray
    candidates: list[str]
    listed: list[str]


def coming_again(events: pd.DataFrame) -> pd.DataFrame:
    """Every third event is on what the same user had ten events before. Items of even number are liked, after which a
    list leaves them out, the others are bought, and may come again."""
    earlier = events.groupby("user_id")["item_id"].shift(10)
    again = earlier.notna() & (np.arange(len(events)) % 3 == 0)
    item = events["item_id"].where(~again, earlier)
    liked = item.astype(int) % 2 == 0
    return events.assign(item_id=item, event_type=np.where(liked, "like", "purchase"))


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
    new = place % (len(later) // 5) == 93
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


async def replay(settings: Settings, events: list[Event], ranker: Ranker) -> list[Served]:
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
    assert retrieval._near is not None
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
            written = await newest_ids(client, keys, EventLog(settings.log_dir))
            while not all(
                retrieval._near.read[number] >= written["events", number] for number in range(keys.partitions)
            ):
                assert time.monotonic() < deadline, "the events are followed all the time"
                await asyncio.sleep(0.01)
            replies.clear()
            answers = await asyncio.gather(
                *(ranking.recommend(RecommendRequest(user_id=user, top_k=TOP_K)) for user in users)
            )
            listed = {user: _listed(answer) for user, answer in zip(users, answers, strict=True)}
            for questions, reply in replies:
                asked = [question.user_id.decode() for question in questions]
                block, of_users, _ = ranker_input(ranker, reply, [stored[user] for user in asked], [None] * len(asked))
                ranked = np.cumsum([answer.folded > 0 for answer in reply.answers]) - 1
                blocks = np.split(block, np.cumsum([answer.folded for answer in reply.answers])[:-1])
                for user, answer, mine, row in zip(asked, reply.answers, blocks, ranked.tolist(), strict=True):
                    candidates = answer.item_ids.decode().split("\n")[: answer.folded]
                    served.append(Served(user, start, mine, of_users[row], candidates, listed[user]))
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
