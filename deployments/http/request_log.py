"""One line of JSON for a share of the requests: which, by whom (hashed), by which model, how it ended.

Serve writes the replicas' logs as JSON; the fields here are added to its own. The user's id is hashed with the stack's
token, so that lines of one user can be put together and the id cannot be guessed from them. Without a token there is no
hash: a plain one of an id, which is often a number, is as good as the id.
"""

import logging
import random
from hashlib import blake2b
from pathlib import Path

import orjson

logger = logging.getLogger("ray.serve.requests")
logger.setLevel(logging.INFO)  # The level is set here, so that these lines appear whatever Serve's own level is.
_TAKEN_OVER = ("recommendation_id", "model_version", "experiment", "variant", "cache_hit", "cold_start", "degraded",
               "event_id", "duplicate")  # fmt: skip


class RequestLog:
    """Writes one line of JSON for some of the requests.

    Args:
        share: which share of the requests gets a line, above 0 and up to 1.
        secret: the key of the hash that stands for a user id; None leaves the hash out.
    """

    def __init__(self, share: float, secret: bytes | None) -> None:
        self._share = share
        self._secret = secret[:64] if secret else None

    def wants(self) -> bool:
        """Whether this request is one of the share."""
        return random.random() < self._share  # noqa: S311 - a sample, no secret

    def write(
        self, endpoint: str, request_id: str, status: int, error: str, body: bytes, content: bytes, took_s: float
    ) -> None:
        """Write the line of one request, made from its body and its answer."""
        answer = orjson.loads(content)
        user = _user_of(body)
        logger.info(
            "request",
            extra={
                "endpoint": endpoint,
                "client_request_id": request_id,
                "status": status,
                "error": error or None,
                "took_ms": round(took_s * 1000, 3),
                "user_hash": None if user is None else self.hash_user(str(user)),
                **{name: answer[name] for name in _TAKEN_OVER if name in answer},
            },
        )

    def hash_user(self, user_id: str) -> str | None:
        """16 hexadecimal digits that stand for a user; None without a secret."""
        if self._secret is None:
            return None
        return blake2b(user_id.encode(), digest_size=8, key=self._secret).hexdigest()


def _user_of(body: bytes) -> object:
    """The user that a body names; None for a batch, and for a body that is no JSON object."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return asked.get("user_id") if isinstance(asked, dict) else None


def request_log(share: float, token_path: Path) -> RequestLog | None:
    """The log for a share of the requests; None for a share of 0, so that requests pay nothing for it."""
    if share == 0:
        return None
    secret = token_path.read_bytes().strip() if token_path.is_file() else b""
    if not secret:
        logger.warning("the request log names no users, not even hashed: there is no secret in %s", token_path)
    return RequestLog(share, secret or None)
