"""Deploys `serve_config.yaml` on the local stack, waits until it answers, and shuts it down in order."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import yaml

from configs.settings import PROJECT_DIR, Settings
from configs.versions.code import code_fingerprint
from deployments.local.private_file import write_private
from deployments.local.probes import UnansweredError, answers, ask, ask_json
from deployments.local.stack_parts import StartError

SERVE_CONFIG = PROJECT_DIR / "serve_config.yaml"
EXPORTER = "deployments.replica.tracing:span_processors"
READY_S = 180.0
DRAIN_S = 30.0
FIRST = ("recommend", "events")
"""The applications that users wait for. Where all are gone, these get the cores to themselves at first."""
FIRST_S = 20.0
"""How long the others wait for them at most."""


class ServeControl:
    """Deploys and ends Ray Serve's applications through the dashboard's API."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.say = say
        self.dashboard = f"http://127.0.0.1:{settings.ports.dashboard}"
        self._endpoint = f"{self.dashboard}/api/serve/applications/"
        host = "127.0.0.1" if settings.serving.host == "0.0.0.0" else settings.serving.host  # noqa: S104
        self.url = f"http://{host}:{settings.ports.http}"
        self.deployed = settings.state_dir.resolve() / "serve_config.yaml"
        self._ray_code = settings.state_dir.resolve() / "run" / "code"
        self.logs = settings.run_dir / "ray" / "session_latest" / "logs" / "serve"

    def states(self) -> dict[str, str]:
        """State of each application, such as RUNNING. Raises `UnansweredError`."""
        return {name: application["status"] for name, application in self._applications().items()}

    def ready(self) -> bool:
        """Whether the platform says that it can serve."""
        return answers(f"{self.url}/health/ready")

    def ray_starts(self) -> None:
        """Note with which code Ray starts."""
        self._ray_code.write_text(code_fingerprint())

    def ray_runs(self) -> None:
        """Note that the code of a Ray which runs is unknown, where an earlier version started it."""
        if not self._ray_code.exists():
            self._ray_code.write_text("unknown")

    def changed(self) -> bool:
        """Whether something is deployed, and by another `serve_config.yaml` or other code than there is now."""
        return self.deployed.exists() and self.deployed.read_text() != self.rendered()

    def serving(self) -> bool:
        """Whether what is deployed is what `serve_config.yaml` says now, of the present code, runs, and is ready."""
        if not self.deployed.exists() or self.changed():
            return False
        try:
            return self._all_running(self.states()) and self.ready()
        except UnansweredError:
            return False

    def rendered(self) -> str:
        """`serve_config.yaml` with the profile, the host, the port and the tracing of the settings.

        Code that came after Ray had started is named there: so Serve sees a new version and replaces the replicas one
        after another, and Ray gives them fresh processes, which have imported nothing of the version before.
        """
        config = yaml.safe_load(SERVE_CONFIG.read_text())
        if self.settings.tracing.endpoint is not None:
            share = self.settings.tracing.share
            config["tracing_config"] = {"enabled": True, "exporter_import_path": EXPORTER, "sampling_ratio": share}
        if self.settings.serving.profile == "production":
            _in_pairs(config)
        if self._ray_code.exists() and self._ray_code.read_text() != (code := code_fingerprint()):
            for application in config["applications"]:
                application["runtime_env"] = {"env_vars": {"RAYCOMMEND_CODE": code}}
        options = config.get("http_options") or {}
        config["http_options"] = {**options, "host": self.settings.serving.host, "port": self.settings.ports.http}
        return yaml.safe_dump(config, sort_keys=False)

    def deploy(self) -> None:
        """Deploy, then wait until everything runs and is ready. Raises `StartError`."""
        write_private(self.deployed, self.rendered())
        try:
            self.apply()
            self._wait()
        except BaseException:
            self.deployed.unlink()
            raise

    def apply(self) -> None:
        """Ask Serve for what was deployed last; what runs already goes on. Raises `StartError`."""
        self._put(yaml.safe_load(self.deployed.read_text()))

    def restore(self) -> None:
        """The same where the applications are gone: what users wait for comes first.

        Raises:
            StartError: Serve did not take them.
            UnansweredError: it went away meanwhile.
        """
        config = yaml.safe_load(self.deployed.read_text())
        if not self.states():
            self._put({**config, "applications": [one for one in config["applications"] if one["name"] in FIRST]})
            give_up = time.monotonic() + FIRST_S
            while time.monotonic() < give_up and any(self.states().get(name) != "RUNNING" for name in FIRST):
                time.sleep(0.1)
        self._put(config)

    def _put(self, config: dict[str, Any]) -> None:
        try:
            ask(self._endpoint, self._token(), method="PUT", content=config, timeout_s=60)
        except UnansweredError as error:
            raise StartError(f"Serve did not take the applications: {error}") from error

    def identity(self) -> str | None:
        """The same for as long as what was deployed last is there, whether or not it runs; None where it is not."""
        if not self.deployed.exists():
            return "nothing"
        try:
            states = self.states()
        except UnansweredError:
            return "unknown"
        there = all(states.get(name) not in (None, "DEPLOY_FAILED", "DELETING") for name in self._declared())
        return "deployed" if there else None

    def runs(self) -> bool:
        """Whether what was deployed last runs and is ready; with a champion, that is served."""
        try:
            return not self.deployed.exists() or (self._all_running(self.states()) and self.ready())
        except UnansweredError:
            return False

    def live(self) -> bool:
        """Whether the API answers at all."""
        return answers(f"{self.url}/health/live")

    def wait_for_model(self) -> None:
        """Wait until the replicas serve the champion, if there is one. Raises `StartError`."""
        give_up = time.monotonic() + READY_S
        detail = "no answer"
        while time.monotonic() < give_up:
            with contextlib.suppress(UnansweredError):
                model = ask_json(f"{self.url}/health")["components"]["model"]
                if model["status"] == "ok":
                    self.say(f"model: {model['detail']}")
                    return
                detail = model["detail"]
                if detail.startswith("no champion yet"):
                    return
            time.sleep(0.2)
        raise StartError(f"the model is not served within {READY_S:.0f} s: {detail}; logs: {self.logs}")

    def drain(self) -> None:
        """Take the applications away, which lets replicas finish the requests that they have; then end Serve.

        Ending Serve at once, as `serve shutdown` does, would cut those requests off.
        """
        try:
            if self.deployed.exists():
                config = yaml.safe_load(self.deployed.read_text())
                ask(self._endpoint, self._token(), method="PUT", content={**config, "applications": []}, timeout_s=30)
                give_up = time.monotonic() + DRAIN_S
                while (left := self._leaving()) and time.monotonic() < give_up:
                    time.sleep(0.1)
                if left:
                    self.say(f"serve: {', '.join(sorted(left))} did not finish within {DRAIN_S:.0f} s")
            ask(self._endpoint, self._token(), method="DELETE", timeout_s=DRAIN_S)
        except UnansweredError as error:
            self.say(f"serve: could not be ended in order ({error})")

    def _wait(self) -> None:
        give_up = time.monotonic() + READY_S
        told: dict[str, str] = {}
        while not (self._all_running(told) and self.ready()):
            with contextlib.suppress(UnansweredError):
                states = self.states()
                for name, state in states.items():
                    if told.get(name) != state:
                        self.say(f"{name}: {state.lower().replace('_', ' ')}")
                told = states
            if failed := [name for name in self._declared() if told.get(name) == "DEPLOY_FAILED"]:
                raise StartError(f"{failed[0]} could not be deployed; logs: {self.logs}\n{self._message(failed[0])}")
            if time.monotonic() > give_up:
                raise StartError(f"not ready within {READY_S:.0f} s: {self._what_is_missing(told)}; logs: {self.logs}")
            time.sleep(0.2)

    def _what_is_missing(self, states: dict[str, str]) -> str:
        if self._all_running(states):
            return f"{self.url}/health/ready does not answer 200"
        return ", ".join(f"{name} is {state}" for name, state in states.items()) or "no application answers"

    def _message(self, application: str) -> str:
        """What Serve says about a failed application, its deployments' own messages included."""
        details = self._applications()[application]
        deployments = details.get("deployments", {}).values()
        messages = [details.get("message", ""), *(deployment.get("message", "") for deployment in deployments)]
        return "\n".join(message.strip()[-2000:] for message in messages if message)

    def _all_running(self, states: dict[str, str]) -> bool:
        """Whether all applications of `serve_config.yaml` run; someone may have added others."""
        return all(states.get(name) == "RUNNING" for name in self._declared())

    def _leaving(self) -> set[str]:
        declared = self._declared()
        return {name for name, state in self.states().items() if name in declared or state == "DELETING"}

    def _declared(self) -> set[str]:
        return {application["name"] for application in yaml.safe_load(self.deployed.read_text())["applications"]}

    def _applications(self) -> dict[str, dict[str, Any]]:
        answer = ask_json(self._endpoint, self._token())
        applications: dict[str, dict[str, Any]] = answer["applications"]
        return applications

    def _token(self) -> str | None:
        path = self.settings.token_path
        return path.read_text() if path.exists() else None


def _in_pairs(config: dict[str, Any]) -> None:
    """At least two replicas of what has at least one and may have more, so that another answers when one dies. What is
    scaled to zero stays so, and what there may be only one of (autopilot) too: nobody waits for an answer of these."""
    for application in config["applications"]:
        for deployment in application["deployments"]:
            scaling = deployment.get("autoscaling_config", {})
            if scaling.get("min_replicas", 0) > 0:
                scaling["min_replicas"] = max(2, scaling["min_replicas"])
                scaling["max_replicas"] = max(2, scaling["max_replicas"])
