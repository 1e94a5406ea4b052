"""Make what is made from the OpenAPI document: the Python models, the TypeScript types, and the JavaScript modules.

`make clients` runs it with the generators in their pinned versions. `made.json` keeps the sums of what was made and of
what it was made from, so that a test can say that something is stale without the generators at hand.
"""

import argparse
import copy
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clients.document import FILE, document_text

FOLDER = Path(__file__).parent
RECORD = FOLDER / "made.json"
MODELS = FOLDER / "python" / "src" / "raycommend_client" / "models.py"
TYPESCRIPT = FOLDER / "typescript"
SCHEMA = TYPESCRIPT / "src" / "schema.ts"
CODEGEN = (
    *("--input-file-type", "openapi", "--output-model-type", "pydantic_v2.BaseModel", "--use-annotated"),
    *("--target-python-version", "3.10", "--use-standard-collections", "--use-union-operator", "--use-type-alias"),
    *("--enum-field-as-literal", "all", "--use-schema-description"),
    *("--strict-nullable", "--strict-types", "int", "str", "bool", "--formatters", "builtin", "--disable-timestamp"),
    *("--custom-file-header", '"""Requests and answers of the HTTP interface, made from its OpenAPI document."""'),
)


def python_document(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the Python models are made from it.

    Answers take any text where the document lists the values of today: an older client must read what a later server
    says. A time is a text or a number, since the server takes forms that no type of Python's knows. A default that is
    an object is left to the server: it would have to be of the field's own model.
    """
    found = copy.deepcopy(document)
    for schema in found["components"]["schemas"].values():
        is_request = schema.get("additionalProperties") is False
        for field in schema.get("properties", {}).values():
            _simplify(field, () if is_request else ("enum",))
            if isinstance(field.get("default"), dict):
                del field["default"]
    return found


def typescript_document(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the types are made from it: what requests and answers hold. The calls themselves are written."""
    found = {**copy.deepcopy(document), "paths": {}}
    for schema in found["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            _simplify(field, ())
    return found


def _simplify(part: Any, without: tuple[str, ...]) -> None:
    if isinstance(part, dict):
        for key in ("title", "examples", "format", *without):
            part.pop(key, None)
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _simplify(inner, without)


def sources() -> list[Path]:
    """What everything is made from, besides the document."""
    settings = [TYPESCRIPT / name for name in ("package.json", "package-lock.json", "tsconfig.json")]
    written = sorted(path for path in (TYPESCRIPT / "src").glob("*.ts") if path != SCHEMA)
    return [FOLDER / "generate.py", *settings, *written]


def made() -> list[Path]:
    """What there is of what is made."""
    return [MODELS, SCHEMA, *sorted((TYPESCRIPT / "dist").iterdir())]


def sums(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by the path below `clients/`."""
    return {str(file.relative_to(FOLDER)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def record() -> dict[str, dict[str, str]]:
    """What `made.json` says when nothing is stale."""
    return {"from": sums([FILE, *sources()]), "made": sums(made())}


def generate(codegen: str) -> None:
    """Make everything again. `codegen` is the program `datamodel-codegen`."""
    FILE.write_text(document_text())
    with tempfile.TemporaryDirectory() as work:
        simplified = Path(work) / "openapi.json"
        simplified.write_text(json.dumps(python_document(json.loads(FILE.read_text()))))
        subprocess.run([codegen, "--input", simplified, "--output", MODELS, *CODEGEN], check=True)
        ruff = [sys.executable, "-m", "ruff"]
        subprocess.run([*ruff, "check", "--quiet", "--fix-only", MODELS], check=True)
        subprocess.run([*ruff, "format", "--quiet", MODELS], check=True)
        types = Path(work) / "schemas.json"
        types.write_text(json.dumps(typescript_document(json.loads(FILE.read_text()))))
        subprocess.run(["npm", "run", "--silent", "types", "--", types], cwd=TYPESCRIPT, check=True)
    shutil.rmtree(TYPESCRIPT / "dist", ignore_errors=True)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=TYPESCRIPT, check=True)
    RECORD.write_text(json.dumps(record(), indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codegen", required=True, help="the program datamodel-codegen")
    generate(parser.parse_args().codegen)
