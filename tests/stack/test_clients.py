"""The clients against the running stack, behind its proxy."""

import asyncio
import json
import subprocess
import uuid

import pytest
from raycommend_client import AsyncClient, AsyncEventQueue, Client, EventQueue, InvalidRequest, NotFound

from configs.settings import PROJECT_DIR
from tests.clients.test_typescript import node
from tests.conftest import RunningStack

pytestmark = pytest.mark.stack
IN_NODE = """
import { Client } from "./clients/typescript/dist/index.js";
const [url, user_id] = process.argv.slice(1);
const client = new Client(url);
const first = await client.recommend({ user_id, top_k: 3 });
const item_id = first.recommendations[0].item_id;
const event = { user_id, item_id, event_type: "like", event_id: "node-1", recommendation_id: first.recommendation_id };
const said = [await client.recordEvent(event), await client.recordEvent(event)].map((answer) => answer.duplicate);
const second = await client.recommend({ user_id, top_k: 3 });
const again = second.recommendations.some((shown) => shown.item_id === item_id);
const refused = await client.recommend({ user_id, top_k: 0 }).catch((error) => [error.name, error.field]);
console.log(JSON.stringify({ said, again, refused, events: (await client.user(user_id)).events }));
"""


@pytest.fixture
def user() -> str:
    return f"client-{uuid.uuid4().hex[:8]}"


def test_a_list_an_event_and_the_list_after_it(stack: RunningStack, user: str) -> None:
    with Client(stack.url) as client:
        first = client.recommend(user, top_k=3)
        best = first.recommendations[0].item_id
        given = {"event_id": "py-1", "recommendation_id": first.recommendation_id}
        said = [client.record_event(user, best, "like", **given).duplicate for _ in range(2)]
        assert said == [False, True]
        second = client.recommend(user, top_k=3)
        assert best not in {shown.item_id for shown in second.recommendations}
        assert client.user(user).events == {"like": 1}
        with pytest.raises(NotFound) as missing:
            client.item("no such item")
        assert missing.value.request_id
        with pytest.raises(InvalidRequest) as wrong:
            client.record_event(user, best, "rating", rating=9.0)
        assert wrong.value.field == "rating"


def test_queues(stack: RunningStack, user: str) -> None:
    async def put() -> None:
        async with AsyncClient(stack.url) as client, AsyncEventQueue(client) as queue:
            for item in range(1, 41):
                await queue.put(user, item, "view")

    with Client(stack.url) as client:
        with EventQueue(client) as queue:
            for item in range(1, 41):
                queue.put(user, item, "click")
        asyncio.run(put())
        assert client.user(user).events == {"click": 40, "view": 40}


def test_in_node(stack: RunningStack, user: str) -> None:
    done = subprocess.run(
        [node(), "--input-type=module", "--eval", IN_NODE, stack.url, user],
        cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "said": [False, True], "again": False, "refused": ["InvalidRequest", "top_k"], "events": {"like": 1},
    }  # fmt: skip
