"""The Helm chart: what it renders for each environment, and what it refuses."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.environments.environment import ENVIRONMENTS, FOLDER
from configs.settings import PROJECT_DIR
from deployments.local.ray_environment import load_flags

Manifests = Callable[..., dict[tuple[str, str], Any]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
GOLDENS = Path(__file__).parent / "goldens"
CHART = PROJECT_DIR / "deploy" / "helm" / "raycommend"


def pods(manifests: dict[tuple[str, str], Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's spec in the manifests, wherever it stands."""
    waiting: list[tuple[str, Any]] = [(f"{kind}/{name}", one) for (kind, name), one in manifests.items()]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            if "containers" in value:
                yield place, value
            waiting += [(f"{place}.{key}", one) for key, one in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{index}]", one) for index, one in enumerate(value)]


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}


def ray_container(manifests: dict[tuple[str, str], Any], group: str) -> dict[str, Any]:
    cluster = manifests["RayService", "raycommend"]["spec"]["rayClusterConfig"]
    spec = cluster["headGroupSpec"] if group == "head" else cluster["workerGroupSpecs"][0]
    container: dict[str, Any] = spec["template"]["spec"]["containers"][0]
    return container


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_rendered_is_what_was_looked_at(environment: str, render: Run) -> None:
    done = render(environment)
    assert done.returncode == 0, done.stderr
    golden = (GOLDENS / f"{environment}.yaml").read_text()
    assert done.stdout == golden, "look at the difference of `make chart-goldens` before committing it"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kubernetes_takes_what_is_rendered(environment: str, run_tool: Run) -> None:
    """Against the schemas of the oldest version that the chart takes and of the newest, without unknown fields."""
    done = run_tool("python", "deploy/tools/chart.py", "validate", str(GOLDENS / f"{environment}.yaml"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_kubernetes_refuses_an_unknown_field(run_tool: Run, tmp_path: Path) -> None:
    """What the test above rests on."""
    golden = (GOLDENS / "staging.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(golden.replace("readinessProbe: {httpGet", "readynessProbe: {httpGet"))
    done = run_tool("python", "deploy/tools/chart.py", "validate", str(tmp_path / "bad.yaml"))
    assert done.returncode == 1
    assert "readynessProbe" in done.stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_helm_finds_nothing_to_mend(environment: str, run_tool: Run) -> None:
    values = str(CHART / f"values-{environment}.yaml")
    done = run_tool("python", "deploy/tools/chart.py", "lint", "--values", values)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("environment=prod", "at '/environment': value must be one of 'dev', 'staging', 'production'"),
        ("ray.workers=3", "at '/ray': additional properties 'workers' not allowed"),
        ("ray.worker.minReplicas=two", "at '/ray/worker/minReplicas': got string, want integer"),
        ("ray.worker.minReplicas=99", "ray.worker: minReplicas is 99, above maxReplicas, 12"),
        ("apiKeys.existingSecret=", "at '/apiKeys/existingSecret'"),
        ("alerts.existingSecret=", "alerts.existingSecret: production needs a Secret"),
        ("store.prefix=a b", "at '/store/prefix'"),
        ("store.valkey.maxMemory=lots", "at '/store/valkey/maxMemory'"),
        ("store.valkey.minReplicasToWrite=3", "store.valkey.minReplicasToWrite is 3, with 2 replicas"),
        ("ray.gcsFaultTolerance.address=redis", "at '/ray/gcsFaultTolerance/address'"),
        ("settings.training.trials=many", "at '/settings/training/trials': got string, want integer"),
        ("settings.serving.max_in_fligth=3", "at '/settings/serving': additional properties 'max_in_fligth'"),
        ("settings.store.url=redis://:s3cret@store:6379/0", "settings.store.url: that is a secret"),
        ("settings.serving.host=127.0.0.1", "settings.serving.host: in a pod it is 0.0.0.0"),
        (
            "serve.deployments.RankingDeployment.minReplicas=9",
            "serve.deployments.RankingDeployment: minReplicas is 9, above maxReplicas, 8",
        ),
        (
            "serve.deployments.Ranking.minReplicas=1,serve.deployments.Ranking.maxReplicas=1,"
            "serve.deployments.Ranking.cpus=1",
            "serve.deployments.Ranking: serve_config.yaml has no such deployment",
        ),
        ("ingress.enabled=true", "ingress.host: an ingress needs the host"),
        ("retraining.schedule=daily", "at '/retraining/schedule'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(setting: str, words: str, render: Run) -> None:
    done = render("production", setting)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_environment_is_one_of_the_projects(environment: str, manifests: Manifests) -> None:
    found = manifests(environment)
    given = env(ray_container(found, "head"))
    assert given["RAYCOMMEND_ENVIRONMENT"] == environment
    secrets = yaml.safe_load((FOLDER / f"{environment}.yaml").read_text())["secrets"]
    assert set(secrets) <= set(given), "the environment asks for a secret that the chart does not give"
    config = yaml.safe_load(found["RayService", "raycommend"]["spec"]["serveConfigV2"])
    host = yaml.safe_load((FOLDER / f"{environment}.yaml").read_text())["serving"]["host"]
    assert config["http_options"]["host"] == host


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_secrets_are_there_by_reference_only(environment: str, manifests: Manifests) -> None:
    found = manifests(environment)
    assert not [name for kind, name in found if kind == "Secret"]
    for place, pod in pods(found):
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            for name, value in env(container).items():
                if re.search(r"PASSWORD|TOKEN$|KEYS$|WEBHOOK", name):
                    assert "secretKeyRef" in value, f"{place}: {name}"
                if isinstance(value, str) and "@" in value and "://" in value:
                    assert re.search(r"://\w*:\$\(\w+\)@", value), f"{place}: {name} holds a password"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_pods_run_without_rights(environment: str, manifests: Manifests) -> None:
    found = list(pods(manifests(environment)))
    assert len(found) >= 5
    for place, pod in found:
        assert pod["securityContext"]["runAsNonRoot"], place
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, place
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, place
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, place


def test_ray_gets_the_flags_of_the_project(manifests: Manifests) -> None:
    """From configs/ray_flags.yaml, which the chart reads itself. The token's mode comes from KubeRay."""
    flags = load_flags()
    wanted = {**flags.everywhere, **flags.haproxy}
    del wanted["RAY_AUTH_MODE"]
    for group in ("head", "workers"):
        container = ray_container(manifests("production"), group)
        names = [one["name"] for one in container["env"]]
        assert len(set(names)) == len(names)
        assert {name: env(container)[name] for name in wanted} == wanted
    cluster = manifests("production")["RayService", "raycommend"]["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "raycommend-ray-token"}


def test_large_numbers_stay_whole(manifests: Manifests) -> None:
    """Helm holds numbers as floats, and a template prints 2000000 as 2e+06 where it does not say otherwise."""
    found = manifests(
        "production",
        "settings.proxy.connections=2000000,settings.keeping.users_bytes=5000000000",
        "retraining.deadlineSeconds=2000000,ray.autoscaling.idleTimeoutSeconds=3000000",
    )
    assert env(ray_container(found, "workers"))["RAYCOMMEND_PROXY_CONNECTIONS"] == "2000000"
    settings = yaml.safe_load(found["ConfigMap", "raycommend-settings"]["data"]["settings.yaml"])
    assert settings == {"proxy": {"connections": 2_000_000}, "keeping": {"users_bytes": 5_000_000_000}}
    job = found["RayCronJob", "raycommend-retraining"]["spec"]["jobTemplate"]
    assert job["activeDeadlineSeconds"] == 2_000_000
    cluster = found["RayService", "raycommend"]["spec"]["rayClusterConfig"]
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] == 3_000_000


def test_trainings_keep_off_a_head_that_is_for_ray_alone(manifests: Manifests) -> None:
    name = "RAYCOMMEND_AUTOPILOT_JOB_CPUS"
    assert env(ray_container(manifests("production"), "workers"))[name] == "1"
    assert name not in env(ray_container(manifests("production", "settings.autopilot.job_cpus=3"), "workers"))
    assert name not in env(ray_container(manifests("dev"), "workers"))


def test_proxy_settings_reach_its_launcher(manifests: Manifests) -> None:
    found = env(ray_container(manifests("production", "settings.proxy.connections=500"), "workers"))
    assert found["RAYCOMMEND_PROXY_CONNECTIONS"] == "500"


def test_the_applications_are_those_of_the_project_with_the_replicas_of_the_values(manifests: Manifests) -> None:
    found = yaml.safe_load(manifests("production")["RayService", "raycommend"]["spec"]["serveConfigV2"])
    own = yaml.safe_load((PROJECT_DIR / "serve_config.yaml").read_text())
    for config in (found, own):
        del config["http_options"]["host"]
        for application in config["applications"]:
            for deployment in application["deployments"]:
                for name in ("min_replicas", "max_replicas"):
                    deployment.get("autoscaling_config", {}).pop(name, None)
                deployment["ray_actor_options"].pop("num_cpus")
    assert found == own
    rendered = manifests("production")["RayService", "raycommend"]["spec"]["serveConfigV2"]
    ranking = yaml.safe_load(rendered)["applications"][0]["deployments"][0]
    scaling = ranking["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], ranking["ray_actor_options"]["num_cpus"]) == (2, 8, 1)


def test_production_keeps_what_answers(manifests: Manifests) -> None:
    found = manifests("production")
    cluster = found["RayService", "raycommend"]["spec"]["rayClusterConfig"]
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"] == "raycommend-gcs:6379"
    assert cluster["enableInTreeAutoscaling"] is True
    for group in ("head", "workers"):
        container = ray_container(found, group)
        assert all(probe in container for probe in ("startupProbe", "readinessProbe", "livenessProbe"))
    assert found["StatefulSet", "raycommend-store-replica"]["spec"]["replicas"] == 2
    assert "min-replicas-to-write 1" in found["ConfigMap", "raycommend-store"]["data"]["store.conf"]
    assert ("StatefulSet", "raycommend-postgresql") not in found, "production names an outside database"


@pytest.mark.parametrize(
    ("environment", "settings", "budgets"),
    [
        ("production", (), {"raycommend-worker": 2, "raycommend-store-replica": 1}),
        ("staging", (), {"raycommend-worker": 1}),
        ("staging", ("ray.worker.minReplicas=1",), {}),
        ("production", ("store.valkey.replicas=1",), {"raycommend-worker": 2}),
    ],
)
def test_a_node_can_always_be_drained(
    environment: str, settings: tuple[str, ...], budgets: dict[str, int], manifests: Manifests
) -> None:
    found = manifests(environment, *settings)
    kept = {name: one["spec"]["minAvailable"] for (kind, name), one in found.items() if kind == "PodDisruptionBudget"}
    assert kept == budgets
    sizes = {name: one["spec"]["replicas"] for (kind, name), one in found.items() if kind == "StatefulSet"}
    cluster = found["RayService", "raycommend"]["spec"]["rayClusterConfig"]
    sizes["raycommend-worker"] = cluster["workerGroupSpecs"][0]["minReplicas"]
    assert [name for name, pods in kept.items() if pods >= sizes[name]] == []


def test_every_policy_selects_pods_that_there_are(manifests: Manifests) -> None:
    found = manifests("staging")
    labels = [one["metadata"]["labels"] for one in _templates(found)]
    chosen = [one for (kind, _), one in found.items() if kind in ("NetworkPolicy", "PodDisruptionBudget", "Service")]
    assert len(chosen) >= 10
    for one in chosen:
        selector = one["spec"].get("podSelector", one["spec"].get("selector"))
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= label.items() for label in labels), one["metadata"]["name"]


def _templates(value: Any) -> Iterator[dict[str, Any]]:
    """Every template of a pod."""
    if isinstance(value, dict):
        if isinstance(value.get("spec"), dict) and "containers" in value["spec"]:
            yield value
        for one in value.values():
            yield from _templates(one)
    elif isinstance(value, list):
        for one in value:
            yield from _templates(one)


def test_outside_addresses_take_the_place_of_the_charts_own_servers(manifests: Manifests) -> None:
    found = manifests(
        "production",
        "store.external.existingSecret=outside-store",
        "ray.gcsFaultTolerance.address=redis.example:6379",
        "ray.gcsFaultTolerance.existingSecret=outside-gcs",
        "mlflow.external.existingSecret=outside-mlflow",
    )
    assert not [name for kind, name in found if kind in ("StatefulSet", "Deployment")]
    given = env(ray_container(found, "head"))
    assert given["REDIS_URL"]["secretKeyRef"] == {"name": "outside-store", "key": "url"}
    assert given["MLFLOW_TRACKING_URI"]["secretKeyRef"] == {"name": "outside-mlflow", "key": "uri"}


def test_a_kuberay_without_cron_jobs_retrains_on_the_serving_cluster(manifests: Manifests) -> None:
    found = manifests("production", "retraining.kind=CronJob", "retraining.trials=4")
    pod = found["CronJob", "raycommend-retraining"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert command[:6] == ["python", "-m", "jobs.submit", "--wait", "--", "python"]
    assert command[-2:] == ["--trials", "4"]


def test_two_releases_do_not_meet_on_one_store(manifests: Manifests) -> None:
    prefixes = {env(ray_container(manifests(name), "head"))["RAYCOMMEND_STORE_PREFIX"] for name in ENVIRONMENTS}
    assert len(prefixes) == len(ENVIRONMENTS)


def test_the_version_is_said_once() -> None:
    """pyproject.toml has it; what cannot read it there is compared."""
    version = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert yaml.safe_load((CHART / "values.yaml").read_text())["image"]["tag"] == ""
    compose = yaml.safe_load((PROJECT_DIR / "deploy" / "container" / "compose.yaml").read_text())
    ours = compose["x-ours"]
    assert (ours["image"], ours["build"]["args"]["VERSION"]) == (f"raycommend:{version}", version)
    ray = re.search(r"^ray==(.*?) ", (PROJECT_DIR / "requirements.lock").read_text(), re.MULTILINE)
    assert ray is not None
    assert yaml.safe_load((CHART / "values.yaml").read_text())["ray"]["version"] == ray.group(1)


def test_the_schema_knows_the_settings_as_they_are() -> None:
    script = PROJECT_DIR / "deploy" / "tools" / "settings_schema.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert "trials" in schema["$defs"]["SettingsTraining"]["properties"]
