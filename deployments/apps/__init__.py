"""The Ray Serve applications: the one place where Ray is wrapped round plain classes.

`serve_config.yaml` names the builders here. Settings are read where the application is built, inside the cluster, and
travel to the replicas with their arguments. Each function has a module of its own, and a builder imports its own when
it is called: eight processes start with a stack, and each imports what it runs and no more.
"""

from pydantic import BaseModel, ConfigDict, Field
from ray.serve import Application

from configs.settings import load_settings
from features.serving.slots import SLOTS


class RecommendArgs(BaseModel):
    """Arguments of the application `recommend`."""

    model_config = ConfigDict(extra="forbid")

    slots: list[str] = Field(list(SLOTS), description="model slots, one Retrieval deployment each")


class EventsArgs(BaseModel):
    """Arguments of the application `events`."""

    model_config = ConfigDict(extra="forbid")


class ConsoleArgs(BaseModel):
    """Arguments of the application `console`."""

    model_config = ConfigDict(extra="forbid")


def recommend(args: RecommendArgs) -> Application:
    """`Ranking`, with one `Retrieval` deployment for each model slot beside it."""
    from deployments.apps.ranking_deployment import RankingDeployment
    from deployments.apps.retrieval_deployment import RetrievalDeployment

    settings = load_settings()
    handles = {
        slot: RetrievalDeployment.options(name=f"Retrieval-{slot}").bind(slot, settings)  # type: ignore[attr-defined]
        for slot in args.slots
    }
    return RankingDeployment.bind(settings, handles)  # type: ignore[attr-defined]


def events(args: EventsArgs) -> Application:
    """`Ingestion`."""
    from deployments.apps.ingestion_deployment import IngestionDeployment

    return IngestionDeployment.bind(load_settings())  # type: ignore[attr-defined]


def console(args: ConsoleArgs) -> Application:
    """`Console`: pages, health, users, items and the document over all three applications; beside it `Autopilot`."""
    from deployments.apps.autopilot_deployment import AutopilotDeployment
    from deployments.apps.console_deployment import ConsoleDeployment

    settings = load_settings()
    return ConsoleDeployment.bind(settings, AutopilotDeployment.bind(settings))  # type: ignore[attr-defined]
