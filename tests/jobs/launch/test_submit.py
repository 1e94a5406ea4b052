import pytest

from configs.settings import Settings
from jobs.launch.submit import SubmitError, submit_job


def test_no_cluster_is_named(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"ports": settings.ports.model_copy(update={"dashboard": 1099})})
    with pytest.raises(SubmitError, match=r"no Ray cluster answers at http://127\.0\.0\.1:1099"):
        submit_job(nowhere, ["python", "--version"])
