"""Helm asks the cluster whether every Secret is there before it makes anything."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.cluster_api import ClusterApi

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NEEDED = {
    "raycommend-api-keys": {"keys"},
    "raycommend-ray-token": {"auth_token"},
    "raycommend-gcs": {"password"},
    "raycommend-alerts": {"webhook"},
    "raycommend-store": {"password"},
    "raycommend-mlflow": {"password"},
    "raycommend-database": {"uri"},
}


@pytest.fixture
def cluster() -> Iterator[ClusterApi]:
    found = ClusterApi("raycommend")
    yield found
    found.close()


@pytest.fixture
def install(cluster: ClusterApi, run_tool: Run, tmp_path: Path) -> Callable[[], str]:
    """What Helm says to an installation of production."""

    def run() -> str:
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(cluster.kubeconfig()))
        values = "deploy/helm/raycommend/values-production.yaml"
        given = ["--kubeconfig", str(tmp_path / "kubeconfig"), "--values", values]
        return run_tool("python", "deploy/tools/chart.py", "check", *given).stderr

    return run


@pytest.mark.parametrize("secret", NEEDED)
def test_a_missing_secret_is_named_and_nothing_is_made(
    secret: str, cluster: ClusterApi, install: Callable[[], str]
) -> None:
    cluster.secrets = {name: keys for name, keys in NEEDED.items() if name != secret}
    assert f"the Secret {secret} is missing in the namespace raycommend" in install()
    assert cluster.written == []


def test_a_secret_without_its_key_is_named(cluster: ClusterApi, install: Callable[[], str]) -> None:
    cluster.secrets = {**NEEDED, "raycommend-ray-token": {"token"}}
    assert "the Secret raycommend-ray-token has no key auth_token" in install()
    assert cluster.written == []


def test_with_all_secrets_helm_goes_on(cluster: ClusterApi, install: Callable[[], str]) -> None:
    """To the schemas of what it would make, which this cluster does not have."""
    cluster.secrets = dict(NEEDED)
    assert "Secret" not in install()
    assert "/openapi/v3" in cluster.asked
