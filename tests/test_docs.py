"""What the documents name exists: links, anchors, paths, modules, make targets, settings."""

import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from configs.environments.environment import SECRETS
from configs.environments.environment import VARIABLE as VARIABLE_OF_ENVIRONMENT
from configs.settings import API_KEY_VARIABLE, PROJECT_DIR, Settings

DOCUMENTS = [
    *(PROJECT_DIR / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((PROJECT_DIR / "docs").rglob("*.md")),
    *sorted((PROJECT_DIR / "clients").glob("*/README.md")),
]
# Folders that the project or its stack makes; a path into them need not exist in the repository.
MADE = ("data/raw", "data/processed", "benchmarks/results", "deploy/container/.env")
FOLDERS = sorted(path.name for path in PROJECT_DIR.iterdir() if (path / "__init__.py").exists())
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PROJECT_PATH = re.compile(rf"`((?:{'|'.join([*FOLDERS, 'deploy', 'docs', 'tests'])})/[A-Za-z0-9_./-]*)`")
MODULE = re.compile(r"python -m ([A-Za-z_][\w.]*\w)")
# Captures a trailing underscore too, which only a placeholder such as RAYCOMMEND_<GROUP> or RAYCOMMEND_... has.
VARIABLE = re.compile(r"\bRAYCOMMEND_[A-Z0-9_]*")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(PROJECT_DIR)))


def without_blocks(text: str) -> str:
    """The text without fenced blocks, where brackets and hashes mean other things."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ +(.*)$", without_blocks(document.read_text()), flags=re.MULTILINE)
    found: set[str] = set()
    for heading in headings:
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{words}-{number}" if number else words) in found:
            number += 1
        found.add(anchor)
    return found


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Targets and anchors of a page's relative links."""
    for target in LINK.findall(without_blocks(document.read_text())):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (document.parent / unquote(name)).resolve() if name else document, anchor


def settings() -> set[str]:
    """Every environment variable that starts with RAYCOMMEND_ and means something."""
    found = {"RAYCOMMEND_CONFIG", API_KEY_VARIABLE, VARIABLE_OF_ENVIRONMENT}
    found |= {f"{name}_FILE" for name in SECRETS}
    for name, field in Settings.model_fields.items():
        groups = getattr(field.annotation, "model_fields", None)
        if dataclasses.is_dataclass(field.annotation):
            groups = [inner.name for inner in dataclasses.fields(field.annotation)]
        if groups is not None:
            found |= {f"RAYCOMMEND_{name}_{inner}".upper() for inner in groups}
        else:
            choices = getattr(field.validation_alias, "choices", [f"RAYCOMMEND_{name}".upper()])
            found |= {choice for choice in choices if isinstance(choice, str)}
    return found


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (PROJECT_DIR / "Makefile").read_text(), flags=re.MULTILINE))


def can_be_run(module: str) -> bool:
    """Whether `python -m MODULE` runs: a module does, and a package that has a `__main__`."""
    found = importlib.util.find_spec(module)
    if found is not None and found.submodule_search_locations is not None:
        found = importlib.util.find_spec(f"{module}.__main__")
    return found is not None


@documents
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    found = list(links(document))
    assert [target for target, _ in found if not target.exists()] == []
    assert [target for target, _ in found if not target.is_relative_to(PROJECT_DIR)] == []
    named = [(target, anchor) for target, anchor in found if anchor]
    assert [f"{target}#{anchor}" for target, anchor in named if anchor not in anchors(target)] == []


@documents
def test_every_project_path_exists(document: Path) -> None:
    named = [path for path in PROJECT_PATH.findall(document.read_text()) if not path.startswith(MADE)]
    assert [path for path in named if not (PROJECT_DIR / path).exists()] == []


@documents
def test_every_module_can_be_run(document: Path) -> None:
    named = MODULE.findall(document.read_text())
    assert [name for name in named if not can_be_run(name)] == []


@documents
def test_every_make_target_exists(document: Path) -> None:
    """Those in code, that is between backticks or at the start of a line of a block."""
    text = document.read_text()
    named = re.findall(r"`(?:[A-Z_]+=\S+ )?make ([a-z][a-z-]*)", text)
    for block in re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        named += re.findall(r"^make ([a-z][a-z-]*)", block, flags=re.MULTILINE)
    assert set(named) <= make_targets()


@documents
def test_every_setting_exists(document: Path) -> None:
    known = settings()
    named = VARIABLE.findall(document.read_text())
    assert [name for name in named if name not in known and not name.endswith("_")] == []


def test_every_page_can_be_found() -> None:
    """From the README, and from the index of the pages."""
    pages = {page for page in DOCUMENTS if page.parent == PROJECT_DIR / "docs" and page.name != "README.md"}
    for index in (PROJECT_DIR / "README.md", PROJECT_DIR / "docs" / "README.md"):
        assert pages <= {target for target, _ in links(index)}, index


def test_pictures_are_shown() -> None:
    shown = {target for document in DOCUMENTS for target, _ in links(document)}
    assert set((PROJECT_DIR / "docs" / "pictures").iterdir()) <= shown


def test_the_readme_stays_short() -> None:
    assert len((PROJECT_DIR / "README.md").read_text().splitlines()) <= 165


def test_documents_name_what_is_looked_for() -> None:
    """What the checks of single documents rest on."""
    texts = [document.read_text() for document in DOCUMENTS]
    found = [link for document in DOCUMENTS for link in links(document)]
    assert len([target for target, anchor in found if anchor]) > 5
    for pattern in (PROJECT_PATH, MODULE, VARIABLE):
        assert len({name for text in texts for name in pattern.findall(text)}) > 5, pattern.pattern


def test_settings_are_found_by_their_names() -> None:
    """What the check of variables rests on."""
    assert {"RAYCOMMEND_PORTS_HTTP", "RAYCOMMEND_STATE_DIR", "RAYCOMMEND_DATASET_DIR"} <= settings()
    assert "RAYCOMMEND_PORTS_HTTPS" not in settings()
