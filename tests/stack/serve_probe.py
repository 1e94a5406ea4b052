"""A small application at /probe, deployed beside the platform's own to ask Serve and HAProxy questions."""

import asyncio
import os
from pathlib import Path

from fastapi import FastAPI, Request
from ray import serve

app = FastAPI()


def note(diary: Path, entry: str) -> int:
    """Append a line. Returns how many there are now."""
    with diary.open("a+") as file:
        file.write(entry)
        file.seek(0)
        return len(file.readlines())


@serve.deployment(
    num_replicas=2, ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=15, health_check_period_s=1
)
@serve.ingress(app)
class Probe:
    @app.get("/pid")
    async def pid(self) -> int:
        return os.getpid()

    @app.post("/ids")
    async def ids(self, request: Request) -> list[str]:
        return request.headers.getlist("x-request-id")

    @app.post("/die-once")
    async def die_once(self, request: Request, diary: str) -> list[str]:
        """Notes what arrived; then the replica that is the first to note something dies before it answers."""
        ids = request.headers.getlist("x-request-id")
        entry = f"{' '.join(ids)} {(await request.body()).decode()} {os.getpid()}\n"
        if await asyncio.to_thread(note, Path(diary), entry) == 1:
            os._exit(1)
        return ids

    @app.get("/slow")
    async def slow(self, seconds: float, begun: str) -> float:
        """Makes the file `begun`, and answers after so many seconds."""
        await asyncio.to_thread(Path(begun).touch)
        await asyncio.sleep(seconds)
        return seconds


application = Probe.bind()  # type: ignore[attr-defined]
