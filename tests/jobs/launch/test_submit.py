import pytest

from configs.settings import Settings
from jobs.launch.submit import SubmitError, submit_job


def test_no_cluster_is_named(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"ports": settings.ports.model_copy(update={"dashboard": 1099})})
    with pytest.raises(SubmitError, match=r"no Ray cluster answers at http://127\.0\.0\.1:1099"):
        submit_job(nowhere, ["python", "--version"])


def test_the_jobs_api_of_another_node_is_asked(settings: Settings) -> None:
    """On a cluster the head, and so the jobs API, is on another node than the job that submits."""
    autopilot = settings.autopilot.model_copy(update={"jobs_address": "http://127.0.0.1:1098"})
    with pytest.raises(SubmitError, match=r"no Ray cluster answers at http://127\.0\.0\.1:1098"):
        submit_job(settings.model_copy(update={"autopilot": autopilot}), ["python", "--version"])
