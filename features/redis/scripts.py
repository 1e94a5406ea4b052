"""Lua scripts: one file per write below `lua/`, loaded once per server, called by their hash."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis.exceptions as raw

from features.redis.connection import StoreClient, translate
from features.redis.wire import Command

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

    def command(self) -> Command:
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def spelt_out(self) -> Command:
        """The same with the script's text, for a server that need not know it."""
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.args)


async def run_calls(client: StoreClient, calls: Sequence[Call], confirm: bool = False) -> list[Any]:
    """Run script calls in one pipeline; where the server does not know a script, load it and repeat those calls.

    Args:
        confirm: as `StoreClient.exchange`.

    Returns:
        For each call its answer or its exception.

    Raises:
        StoreUnavailable: nothing was answered.
    """
    answers = await client.exchange([call.command() for call in calls], confirm)
    if missing := _unknown(answers):
        for text in {calls[place].script.text for place in missing}:
            await client.load_script(text)
        await _repeat(client, [calls[place].command() for place in missing], missing, answers, confirm)
    if missing := _unknown(answers):
        # A server of a cluster that was no primary when the scripts were loaded: the one that a slot moves to.
        await _repeat(client, [calls[place].spelt_out() for place in missing], missing, answers, confirm)
    return answers


def _unknown(answers: Sequence[Any]) -> list[int]:
    return [place for place, answer in enumerate(answers) if isinstance(answer, raw.NoScriptError)]


async def _repeat(
    client: StoreClient, commands: Sequence[Command], places: Sequence[int], answers: list[Any], confirm: bool
) -> None:
    for place, answer in zip(places, await client.exchange(commands, confirm), strict=True):
        answers[place] = answer


async def run_script(
    client: StoreClient, script: Script, keys: Sequence[str], args: Sequence[Any], confirm: bool = False
) -> Any:
    """One call; `confirm` as `StoreClient.exchange`. Raises `StoreError` and its kinds."""
    (answer,) = await run_calls(client, [Call(script, keys, args)], confirm)
    if isinstance(answer, BaseException):
        raise translate(answer) from answer
    return answer
