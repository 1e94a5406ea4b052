"""`Retrieval` as a Serve deployment, one for each model slot."""

from ray import serve

from configs.settings import Settings
from deployments.apps.asgi import keep_for_good
from deployments.recommend.retrieval import Retrieval


@serve.deployment
class RetrievalDeployment(Retrieval):
    async def __init__(self, slot: str, settings: Settings) -> None:  # type: ignore[misc]
        super().__init__(slot, settings)
        await self.start()
        keep_for_good()
