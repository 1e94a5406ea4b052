"""Calls to the `Retrieval` deployments from the other applications.

A handle is looked up at each call: the applications start and restart independently.
"""

from ray import serve

from deployments.operations.similar_items import Similar


async def ask_similar(item_id: bytes, n: int) -> Similar:
    """The `n` items most like one, by the champion."""
    handle = serve.get_deployment_handle("Retrieval-champion", "recommend")
    similar: Similar = await handle.similar.remote(item_id, n)
    return similar


async def ask_version(slot: str) -> str | None:
    """The version that a slot serves. A call to a deployment without replicas makes Serve start one."""
    version: str | None = await serve.get_deployment_handle(f"Retrieval-{slot}", "recommend").version.remote()
    return version


async def hold(slot: str, seconds: float) -> None:
    """Occupy a replica of a slot for so many seconds, so that Serve keeps it."""
    await serve.get_deployment_handle(f"Retrieval-{slot}", "recommend").hold.remote(seconds)
