"""What autopilot asks of Ray's jobs API."""

from collections.abc import Callable

import pytest

from configs.settings import Settings
from deployments.operations.ray_jobs import RayJobs
from tests.deployments.jobs_api import JobsApi

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("job_cpus", "reserved"), [(0, None), (2, 2)])
async def test_a_job_reserves_the_processors_of_the_settings(
    job_cpus: float, reserved: float | None, settings_of: Callable[..., Settings], jobs: JobsApi
) -> None:
    """Without any it runs beside Ray's head, whose memory a training could take."""
    await RayJobs(settings_of(job_cpus=job_cpus)).submit("one", "python -m jobs.retrain", {})
    assert jobs.jobs["one"].get("entrypoint_num_cpus") == reserved
