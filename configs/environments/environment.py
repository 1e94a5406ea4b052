"""Which environment this is (dev, staging, production), and the secrets that come by variable or by file only.

`RAYCOMMEND_ENVIRONMENT` names a file of `configs/environments/`. What it says is a layer of the settings below the file
that `RAYCOMMEND_CONFIG` names. Its `secrets` are those without which nothing starts.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from configs.addresses import without_credentials

Environment = Literal["dev", "staging", "production"]
ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)
VARIABLE = "RAYCOMMEND_ENVIRONMENT"
FOLDER = Path(__file__).resolve().parent

Secret = Literal["REDIS_URL", "MLFLOW_TRACKING_URI", "RAYCOMMEND_SECURITY_KEYS", "RAYCOMMEND_ALERTS_WEBHOOK"]
SECRETS: dict[Secret, tuple[str, str]] = {
    "REDIS_URL": ("store", "url"),
    "MLFLOW_TRACKING_URI": ("tracking", "uri"),
    "RAYCOMMEND_SECURITY_KEYS": ("security", "keys"),
    "RAYCOMMEND_ALERTS_WEBHOOK": ("alerts", "webhook"),
}
"""Variable -> the setting that it gives. With `_FILE` after its name, the variable names a file with the value."""


class EnvironmentFaultError(ValueError):
    """The environment or one of its secrets cannot be read; the message names it and says what to do."""


def environment_file() -> Path | None:
    """The file of the environment that is set; None where none is. Raises `EnvironmentFaultError`."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    if name not in ENVIRONMENTS:
        raise EnvironmentFaultError(f"environment: {VARIABLE} is {name!r}; it can be {', '.join(ENVIRONMENTS)}")
    return FOLDER / f"{name}.yaml"


def secrets_of_files() -> dict[str, str]:
    """Variable -> content of the file that `<variable>_FILE` names. Raises `EnvironmentFaultError`."""
    found: dict[str, str] = {}
    for variable in SECRETS:
        name = f"{variable}_FILE"
        path = os.environ.get(name)
        if not path:
            continue
        try:
            text = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentFaultError(f"{name} names {path}, which cannot be read: {error}") from error
        if not text:
            raise EnvironmentFaultError(f"{name} names {path}, which is empty")
        # The same twice is what a shell has that sourced the `env` of a running stack.
        if os.environ.get(variable, text).strip() != text:
            raise EnvironmentFaultError(f"{variable} and {name} are both set, and differ: take one of them away")
        found[variable] = text
    return found


def missing(secrets: tuple[Secret, ...], settings: Any) -> list[str]:
    """A line for each of `secrets` that nothing gives."""
    return [
        f"the secret {variable} is missing: set {variable}, or {variable}_FILE to a file that holds it"
        for variable in secrets
        if not getattr(getattr(settings, SECRETS[variable][0]), SECRETS[variable][1])
    ]


def refuse_secrets_in(file: Path) -> None:
    """Raise `EnvironmentFaultError` where a file of settings holds a secret, which would be copied along with it."""
    content = yaml.safe_load(file.read_text())
    for variable, (group, field) in SECRETS.items():
        values = content.get(group) if isinstance(content, Mapping) else None
        value = values.get(field) if isinstance(values, Mapping) else None
        # API keys are there as hashes. A webhook's whole address is a secret.
        if isinstance(value, str) and (field == "webhook" or without_credentials(value) != value):
            raise EnvironmentFaultError(
                f"{group}.{field}: {file} holds a secret; "
                f"give it by {variable}, or by a file that {variable}_FILE names"
            )
