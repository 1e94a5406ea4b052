"""The part of requirements.lock that runs in production: `python runtime_lock.py pyproject.toml requirements.lock`.

The lock holds what tests need as well. Each of its entries says `# via` which packages want it, so what the project's
dependencies and the extra `cluster` want, however far away, can be told from what only tests want. Prints the entries
with their hashes, as pip reads them. Standard library only.
"""

import re
import sys
import tomllib
from pathlib import Path

EXTRA = "cluster"


def name_of(requirement: str) -> str:
    """The name of a package as the lock writes it.

    >>> name_of("ray[serve,tune]==2.60.0")
    'ray'
    """
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def entries(lock: str) -> dict[str, str]:
    """Package -> its lines in the lock, hashes and comments included."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            current = found.setdefault(name_of(line), [])
        if not line.startswith("#"):
            current.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def wanted_by(entry: str) -> set[str]:
    """The packages that an entry's `# via` names."""
    _, _, comment = entry.partition("# via")
    return {name_of(word) for line in comment.splitlines() if (word := line.strip().lstrip("# "))}


def runtime(project: str, lock: str) -> dict[str, str]:
    """Package -> its lines, for all that production needs. Raises KeyError naming a dependency that the lock lacks."""
    table = tomllib.loads(project)["project"]
    roots = [name_of(one) for one in (*table["dependencies"], *table["optional-dependencies"][EXTRA])]
    known = entries(lock)
    children: dict[str, set[str]] = {}
    for name, entry in known.items():
        for parent in wanted_by(entry):
            children.setdefault(parent, set()).add(name)
    found: set[str] = set()
    waiting = roots
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += children.get(name, ())
    return {name: known[name] for name in sorted(found)}


if __name__ == "__main__":
    print("\n".join(runtime(*(Path(name).read_text() for name in sys.argv[1:3])).values()))
