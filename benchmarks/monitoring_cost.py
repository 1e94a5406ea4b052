"""`python -m benchmarks.monitoring_cost`: what counting and timing add to a request.

Both functions run in this process, on the store and the model of the running stack (`make up` first), without a network
between. One request is asked with every counter and histogram at work, the next one without, and so on in turns: the
same users, the same seconds, the same machine. The report to the store, once a second and replica, is timed apart.
"""

import argparse
import asyncio
import statistics
import time
from typing import Any

import orjson

from benchmarks.serving import USERS, expect_running, machine
from configs.settings import Settings, load_settings
from deployments.http.asgi_app import EndpointApp
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from deployments.replica.request_metrics import RecommendStages, RequestMetrics

WARM = 50
EACH = 100  # requests between two reports that are timed


class _Nothing:
    """Takes whatever is counted or timed, and keeps none of it."""

    def __init__(self) -> None:
        self.counts = self

    def __getitem__(self, name: str) -> int:
        return 0

    def __setitem__(self, name: str, value: int) -> None:
        pass

    def stage(self, name: str) -> "_Nothing":
        return self

    def observe(self, seconds: float) -> None:
        pass

    def answered(self, endpoint: str, status: int, error: str) -> None:
        pass

    async def flush(self) -> None:
        pass


async def measure(settings: Settings, rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """CPU milliseconds of this process for each request, with monitoring and without, and for each report."""
    retrieval = Retrieval("champion", settings)
    await retrieval.start()
    ranking = Ranking(settings, {"champion": retrieval.retrieve})
    await ranking.start()
    kinds: dict[str, Any] = {"with": ranking.metrics, "without": _Nothing()}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    reports: list[float] = []
    try:
        for number in range(WARM + rounds):
            for kind in sorted(kinds, reverse=bool(number % 2)):
                metrics: RequestMetrics = kinds[kind]
                ranking.metrics, ranking._stages = metrics, RecommendStages(metrics)
                app = EndpointApp(recommend_endpoints(lambda: ranking, settings.serving), 10, metrics.answered)
                body = {"user_id": number % USERS + 1, "context": {"simulated": True, "try": f"{number} {kind}"}}
                begun = time.process_time()
                status = await _ask(app, orjson.dumps(body))
                took = time.process_time() - begun
                if status != 200:
                    raise RuntimeError(f"a request got {status}")
                if number >= WARM:
                    taken[kind].append(took * 1000)
            if number % EACH == 0:
                begun = time.process_time()
                await kinds["with"].flush()
                reports.append((time.process_time() - begun) * 1000)
    finally:
        await ranking.stop()
        await retrieval.stop()
    return taken, reports


async def _ask(app: EndpointApp, body: bytes) -> int:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": "/api/v1/recommend", "headers": []}, receive, send)
    return int(sent[0]["status"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3000, help="requests of each kind")
    given = parser.parse_args()
    settings = load_settings()
    expect_running(f"http://127.0.0.1:{settings.ports.http}")
    taken, reports = asyncio.run(measure(settings, given.rounds))
    pairs = [counted - plain for counted, plain in zip(taken["with"], taken["without"], strict=True)]
    plain, added = statistics.median(taken["without"]), statistics.median(pairs)
    print(machine())
    print(
        f"CPU of a request, median of {given.rounds:,}: {plain:.3f} ms without monitoring; "
        f"with it {added * 1000:+.1f} us, {added / plain:+.1%} (median of the pairs); "
        f"a report to the store takes {statistics.median(reports):.2f} ms of CPU a second"
    )


if __name__ == "__main__":
    main()
