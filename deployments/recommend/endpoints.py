"""The endpoint of `recommend`, for its route and for its part of the OpenAPI document."""

from collections.abc import Callable

from configs.settings import Serving
from deployments.access.caller import CURRENT, only_own
from deployments.http.asgi_app import Endpoint
from deployments.http.errors import parse_body
from deployments.http.schemas import RecommendAnswer, RecommendRequest
from deployments.recommend.ranking import Ranking


def recommend_endpoints(ranking: Callable[[], Ranking], serving: Serving) -> list[Endpoint]:
    """Endpoints of `recommend`. `ranking` is called at request time: the document can be made without one."""

    async def recommend(body: bytes, _: str) -> bytes:
        asked, request = ranking(), parse_body(RecommendRequest, body)
        only_own(request.user_id, CURRENT.get())
        return await asked.recommend(request)

    return [
        Endpoint(
            path="/api/v1/recommend",
            name="recommend",
            tag="recommend",
            summary="Recommendations for a user",
            request=RecommendRequest,
            response=RecommendAnswer,
            max_body_bytes=serving.max_body_bytes,
            answer=recommend,
        )
    ]
