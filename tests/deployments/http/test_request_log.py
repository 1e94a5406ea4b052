"""Lines of the request log, through the front of the busy applications."""

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from deployments.http.asgi_app import Endpoint, EndpointApp
from deployments.http.errors import ApiError
from deployments.http.request_log import RequestLog, request_log
from tests.deployments.http.test_endpoint_app import JSON, Nothing, ask


async def answer(body: bytes, _: str) -> bytes:
    if orjson.loads(body)["user_id"] == "bad":
        raise ApiError(422, "invalid_field", "no", "user_id")
    return orjson.dumps({"model_version": "v1", "variant": "champion", "cache_hit": True})


def app(log: RequestLog | None) -> EndpointApp:
    return EndpointApp([Endpoint("/a", "recommend", "t", "s", Nothing, Nothing, 100, answer)], 10, log=log)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == "request"]


def test_a_line_says_which_request_by_whom_and_by_which_model(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    log = request_log(1.0, token)
    assert log is not None
    with caplog.at_level(logging.INFO, logger="ray.serve"):
        ask(app(log), [b'{"user_id": 196}'], path="/a", headers=[JSON, (b"x-request-id", b"r1")])
        ask(app(log), [b'{"user_id": "bad"}'], path="/a", headers=[JSON, (b"x-request-id", b"r2")])
    good, bad = lines(caplog)
    assert (good["client_request_id"], good["status"], good["model_version"]) == ("r1", 200, "v1")
    assert good["user_hash"] == log.hash_user("196") != RequestLog(1.0, b"another").hash_user("196")
    assert "196" not in str([good[name] for name in ("user_hash", "client_request_id", "variant")])
    assert good["took_ms"] > 0
    assert (bad["client_request_id"], bad["status"], bad["error"], bad["user_hash"]) == (
        "r2", 422, "invalid_field", log.hash_user("bad"),
    )  # fmt: skip


def test_without_a_secret_no_hash_is_written_and_a_warning_says_so(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n")
    for token in (tmp_path / "none", tmp_path / "empty"):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="ray.serve"):
            log = request_log(1.0, token)
            assert log is not None
            ask(app(log), [b'{"user_id": 196}'], path="/a")
        [line] = lines(caplog)
        assert line["user_hash"] is None
        assert [record.levelname for record in caplog.records if "no secret" in record.getMessage()] == ["WARNING"]


def test_nothing_is_logged_unless_asked_for(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert request_log(0.0, tmp_path / "none") is None
    with caplog.at_level(logging.INFO, logger="ray.serve"):
        ask(app(None), [b'{"user_id": 196}'], path="/a")
    assert lines(caplog) == []


def test_a_share_is_a_share(caplog: pytest.LogCaptureFixture) -> None:
    log = RequestLog(0.3, None)
    assert 200 < sum(log.wants() for _ in range(1000)) < 400
