"""Who asks, for the timeline."""

from fastapi import Request

from deployments.http.api_keys import CALLER
from features.serving.serving_state import PERSON


def caller(request: Request) -> str:
    """The name of the key that the request came with; a person where no keys are asked for.

    The word in front keeps a key that somebody calls `autopilot` from being taken for it.
    """
    name = request.scope.get(CALLER)
    return f"key {name}" if name else PERSON
