"""Who may ask where nobody is asked for a key: this machine alone."""

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

from deployments.http.errors import ApiError
from deployments.http.unread_bodies import is_buffered

MOST_HOSTS = 100
_WITH_CARE = frozenset((b"origin", b"sec-fetch-site", b"transfer-encoding"))


class Keyless:
    """Tells whether a request comes from this machine, and from no page of another site.

    A page of another site, which a browser on this machine may show, is refused all changes: browsers say in
    `Sec-Fetch-Site` and `Origin` where a request comes from, and pages cannot forge that. And a request must name this
    machine in its Host: a page whose own name was made to point here (DNS rebinding) counts as this site, and could
    read all.

    Args:
        hosts: other names by which this machine may be asked, as behind a reverse proxy.
        origins: whose pages may ask all the same (`security.cors_origins`).
    """

    def __init__(self, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        self._others = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.encode() for origin in origins)
        self._good: set[bytes] = set()  # hosts that were looked at and name this machine

    def passes_at_once(self, scope: Scope) -> bool:
        """Whether `check` lets a request through for certain: it names this machine as others did before, no browser
        sent it, and its body is there."""
        for name, value in scope["headers"]:
            if name == b"host":
                if value not in self._good:
                    return False
            elif name in _WITH_CARE or (name == b"content-length" and not is_buffered(value)):
                return False
        return True

    def check(self, scope: Scope) -> None:
        """Raises ApiError 403."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if not all(map(self._names_this_machine, hosts)):  # Browsers always send one.
            message = "this server is asked for as localhost; security.hosts may allow more names"
            raise ApiError(403, "unknown_host", message)
        if scope["method"] not in ("GET", "HEAD") and self._from_elsewhere(scope, hosts):
            raise ApiError(403, "cross_site", "a page of another site may not change anything here")

    def _from_elsewhere(self, scope: Scope, hosts: Sequence[bytes]) -> bool:
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if origins and all(origin in self._origins for origin in origins):
            return False
        for name, value in scope["headers"]:
            if name == b"sec-fetch-site" and value.lower() in (b"cross-site", b"same-site"):
                return True
        here = [host.lower() for host in hosts]
        for origin in origins:
            # Another port of this machine is another site too. "null" is what a page of no address sends.
            place = origin.rpartition(b"//")[2].lower()
            if place not in here and _name_in(place) not in self._others:
                return True
        return False

    def _names_this_machine(self, host: bytes) -> bool:
        if host in self._good:
            return True
        name = _name_in(host)
        good = name == "localhost" or name in self._others or _is_loopback(name)
        if good and len(self._good) < MOST_HOSTS:
            self._good.add(host)
        return good


def _name_in(host: bytes) -> str:
    name = host.decode("latin-1").lower()
    return name[1 : name.find("]")] if name.startswith("[") else name.partition(":")[0]


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
