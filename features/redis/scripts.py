"""Lua scripts: one file per write below `lua/`, loaded once per server, called by their hash."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis.exceptions as raw

from features.redis.connection import StoreClient, translate

SCRIPTS_DIR = Path(__file__).resolve().parent / "lua"


class Lua(str):
    """A constant of a script that is an expression of its language."""


class Script:
    """One Lua script with its constants, and a text that it shares with others, written in front of it. Both are named
    as files below `lua/`: "locks/take_lock".

    Constants are part of the text (not arguments), so a call carries only what differs from call to call.
    """

    def __init__(self, name: str, shared: str | None = None, **constants: int | float | str) -> None:
        head = "".join(f"local {key} = {_literal(value)}\n" for key, value in constants.items())
        texts = [(SCRIPTS_DIR / f"{part}.lua").read_text() for part in (shared, name) if part is not None]
        self.text = head + "".join(texts)
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - the name EVALSHA wants


def _literal(value: int | float | str) -> str:
    if isinstance(value, Lua):
        return str(value)
    return f'"{value}"' if isinstance(value, str) else repr(value)


class Call(NamedTuple):
    """One call of a script, with its keys and arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Any]

    def command(self) -> tuple[Any, ...]:
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)


async def run_calls(client: StoreClient, calls: Sequence[Call]) -> list[Any]:
    """Run script calls in one pipeline; where the server does not know a script, load it and repeat those calls.

    Returns:
        For each call its answer or its exception.

    Raises:
        StoreUnavailable: nothing was answered.
    """
    answers = await client.exchange([call.command() for call in calls])
    missing = [place for place, answer in enumerate(answers) if isinstance(answer, raw.NoScriptError)]
    if missing:
        for text in {calls[place].script.text for place in missing}:
            await client.load_script(text)
        again = await client.exchange([calls[place].command() for place in missing])
        for place, answer in zip(missing, again, strict=True):
            answers[place] = answer
    return answers


async def run_script(client: StoreClient, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """One call. Raises `StoreError` and its kinds."""
    (answer,) = await run_calls(client, [Call(script, keys, args)])
    if isinstance(answer, BaseException):
        raise translate(answer) from answer
    return answer
