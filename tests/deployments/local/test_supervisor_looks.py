"""How often a supervisor looks at a part for which a look is dear."""

from pathlib import Path

from configs.settings import Alerts
from deployments.local.alarm import Alarm
from deployments.local.supervisor import Supervisor
from tests.deployments.local.real_parts import Clock, Part


def test_what_is_dear_to_look_at_is_looked_at_less_often_while_it_works(
    parts: dict[str, Part], clock: Clock, tmp_path: Path, said: list[str]
) -> None:
    """And at once when what it runs on was away, and as often as all others while it is away itself."""
    looks: list[float] = []
    ray, serve = parts["ray"].watched(), parts["serve"].watched()
    found = serve.identity

    def looked_at() -> str | None:
        looks.append(clock.now)
        return found()

    serve.identity, serve.look_s = looked_at, 5
    one = Supervisor([ray, serve], tmp_path, Alarm(Alerts(), said.append), said.append, clock=clock)

    def in_seconds(seconds: float) -> int:
        """How often it was looked at in that time, by looks of a second."""
        before = len(looks)
        for _ in range(round(seconds)):
            clock.now += 1
            one.look()
        return len(looks) - before

    assert in_seconds(20) == 4
    parts["ray"].kill()
    one.look()
    before = len(looks)
    while one.report.troubles:
        clock.now += 1
        one.look()
    assert looks[before:] == [clock.now]  # in the very look that found Ray back
    assert in_seconds(5) == 1
    parts["serve"].kill()
    assert in_seconds(8) > 2
    assert len(parts["serve"].records) == 2
