"""What both clients share around a request: settings, headers, and what an answer means."""

import functools
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from raycommend_client.calls import Call
from raycommend_client.errors import UnexpectedAnswer, Unreachable, error_of
from raycommend_client.retrying import Retry

T = TypeVar("T")
_JSON = {"content-type": "application/json"}
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SECRET = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Options:
    """How calls are sent.

    Attributes:
        timeout_s: how long an attempt waits for a connection, and for each piece of the answer.
        retry: how attempts are repeated.
    """

    timeout_s: float = 10.0
    retry: Retry = field(default_factory=Retry)

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s: should be more than 0, not {self.timeout_s}")


def checked_url(url: str) -> str:
    """The address of the API without a slash at its end. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"url: give an address as http://127.0.0.1:8000, not {url!r}")
    return url.rstrip("/")


@functools.lru_cache(maxsize=512)
def address(text: str) -> httpx.URL:
    """An address as httpx has it. To take one apart costs a tenth of a request, and most calls go to the same few."""
    return httpx.URL(text)


def authorization(secret: str, name: str) -> str:
    """The header that shows a key or token. Raises ValueError, which does not repeat the secret."""
    if not _SECRET.fullmatch(secret):
        raise ValueError(f"{name}: should be one line of visible ASCII characters, without spaces")
    return f"Bearer {secret}"


def headers_of(call: Call[T], request_id: str, shown: str | None) -> dict[str, str]:
    """The headers of a request. Every attempt of a call has the same id."""
    headers = {"x-request-id": request_id} if call.body is None else {"x-request-id": request_id, **_JSON}
    if shown is not None:
        headers["authorization"] = shown
    return headers


def new_request_id() -> str:
    return uuid.uuid4().hex


def answer_of(call: Call[T], status: int, headers: Mapping[str, str], content: bytes, request_id: str) -> T:
    """What the answer to a call says.

    Raises:
        ApiError: it is an error.
        UnexpectedAnswer: it is no error, but not what the document says either.
    """
    if status not in call.answers:
        raise error_of(status, headers, content, headers.get("x-request-id", request_id))
    try:
        return call.read(content)
    except ValidationError as error:
        words = f"{call.method} {call.path} answered {status} with other content than the interface has: {error}"
        raise UnexpectedAnswer(words, request_id) from None


def unreachable(call: Call[T], error: httpx.TransportError, request_id: str) -> Unreachable:
    """The error of an attempt that no answer came to."""
    words = f"{call.method} {call.path}: {type(error).__name__}: {error}".rstrip(": ")
    return Unreachable(words, request_id, isinstance(error, _NOT_SENT))
