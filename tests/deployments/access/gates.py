"""Gates as the tests of access put them in front of applications."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from configs.groups.access import ApiKey, Security
from deployments.access.access_gate import AccessGate, Refused
from deployments.access.keyless import Keyless
from deployments.access.known_keys import KnownKeys
from deployments.access.limits import Count


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


async def never(name: str, number: int) -> int:
    raise AssertionError("a key without a limit is not counted")


def keyed(behind: ASGIApp, keys: Sequence[ApiKey], count: Count = never, *on_refused: Refused) -> AccessGate:
    """The gate with the keys of a settings file."""
    return AccessGate(behind, KnownKeys(Security(keys=tuple(keys)), count), Keyless(), None, None, *on_refused)


def keyless(behind: ASGIApp, hosts: Sequence[str] = (), *on_refused: Refused) -> AccessGate:
    """The gate without keys."""
    return AccessGate(behind, KnownKeys(Security(), never), Keyless(hosts), None, None, *on_refused)
