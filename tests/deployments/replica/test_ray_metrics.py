"""Whatever a replica counts has a metric of Ray's."""

import re

from configs.settings import PROJECT_DIR
from deployments.replica.ray_metrics import FAMILIES
from deployments.replica.user_counts import NAMES, user_counts


def test_every_count_in_the_code_has_a_family() -> None:
    """Regression: a count without one ended every report of its replica, to the store too, from its first on."""
    sources = [path.read_text() for path in (PROJECT_DIR / "deployments").rglob("*.py")]
    counted = {name for text in sources for name in re.findall(r'counts\[f?"([a-z_]+)', text)}
    assert {"requests", "exposures_lost", "version_mismatches", "cache_hits"} <= counted
    assert counted - FAMILIES.keys() == set()


def test_counts_of_the_guard_have_a_family() -> None:
    assert "guarded" in FAMILIES
    assert user_counts({f"guarded:{name}": number for number, name in enumerate(NAMES)}) == {
        name: number for number, name in enumerate(NAMES)
    }
