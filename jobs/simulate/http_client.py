"""Requests of jobs to the running system, with the API key where there is one; a busy system is asked again."""

from typing import Any

import httpx
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt

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


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: nothing answered, or the system is busy or away."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (429, 503, 504)
    return isinstance(error, httpx.TransportError)


def _wait_s(state: RetryCallState) -> float:
    wait_s = 0.2 * 2.0 ** (state.attempt_number - 1)
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 429:
        # The key's limit: it is known when the next minute begins.
        return float(error.response.headers.get("retry-after", wait_s))
    return wait_s


@retry(stop=stop_after_attempt(TRIES), wait=_wait_s, retry=retry_if_exception(_may_pass), reraise=True)
async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer as JSON.

    Raises:
        KeyRefusedError: at once; see `check_key`.
        httpx.HTTPError: after several tries, or at once for a request that is wrong.
    """
    answer = await client.post(path, json=body)
    check_key(answer)
    answer.raise_for_status()
    return dict(answer.json())


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
