"""One OpenAPI document over all applications."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from deployments.schemas import EventRequest, ItemRequest, RecommendRequest


def merged_document(apps: list[FastAPI], version: str) -> dict[str, Any]:
    """The paths and schemas of all `apps`.

    Raises:
        ValueError: two applications define one path, or one schema differently.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Raycommend",
            "version": version,
            "description": "Recommendations that follow every event. Ids are compared by their text: 196 and "
            '"196" name the same user.',
        },
        "paths": {},
        "components": {"schemas": {}},
    }
    # The bodies that the endpoints read by themselves are known to no application.
    _, bodies = models_json_schema(
        [(RecommendRequest, "validation"), (EventRequest, "validation"), (ItemRequest, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    parts = [{"paths": {}, "components": {"schemas": bodies["$defs"]}}, *(app.openapi() for app in apps)]
    for part in parts:
        for section, target in (
            (part["paths"], document["paths"]),
            (part.get("components", {}).get("schemas", {}), document["components"]["schemas"]),
        ):
            for name, content in section.items():
                if target.setdefault(name, content) != content:
                    raise ValueError(f"{name} is defined twice")
    return document
