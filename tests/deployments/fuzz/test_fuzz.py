"""Requests that the OpenAPI document describes, and others that it does not, to every endpoint in its turn.

None may be answered with an error of the server but the documented 503 and 504, and every answer must be one that the
document describes: its status, its content type, its fields.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import one_of
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import (
    FailureGroup,
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from configs.settings import Store
from tests.deployments.fuzz.applications import Applications, applications
from tests.deployments.jobs_api import JobsApi
from tests.features.servers import VOLATILE, Server, valkey_binary
from tests.loop_thread import LoopThread

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))
"""Requests of each kind to each endpoint."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
AWAY = (503, 504)
START_S = 300  # kernels are compiled on first use


class Fuzzer:
    def __init__(self, running: Applications, loop: LoopThread) -> None:
        self._running = running
        self._loop = loop
        self.document: dict[str, Any] = self._send(method="GET", url="/openapi.json").json()
        self.statuses: Counter[int] = Counter()

    def _send(self, **request: Any) -> httpx.Response:
        return self._loop.run(self._running.client.request(**request), 60)

    def fuzz(self, operation: APIOperation, mode: GenerationMode) -> None:
        known = {one.name: self._running.known.get(one.name, "1") for one in operation.path_parameters}
        kinds = [operation.as_strategy(mode)]
        if known:
            kinds.append(operation.as_strategy(mode, path_parameters=known))

        @hypothesis.settings(
            max_examples=EXAMPLES, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
            deadline=None,
        )  # fmt: skip
        @hypothesis.given(one_of(kinds))
        def ask(case: Case) -> None:
            self._check(case)

        ask()

    def _check(self, case: Case) -> None:
        asked = case.as_transport_kwargs(base_url="http://localhost")
        asked.pop("cookies", None)
        if "data" in asked:
            asked["content"] = asked.pop("data")
        answer = self._send(**asked)
        self.statuses[answer.status_code] += 1
        checks = [check for check in CHECKS if check is not not_a_server_error or answer.status_code not in AWAY]
        case.validate_response(answer, checks=checks)


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    jobs = JobsApi()
    folder = tmp_path_factory.mktemp("fuzz")
    server = Server(valkey_binary(), folder / "store", VOLATILE)
    store = Store(url=server.url, prefix="fuzz", partitions=4, timeout_s=10)
    loop = LoopThread()  # what the applications do beside requests goes on while requests are being made up
    running = applications(folder, store, jobs)
    try:
        yield Fuzzer(loop.run(running.__aenter__(), START_S), loop)
    finally:
        loop.run(running.__aexit__(None, None, None), 60)
        loop.close()
        jobs.close()
        server.stop()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_every_endpoint_answers_as_the_document_says(fuzzer: Fuzzer, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(fuzzer.document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 40
    faults = []
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue  # nothing about it can be wrong
        try:
            fuzzer.fuzz(operation, mode)
        except (AssertionError, FailureGroup, httpx.HTTPError, TimeoutError) as error:
            faults.append(f"{operation.label}: {error!r} {error}")
    print(f"answers by status: {dict(sorted(fuzzer.statuses.items()))}")
    assert not faults, "\n".join(faults)
    assert fuzzer.statuses[200] > EXAMPLES
