"""Requests of jobs to the running system: an overloaded or restarting one is asked again."""

import asyncio
from typing import Any

import httpx

TRIES = 5


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer as JSON. Raises `httpx.HTTPError` after several tries, or at once for a request that is wrong."""
    for attempt in range(TRIES):
        try:
            answer = await client.post(path, json=body)
            if answer.status_code not in (429, 503, 504):
                answer.raise_for_status()
                return dict(answer.json())
        except httpx.TransportError:
            if attempt == TRIES - 1:
                raise
        await asyncio.sleep(0.2 * 2**attempt)
    answer.raise_for_status()
    raise httpx.HTTPError(f"{path}: unexpected status {answer.status_code}")
