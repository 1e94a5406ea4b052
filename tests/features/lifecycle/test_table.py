"""The table of what is kept is complete, and the page shows it as it is."""

import ast
import inspect
from collections import Counter

from configs.groups.keeping import Keeping
from configs.settings import PROJECT_DIR, Settings
from features.lifecycle.table import FILES, GROUPS, KEYS, budget_bytes, markdown
from features.redis.keys import Keys

NO_KEYS = {"partition_of", "of_user", "pattern"}


def test_every_key_has_one_row() -> None:
    builders = {name for name, _ in inspect.getmembers(Keys) if not name.startswith("_")} - NO_KEYS
    assert len(builders) > 40
    assert Counter(row.name for row in KEYS) == Counter(builders)


def state_paths() -> set[str]:
    """What the code names directly below the state folder: `<...>state_dir / "name"`, with or without `.resolve()`."""
    found = set()
    for package in ("configs", "deployments", "features", "jobs"):
        for file in (PROJECT_DIR / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.BinOp)
                    and isinstance(node.op, ast.Div)
                    and isinstance(node.right, ast.Constant)
                ):
                    left = ast.unparse(node.left).removesuffix(".resolve()")
                    if left.endswith("state_dir"):
                        found.add(node.right.value)
    return found


def test_every_entry_of_the_state_folder_has_one_row() -> None:
    named = state_paths()
    assert len(named) > 10
    rows = [row.name for row in FILES]
    assert len(set(rows)) == len(rows)
    assert named - set(rows) == set()


def test_every_group_has_a_budget_and_every_budget_a_group() -> None:
    budgets = {name.removesuffix("_bytes") for name in Keeping.model_fields if name.endswith("_bytes")}
    assert budgets == set(GROUPS) == {row.group for row in (*KEYS, *FILES)}
    assert all(budget_bytes(Keeping(), group) > 0 for group in GROUPS)


def test_every_setting_that_a_row_names_exists() -> None:
    settings = Settings()
    words = [word.strip(",;:") for row in (*KEYS, *FILES) for word in f"{row.growth} {row.retention}".split()]
    named = {word for word in words if word.partition(".")[0] in Settings.model_fields and "." in word}
    assert len(named) > 5
    assert [
        name for name in named if not hasattr(getattr(settings, name.partition(".")[0]), name.partition(".")[2])
    ] == []


def test_the_page_shows_the_table() -> None:
    page = (PROJECT_DIR / "docs" / "operations.md").read_text()
    assert "\n" + "\n".join(markdown(Keeping())) + "\n" in page
