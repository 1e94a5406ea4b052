"""Renders, lints and validates the chart without a cluster: `.venv/deploy-tools/bin/python deploy/tools/chart.py ...`

    render [--values FILE ...] [--set NAME=VALUE ...]   print the manifests, as `helm template` would
    lint [--values FILE ...]                            what `helm lint --strict` finds
    check --kubeconfig FILE [--values FILE ...]         what a cluster refuses, such as a missing Secret; makes nothing
    validate FILE [--kubernetes VERSION ...]            manifests against Kubernetes' own schemas, no unknown field

Helm's own engine does it, from the package helm-python-sdk. `make chart` runs all of it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import yaml

CHART = Path(__file__).resolve().parents[1] / "helm" / "raycommend"
RELEASE, NAMESPACE = "raycommend", "raycommend"
KUBERNETES = ("1.29", "1.37")
"""The oldest that the chart takes, and the newest that there are schemas of."""
KUBERAY = "ray.io/"
WARNING = 2


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, as Helm lays one file of values over another."""
    result = dict(base)
    for name, value in over.items():
        known = result.get(name)
        result[name] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def values_of(files: list[Path], settings: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for file in files:
        values = merged(values, yaml.safe_load(file.read_text()) or {})
    for setting in settings:
        values = merged(values, helm_python.parse_set_string(setting))
    return values


def render(values: dict[str, Any]) -> str:
    """All manifests as one text, in the order of their templates' names. Raises `helm_python.HelmError`."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        texts = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    parts = []
    for name, text in sorted(texts.items()):
        documents = [part.strip("\n") for part in ("\n" + text).split("\n---\n")]
        parts += [f"---\n# {name}\n{part}\n" for part in documents if part.strip() and not name.endswith("NOTES.txt")]
    return "".join(parts)


def check(kubeconfig: Path, values: dict[str, Any]) -> None:
    """Ask a cluster as an installation would, up to where it would make something. Raises `helm_python.HelmError`."""
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as config:
        config.install(str(CHART), RELEASE, values, dry_run="server")


def faults(text: str, versions: tuple[str, ...] = KUBERNETES) -> list[str]:
    """What Kubernetes' schemas refuse, unknown fields included. Kinds of KubeRay are left out: they have their own."""
    found = []
    for manifest in yaml.load_all(text, Loader=yaml.CSafeLoader):
        if manifest["apiVersion"].startswith(KUBERAY):
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(part) for part in error.path)
                found.append(f"{manifest['kind']} {manifest['metadata']['name']} {version}: {place}: {error.message}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("render", "lint", "check"):
        command = commands.add_parser(name)
        if name == "check":
            command.add_argument("--kubeconfig", type=Path, required=True)
        command.add_argument("--values", type=Path, action="append", default=[])
        command.add_argument("--set", action="append", default=[])
    command = commands.add_parser("validate")
    command.add_argument("file", type=Path)
    command.add_argument("--kubernetes", action="append", default=[])
    given = parser.parse_args()
    try:
        if given.command == "render":
            sys.stdout.write(render(values_of(given.values, given.set)))
            return 0
        if given.command == "check":
            check(given.kubeconfig, values_of(given.values, given.set))
            return 0
        if given.command == "lint":
            report = helm_python.lint(CHART, values_of(given.values, given.set), strict=True)
            bad = [one for one in report["messages"] if one["severity"] >= WARNING]
            for one in (*bad, *report["errors"]):
                print(one, file=sys.stderr)
            return 1 if bad or report["errors"] else 0
    except helm_python.HelmError as error:
        print(f"chart: {error}", file=sys.stderr)
        return 1
    lines = faults(given.file.read_text(), tuple(given.kubernetes) or KUBERNETES)
    print("\n".join(lines) or f"{given.file}: no faults")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
