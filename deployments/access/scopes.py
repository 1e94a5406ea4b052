"""Which scopes open which request. docs/security.md shows the same as a table, route by route; a test compares."""

from functools import lru_cache

SCOPES = ("recommend", "events", "read", "admin")
Need = tuple[str, ...] | None
"""The scopes any of which opens a request; None: anybody may."""
ADMIN: Need = ("admin",)
WHOAMI = "/api/v1/console/key"
_PUBLIC = frozenset(("/", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json"))
_PUBLIC_FILES = ("/console/", "/static/docs/")
_CATALOGUE = ("/api/v1/catalogue", "/api/v1/items", "/api/v1/trending", "/api/v1/categories")
_READ = (
    *("/metrics", "/api/v1/metrics", "/api/v1/console/snapshot", "/api/v1/data", "/api/v1/models", "/api/v1/mlops"),
    *("/api/v1/experiments", "/api/v1/events"),
)
_DONE_BY_USERS = ("/api/v1/users", "/api/v1/data/events")


@lru_cache(4096)
def needed_scope(method: str, path: str) -> Need:
    """The scopes any of which opens a request; `admin` opens all. What is not named here is for admins alone."""
    if path.endswith("/"):  # behind the gate `/x/` may be taken for `/x`
        path = path.rstrip("/") or "/"
    if path == WHOAMI:
        return None
    if method == "POST" and _within(path, "/api/v1/recommend"):
        return ("recommend",)
    if method == "POST" and _within(path, "/api/v1/events"):
        return ("events",)
    if method not in ("GET", "HEAD"):
        return ADMIN
    # Pages and health need no key: all else that they show, they ask the API for.
    if path in _PUBLIC or f"{path}/".startswith(_PUBLIC_FILES):
        return None
    if any(_within(path, part) for part in _CATALOGUE):
        return ("recommend", "read")
    # What users did is for admins: a key that only watches must not carry it away.
    if any(_within(path, part) for part in _DONE_BY_USERS):
        return ADMIN
    if _within(path, "/api/v1/experiments") and path.endswith("/users"):
        return ADMIN
    if any(_within(path, part) for part in _READ):
        return ("read",)
    return ADMIN


def _within(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}/")
