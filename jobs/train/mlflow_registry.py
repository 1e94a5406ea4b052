"""The model registry: MLflow runs, model versions and aliases. Serving never needs it."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import httpx

from configs import clock
from configs.addresses import without_credentials
from configs.settings import Settings
from jobs.train.publication import Publication, TrialRecord

BUNDLE_TAG = "bundle_version"
PARENT_TAG = "mlflow.parentRunId"
REACH_S = 3.0


class RegistryUnavailable(Exception):  # noqa: N818 - it names a state, which a training survives
    """The registry is away or refuses; the message says which address and why."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class MlflowRegistry:
    """The registered model that the settings name.

    Args:
        settings: they give the address, the model's name and the MLflow experiment.

    Raises:
        RegistryUnavailable: nobody answers at the address.
    """

    def __init__(self, settings: Settings) -> None:
        self.uri = settings.tracking_uri
        self.model = settings.tracking.model
        self.experiment = settings.tracking.experiment
        if self.uri.startswith(("http://", "https://")):
            try:
                httpx.get(f"{self.uri}/health", timeout=REACH_S).raise_for_status()
            except httpx.HTTPError as error:
                raise RegistryUnavailable(f"{self.uri}: {str(error) or type(error).__name__}") from error
        # Its own defaults retry for minutes; the publication waits on disk instead.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        self._client: MlflowClient = MlflowClient(self.uri)

    def publish(self, publication: Publication) -> str:
        """Log the runs and register the version.

        Safe to repeat: a version that is registered is not registered again, and runs that a killed attempt left
        without one are removed first.

        Returns:
            the number of the model version in the registry.

        Raises:
            RegistryUnavailable: it went away, or refused.
        """
        from mlflow.exceptions import MlflowException

        try:
            number = self._registered(publication.version)
            if number is None:
                self._remove_unfinished(publication.version)
                number = self._register(publication)
        except MlflowException as error:
            raise RegistryUnavailable(f"{self.uri}: {error}") from error
        return number

    async def point(self, alias: str, version: str | None) -> str | None:
        """Let an alias name a bundle version, or remove it. Returns what is in the way: the registry does not know the
        version, went away, or refused."""
        return await asyncio.to_thread(self._point, alias, version)

    def _point(self, alias: str, version: str | None) -> str | None:
        from mlflow.exceptions import MlflowException

        try:
            if version is None:
                self._client.delete_registered_model_alias(self.model, alias)
            elif (number := self._registered(version)) is None:
                return f"{self.uri}: version {version} is not registered there"
            else:
                self._client.set_registered_model_alias(self.model, alias, number)
        except MlflowException as error:
            return f"{self.uri}: {error}"
        return None

    def log_report(self, name: str, metrics: dict[str, float], tags: dict[str, str], files: list[Path]) -> str:
        """A run of its own with metrics and files. Returns its id.

        Raises:
            RegistryUnavailable: it went away, or refused.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = str(self._client.create_run(self._experiment_id(), tags=tags, run_name=name).info.run_id)
            self._log(run, {}, metrics, clock.now_ms())
            for file in files:
                self._client.log_artifact(run, str(file))
            self._client.set_terminated(run, "FINISHED")
        except MlflowException as error:
            raise RegistryUnavailable(f"{self.uri}: {error}") from error
        return run

    def _registered(self, version: str) -> str | None:
        found = self._client.search_model_versions(f"name = '{self.model}' and tag.{BUNDLE_TAG} = '{version}'")
        return str(found[0].version) if found else None

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(self.experiment))
        except MlflowException:
            # Another training made it in between.
            found = self._client.get_experiment_by_name(self.experiment)
            if found is None:
                raise
            return str(found.experiment_id)

    def _remove_unfinished(self, version: str) -> None:
        runs = self._client.search_runs([self._experiment_id()], f"tags.{BUNDLE_TAG} = '{version}'")
        for run in runs:
            self._client.delete_run(run.info.run_id)

    def _register(self, publication: Publication) -> str:
        experiment = self._experiment_id()
        tags = {**publication.tags, BUNDLE_TAG: publication.version, "bundle_uri": publication.uri}
        parent = self._client.create_run(
            experiment, publication.started_ms, tags, run_name=f"retrain {publication.version}"
        ).info.run_id
        self._log(parent, publication.parameters, publication.metrics, publication.finished_ms)
        for trial in sorted(publication.trials, key=lambda trial: trial.number):
            self._log_trial(experiment, parent, publication, trial)
        self._client.log_text(parent, publication.manifest, "manifest.json")
        self._client.set_terminated(parent, "FINISHED", publication.finished_ms)
        self._make_model()
        created = self._client.create_model_version(
            self.model,
            f"runs:/{parent}/manifest.json",
            parent,
            tags=tags,
            description=tags.get("reason"),
            await_creation_for=0,
        )
        return str(created.version)

    def _log_trial(self, experiment: str, parent: str, publication: Publication, trial: TrialRecord) -> None:
        tags = {PARENT_TAG: parent, BUNDLE_TAG: publication.version}
        if trial.error is not None:
            tags["error"] = trial.error[:500]
        run = self._client.create_run(
            experiment, publication.started_ms, tags, run_name=f"trial {trial.number}"
        ).info.run_id
        parameters = {name: str(value) for name, value in trial.parameters.items()}
        self._log(run, parameters, {**trial.metrics, "seconds": trial.seconds}, publication.finished_ms)
        status = "FINISHED" if trial.error is None else "FAILED"
        self._client.set_terminated(run, status, publication.started_ms + int(1000 * trial.seconds))

    def _log(self, run: str, parameters: dict[str, str], metrics: dict[str, float], time_ms: int) -> None:
        from mlflow.entities import Metric, Param

        self._client.log_batch(
            run,
            metrics=[Metric(name, value, time_ms, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in parameters.items()],
        )

    def _make_model(self) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

        try:
            self._client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def aliases(self) -> dict[str, tuple[str, str]]:
        """alias -> (bundle version, bundle URI), from which lost slots are restored.

        Raises:
            RegistryUnavailable: it went away, or refused.
        """
        from mlflow.exceptions import MlflowException

        try:
            models: Iterable = self._client.search_registered_models(f"name = '{self.model}'")
            numbers = {alias: number for model in models for alias, number in model.aliases.items()}
            versions = {alias: self._client.get_model_version(self.model, number) for alias, number in numbers.items()}
        except MlflowException as error:
            raise RegistryUnavailable(f"{self.uri}: {error}") from error
        return {alias: (found.tags[BUNDLE_TAG], found.tags["bundle_uri"]) for alias, found in versions.items()}
