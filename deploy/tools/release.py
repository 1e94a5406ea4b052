"""What a release is called and what its notes say: `python deploy/tools/release.py version`, `... notes v1.2.3`.

The version stands in pyproject.toml; `... set 1.2.3` writes it there and into the clients, the chart and the
container's files, whose own formats want a copy. Notes stand in CHANGELOG.md under the version's heading. Standard
library only.
"""

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


# Where copies stand: file -> what surrounds them, before and after, wherever it occurs.
COPIES = {
    "pyproject.toml": [(r'^version = "', '"')],
    "clients/python/pyproject.toml": [(r'^version = "', '"')],
    "clients/typescript/package.json": [(r'^  "version": "', '"')],
    "clients/typescript/package-lock.json": [
        (r'^  "version": "', '"'),
        (r'"": \{\s+"name": "raycommend-client",\s+"version": "', '"'),
    ],
    "deploy/helm/raycommend/Chart.yaml": [(r"^version: ", "$"), (r"^appVersion: ", "$")],
    "deploy/container/compose.yaml": [(r"^ *image: raycommend:", "$"), (r"^ *VERSION: ", "$")],
}
_VERSION = r"\d+\.\d+\.\d+"


class ReleaseError(ValueError):
    """There can be no such release; the message says why and what to do."""


def version_of(project: str) -> str:
    """The version that a pyproject.toml names."""
    version: str = tomllib.loads(project)["project"]["version"]
    return version


def notes(changelog: str, tag: str, version: str) -> str:
    """The part of a changelog under the heading of a version.

    Raises:
        ReleaseError: the tag is not the version's, or there is nothing under its heading.

    >>> notes("# Changelog\\n\\n## 1.1.0 (2026-01-01)\\n\\n- A line.\\n\\n## 1.0.0\\n", "v1.1.0", "1.1.0")
    '- A line.'
    """
    if tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag}, and pyproject.toml says {version}: the tag must be v{version}")
    found = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?$\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    text = found.group(1).strip() if found is not None else ""
    if not text:
        raise ReleaseError(f"CHANGELOG.md has no notes under `## {version}`: rename `## Unreleased` to it")
    return text


def check_copies(root: Path) -> None:
    """Raise `ReleaseError` for the first file whose copy of the version is not that of pyproject.toml."""
    version = version_of((root / "pyproject.toml").read_text())
    for name, places in COPIES.items():
        text = (root / name).read_text()
        for before, after in places:
            found = re.findall(f"{before}({_VERSION}){after}", text, re.MULTILINE)
            if set(found) != {version}:
                said = ", ".join(found) or "none"
                raise ReleaseError(
                    f"{name} says version {said}, and pyproject.toml {version}: "
                    f"run `python deploy/tools/release.py set {version}`"
                )


def set_version(root: Path, version: str) -> None:
    """Write the version into pyproject.toml and all copies, and the sums of what the clients are made from.

    Raises:
        ReleaseError: it is no version, or a file has no place for it.
    """
    if not re.fullmatch(_VERSION, version):
        raise ReleaseError(f"{version!r} is no version: it must be three numbers, such as 1.2.3")
    written = {}
    for name, places in COPIES.items():
        text = (root / name).read_text()
        for before, after in places:
            text, count = re.subn(f"({before}){_VERSION}({after})", rf"\g<1>{version}\g<2>", text, flags=re.MULTILINE)
            if count == 0:
                raise ReleaseError(f"{name}: there is no version where one should stand, after {before}")
        written[name] = text
    for name, text in written.items():
        (root / name).write_text(text)
    record = root / "clients" / "made.json"
    sums = json.loads(record.read_text())
    for name in sums["from"].keys() & {name.removeprefix("clients/") for name in written}:
        sums["from"][name] = hashlib.sha256((root / "clients" / name).read_bytes()).hexdigest()
    record.write_text(json.dumps(sums, indent=1) + "\n")


def main(words: Sequence[str]) -> int:
    """Entry point; the exit code is 1 where there can be no such release."""
    version = version_of((ROOT / "pyproject.toml").read_text())
    if words == ["version"]:
        print(version)
        return 0
    if len(words) == 2 and words[0] in ("notes", "set"):
        try:
            if words[0] == "set":
                set_version(ROOT, words[1])
                print("the chart's goldens name the version, too: make chart-goldens")
            else:
                check_copies(ROOT)
                print(notes((ROOT / "CHANGELOG.md").read_text(), words[1], version))
        except ReleaseError as error:
            print(f"release: {error}", file=sys.stderr)
            return 1
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
