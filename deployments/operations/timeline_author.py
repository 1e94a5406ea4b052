"""Who asks, for the timeline."""

from fastapi import Request

from deployments.access.caller import CALLER
from features.serving.serving_state import PERSON


def author(request: Request) -> str:
    """`key NAME` or `token SUBJECT`, as the request came; a person where no keys are asked for.

    The word in front keeps a key that somebody calls `autopilot` from being taken for it.
    """
    found = request.scope.get(CALLER)
    return PERSON if found is None else str(found)
