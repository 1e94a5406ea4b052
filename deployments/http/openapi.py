"""One OpenAPI document over all applications."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from deployments.http.asgi_app import Endpoint

_REFERENCE = "#/components/schemas/{model}"


def reference(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the schema of `model` in the document."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The part of an operation that describes a body which the endpoint reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference(model)}}}}


def merged_document(
    app: FastAPI, own_bodies: Sequence[type[BaseModel]], endpoints: Sequence[Endpoint], version: str
) -> dict[str, Any]:
    """The paths and schemas of an application and of endpoints outside it.

    Args:
        app: an application that documents itself, except the bodies that its endpoints read by themselves.
        own_bodies: the models of those bodies.
        endpoints: the endpoints of the other applications.

    Raises:
        ValueError: one path is defined twice.
    """
    document = FastAPI.openapi(app)  # of the class: the application's own may be this function
    document["info"] = {
        "title": "Raycommend",
        "version": version,
        "description": "Recommendations that follow every event. Ids are compared by their text: 196 and "
        '"196" name the same user.',
    }
    models = {(model, "validation") for model in own_bodies}
    for endpoint in endpoints:
        models |= {(endpoint.request, "validation"), (endpoint.response, "serialization")}
        models |= {(error["model"], "serialization") for error in endpoint.errors.values()}
    _, schemas = models_json_schema(sorted(models, key=str), ref_template=_REFERENCE)  # type: ignore[arg-type]
    for endpoint in endpoints:
        if endpoint.path in document["paths"]:
            raise ValueError(f"{endpoint.path} is defined twice")
        document["paths"][endpoint.path] = {"post": _operation(endpoint)}
    known = document.setdefault("components", {}).setdefault("schemas", {})
    document["components"]["schemas"] = {**schemas["$defs"], **known}
    # Keys are asked for only where some are configured, so going without is a way in too.
    document["components"]["securitySchemes"] = {"api_key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"api_key": []}]
    return document


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers = {200: {"model": endpoint.response, "description": "Done"}, **endpoint.errors}
    return {
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "operationId": endpoint.path.removeprefix("/api/v1/").replace("/", "_"),
        **json_body(endpoint.request),
        "responses": {
            str(status): {
                "description": answer["description"],
                "content": {"application/json": {"schema": reference(answer["model"])}},
            }
            for status, answer in answers.items()
        },
    }
