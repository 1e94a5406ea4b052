"""The state folder of a stack that has just trained its first model, for a second stack to start from.

One training is enough for both. The second stack is also what shows that a stack starts again from its disk.
"""

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

USER = "known from before"
DATABASE = "mlflow.db"
ANSWERS = "answers.json"
# What `make up` writes anew, and the records of processes, which are the first stack's own.
NOT_COPIED = {
    *("run", "logs", "env", "settings.yaml", "serve_config.yaml"),
    *("lock", "supervisor.lock", "supervision.json", DATABASE),
}
WAIT_S = 600.0


def answers(url: str) -> dict[str, Any]:
    """What a stack says of what must outlive it: the model, and of items and a user what does not fade."""
    listed = httpx.post(f"{url}/api/v1/recommend", json={"user_id": 196}, timeout=30).raise_for_status().json()
    user = httpx.get(f"{url}/api/v1/users/{USER}", timeout=30).raise_for_status().json()
    similar = httpx.get(f"{url}/api/v1/items/50/similar", timeout=30).raise_for_status().json()
    return {
        "model_version": listed["model_version"],
        "items": len(listed["recommendations"]),
        "similar": similar["items"],
        "user": {name: user[name] for name in ("version", "first_seen", "last_seen", "events", "older_seen")},
    }


def take_copy(url: str, state_dir: Path, copy: Path) -> None:
    """Record an event and what the stack says, and copy its state while it runs, as a crash at this moment leaves it.

    The store's log of commands only grows, so what has been acknowledged is in the copy.
    """
    event = {"user_id": USER, "item_id": 50, "event_type": "like"}
    httpx.post(f"{url}/api/v1/events", json=event, timeout=30).raise_for_status()
    said = answers(url)
    partial = copy.with_name(f".{copy.name}")
    shutil.copytree(state_dir, partial, ignore=lambda _, names: NOT_COPIED & set(names))
    source, target = (folder / "mlflow" / DATABASE for folder in (state_dir, partial))
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)
    (partial / ANSWERS).write_text(json.dumps(said))
    partial.rename(copy)


def wait_for_copy(copy: Path, failed: Path) -> bool:
    """Whether there is a copy, once the stack that makes it runs or could not be started."""
    deadline = time.monotonic() + WAIT_S
    while not copy.exists() and not failed.exists():
        assert time.monotonic() < deadline, "the first stack does not come up"
        time.sleep(0.1)
    return copy.exists()


def move_in(copy: Path, old: Path, new: Path) -> dict[str, Any]:
    """Make the copy the state folder `new`, and let paths in it that began with `old` begin with `new`.

    The store's log gives the length of every text, so both must be of the same length. Returns what the first stack
    said when the copy was made.
    """
    before, after = str(old).encode(), str(new).encode()
    assert len(before) == len(after)
    shutil.copytree(copy, new)
    for file in (new / "store" / "appendonlydir").iterdir():
        file.write_bytes(file.read_bytes().replace(before, after))
    with closing(sqlite3.connect(new / "mlflow" / DATABASE)) as registry:
        for table in ("tags", "model_version_tags"):
            registry.execute(f"UPDATE {table} SET value = replace(value, ?, ?)", (str(old), str(new)))
        registry.commit()
    said: dict[str, Any] = json.loads((new / ANSWERS).read_text())
    (new / ANSWERS).unlink()
    return said
