"""Requests of jobs to the running system, with the API key where there is one; a busy system is asked again."""

import asyncio
from typing import Any

import httpx

from configs.settings import API_KEY_VARIABLE, client_key

TRIES = 5


class KeyRefusedError(httpx.HTTPError):
    """The system wants another API key than it was given; the message says what to do."""


def key_header() -> dict[str, str]:
    """The header that carries the API key; none without one."""
    key = client_key()
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def check_key(answer: httpx.Response) -> None:
    """Raises `KeyRefusedError` for an answer that asks for a key, or for another one."""
    if answer.status_code not in (401, 403):
        return
    sent = "Authorization" in answer.request.headers
    todo = f"the key in {API_KEY_VARIABLE} does not do" if sent else f"set {API_KEY_VARIABLE} to an API key"
    raise KeyRefusedError(f"{answer.request.url.path} answers {answer.status_code}, {_message(answer)}: {todo}")


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer as JSON.

    Raises:
        KeyRefusedError: at once; see `check_key`.
        httpx.HTTPError: after several tries, or at once for a request that is wrong.
    """
    for attempt in range(TRIES):
        wait_s = 0.2 * 2**attempt
        try:
            answer = await client.post(path, json=body)
            check_key(answer)
            if answer.status_code not in (429, 503, 504):
                answer.raise_for_status()
                return dict(answer.json())
            if answer.status_code == 429:  # the key's limit: it is known when the next minute begins
                wait_s = float(answer.headers.get("retry-after", wait_s))
        except httpx.TransportError:
            if attempt == TRIES - 1:
                raise
        await asyncio.sleep(wait_s)
    answer.raise_for_status()
    raise httpx.HTTPError(f"{path}: unexpected status {answer.status_code}")


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
