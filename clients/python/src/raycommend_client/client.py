"""The client for programs that wait for their answers."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from raycommend_client import calls
from raycommend_client.calls import Call
from raycommend_client.errors import RaycommendError
from raycommend_client.retrying import Attempts, Retry
from raycommend_client.sending import (
    Options,
    address,
    answer_of,
    authorization,
    checked_url,
    headers_of,
    new_request_id,
    unreachable,
)

P = ParamSpec("P")
T = TypeVar("T")


def _method(make: Callable[P, Call[T]]) -> "Callable[Concatenate[Client, P], T]":
    """A method that sends what `make` describes."""

    def send(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(make(*args, **kwargs))

    calls.describe_as(send, make)
    return send


class _Connections:
    """The open connections of a process. A process that was forked must not write into those of its parent."""

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make, self._pid = make, os.getpid()
        self._http = make()

    @property
    def http(self) -> httpx.Client:
        if self._pid != os.getpid():
            self._http, self._pid = self._make(), os.getpid()
        return self._http


class Client:
    """Calls of the HTTP interface. It may be used by several threads, and keeps connections open between calls.

    Args:
        url: of the API, as `http://127.0.0.1:8000`.
        api_key: a key of this server.
        token: a token of an identity provider (JWT), or a function that gives the one to use now; it is asked at each
            attempt, and once more where the server no longer takes a token.
        timeout_s, retry: see `Options` and `Retry`.
        transport: httpx's, for a proxy or certificates of your own.

    Raises:
        ValueError: an argument is wrong; it is named.

    Each method raises `ApiError` where the server refuses, `Unreachable` where it does not answer, and
    `UnexpectedAnswer` where it answers something else; all of these are `RaycommendError`.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        token: str | Callable[[], str] | None = None,
        timeout_s: float = Options.timeout_s,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if api_key is not None and token is not None:
            raise ValueError("token: give either api_key or token")
        self.options = Options(timeout_s, retry or Retry())
        self._url = checked_url(url)
        self._token = token if callable(token) else None
        self._shown: str | None = None
        if api_key is not None:
            self._shown = authorization(api_key, "api_key")
        elif isinstance(token, str):
            self._shown = authorization(token, "token")
        self._connections = _Connections(lambda: httpx.Client(transport=transport, timeout=timeout_s))

    recommend = _method(calls.recommend)
    record_event = _method(calls.record_event)
    record_events = _method(calls.record_events)
    similar = _method(calls.similar)
    trending = _method(calls.trending)
    find_items = _method(calls.find_items)
    item = _method(calls.item)
    put_item = _method(calls.put_item)
    put_items = _method(calls.put_items)
    delete_item = _method(calls.delete_item)
    item_days = _method(calls.item_days)
    categories = _method(calls.categories)
    catalogue = _method(calls.catalogue)
    user = _method(calls.user)
    put_user = _method(calls.put_user)
    find_users = _method(calls.find_users)
    export_user = _method(calls.export_user)
    erase_user = _method(calls.erase_user)
    health = _method(calls.health)
    request = _method(calls.request)

    def with_options(self, *, timeout_s: float | None = None, retry: Retry | None = None) -> "Client":
        """A client with other options over the same connections. Close the first one."""
        given: dict[str, Any] = {"timeout_s": timeout_s, "retry": retry}
        other = object.__new__(Client)
        other.__dict__ = {
            **self.__dict__,
            "options": replace(self.options, **{name: value for name, value in given.items() if value is not None}),
        }
        return other

    def send(self, call: Call[T]) -> T:
        """Send a call of `raycommend_client.calls`, again where that helps."""
        options, request_id = self.options, new_request_id()
        attempts = Attempts(options.retry, call.repeatable, self._token is not None)
        while True:
            try:
                return self._attempt(call, request_id, attempts.timeout_s(options.timeout_s))
            except RaycommendError as error:
                wait_s = attempts.wait_s(error)
            time.sleep(wait_s)

    def _attempt(self, call: Call[T], request_id: str, timeout_s: float) -> T:
        shown = self._shown if self._token is None else authorization(self._token(), "token")
        headers = headers_of(call, request_id, shown)
        try:
            answer = self._connections.http.request(
                call.method, address(self._url + call.path), content=call.body, params=call.params, headers=headers,
                timeout=timeout_s,
            )  # fmt: skip
        except httpx.TransportError as error:
            raise unreachable(call, error, request_id) from error
        return answer_of(call, answer.status_code, answer.headers, answer.content, request_id)

    def close(self) -> None:
        """Hang up."""
        self._connections.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
