"""Manifests against the schemas of custom resource definitions, as a Kubernetes server holds them to."""

from pathlib import Path
from typing import Any

import jsonschema
import yaml

FILES = ("rayservices.yaml", "raycronjobs.yaml")
"""As KubeRay names them in ray-operator/config/crd/bases, with or without the group before it."""
KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields"


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, refusing fields that it does not know: the server would silently drop them."""
    result = {name: value for name, value in schema.items() if not name.startswith("x-kubernetes-validations")}
    if "properties" in schema:
        result["properties"] = {name: strict(one) for name, one in schema["properties"].items()}
        if not schema.get(KEEPS_UNKNOWN):
            result.setdefault("additionalProperties", False)
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(schema["additionalProperties"])
    if isinstance(schema.get("items"), dict):
        result["items"] = strict(schema["items"])
    # `anyOf` with integer and string stands beside it.
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


def load(folder: Path) -> dict[str, jsonschema.Draft7Validator]:
    """Kind -> validator of its version v1."""
    found = {}
    for name in FILES:
        file = next(iter(folder.glob(f"*{name}")))
        spec = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["spec"]
        version = next(one for one in spec["versions"] if one["name"] == "v1")
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[spec["names"]["kind"]] = jsonschema.Draft7Validator(schema)
    return found


def faults(validator: jsonschema.Draft7Validator, manifest: dict[str, Any]) -> list[str]:
    """`place: what is wrong` for each fault of a manifest."""
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(manifest)]
