"""KubeRay's resources against its own definitions: KUBERAY_CRDS names the folder with them."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from configs.environments.environment import ENVIRONMENTS
from tests.deploy.custom_resources import faults, load

Manifests = Callable[..., dict[tuple[str, str], Any]]


@pytest.fixture(scope="module")
def definitions() -> dict[str, jsonschema.Draft7Validator]:
    named = os.environ.get("KUBERAY_CRDS")
    if named is None:
        pytest.skip("KUBERAY_CRDS does not name a folder with KubeRay's definitions (ray-operator/config/crd/bases)")
    found = load(Path(named))
    assert set(found) >= {"RayService", "RayCronJob"}, f"{named} holds no definitions of RayService and RayCronJob"
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kuberay_takes_what_is_rendered(
    environment: str, manifests: Manifests, definitions: dict[str, jsonschema.Draft7Validator]
) -> None:
    found = {kind: one for (kind, _), one in manifests(environment).items() if one["apiVersion"] == "ray.io/v1"}
    assert set(found) == ({"RayService"} if environment == "dev" else {"RayService", "RayCronJob"})
    assert [fault for kind, one in found.items() for fault in faults(definitions[kind], one)] == []


def test_a_fault_would_be_seen(manifests: Manifests, definitions: dict[str, jsonschema.Draft7Validator]) -> None:
    """What the test above rests on: an unknown field, deep inside a pod, and a value of another type."""
    good = manifests("staging")["RayService", "raycommend"]
    bad = copy.deepcopy(good)
    group = bad["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    group["minReplicas"] = "two"
    group["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    found = faults(definitions["RayService"], bad)
    assert len(found) == 2
    assert any("minReplicas" in one for one in found)
    assert any("readynessProbe" in one for one in found)
