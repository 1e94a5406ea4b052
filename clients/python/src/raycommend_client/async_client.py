"""The client for programs on asyncio."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
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


def _method(make: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    """A method that sends what `make` describes."""

    async def send(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(make(*args, **kwargs))

    calls.describe_as(send, make)
    return send


class AsyncClient:
    """The same as `Client`, to be awaited. `token` may also be a function that must be awaited."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        timeout_s: float = Options.timeout_s,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
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
        self._http = httpx.AsyncClient(transport=transport, timeout=timeout_s)

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

    def with_options(self, *, timeout_s: float | None = None, retry: Retry | None = None) -> "AsyncClient":
        """A client with other options over the same connections. Close the first one."""
        given: dict[str, Any] = {"timeout_s": timeout_s, "retry": retry}
        other = object.__new__(AsyncClient)
        other.__dict__ = {
            **self.__dict__,
            "options": replace(self.options, **{name: value for name, value in given.items() if value is not None}),
        }
        return other

    async def send(self, call: Call[T]) -> T:
        """Send a call of `raycommend_client.calls`, again where that helps."""
        options, request_id = self.options, new_request_id()
        attempts = Attempts(options.retry, call.repeatable, self._token is not None)
        while True:
            try:
                return await self._attempt(call, request_id, attempts.timeout_s(options.timeout_s))
            except RaycommendError as error:
                wait_s = attempts.wait_s(error)
            await asyncio.sleep(wait_s)

    async def _attempt(self, call: Call[T], request_id: str, timeout_s: float) -> T:
        shown = self._shown
        if self._token is not None:
            token = self._token()
            shown = authorization(await token if inspect.isawaitable(token) else token, "token")
        headers = headers_of(call, request_id, shown)
        try:
            answer = await self._http.request(
                call.method, address(self._url + call.path), content=call.body, params=call.params, headers=headers,
                timeout=timeout_s,
            )  # fmt: skip
        except httpx.TransportError as error:
            raise unreachable(call, error, request_id) from error
        return answer_of(call, answer.status_code, answer.headers, answer.content, request_id)

    async def aclose(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
