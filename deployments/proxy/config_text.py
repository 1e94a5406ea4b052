"""HAProxy's configuration as Ray writes it, made fit to face clients.

Ray's has no deadline for a request, waits for a client for an hour, holds 4,096 connections whoever has them, answers
in three forms, and hands replicas all that comes. What is changed here:

- Deadlines for head and body, and bounds for connections: of all, of one source, of large bodies.
- Each replica gets a bounded number of requests; few more wait for a short time. The rest is turned away here.
- All answers that are made on the way have the one JSON form, and what passes by itself is 503 with Retry-After.
- No WebSocket, and no other protocol by `Upgrade`: there is none behind.
- Health answers on the port of HAProxy's metrics as well, where no client of the API takes connections away.
- Statistics and metrics listen where the API listens, and not on all addresses.
- No connection is closed without an answer: HAProxy would do so with one that is kept alive when the replica dies that
  has its request and there is no other, and when it stops while a request is on its way.
"""

import json
import re
from pathlib import Path

from configs.groups.proxy import Proxy

RESERVED = 200
"""Connections beyond those of clients, for health, metrics, statistics and the admin socket."""
PIPES = 50
"""For splicing long answers. HAProxy would keep open files for half as many as there are connections."""
SOURCES = 20_000
"""Addresses of which connections are counted at once; some 150 bytes each."""
LARGE_BYTES = 14_000
"""With a longer body, HAProxy's buffer of 16 KB may not hold the whole request."""
RETRY_S = 1
"""How long a request that finds the queue full is held before its 503: a client that tries again at once, and there
are many, then costs one answer in this time. Also what Retry-After says."""
RETRIES = 5
"""Tries of a request after the first, the last of which must find a server. More would hand a request that kills
replicas to more of them."""
REFUSES_ONCE = "observe layer4 error-limit 1 on-error mark-down"
"""Of a server: with the first connection that it refuses it is down, until its health is well twice, within a second.
Else a request's tries could all go to servers that have died together, as when Ray ends."""
_LARGE = f"{{ req.hdr_val(content-length) gt {LARGE_BYTES} }} or {{ req.hdr(transfer-encoding) -m found }}"
HEADERS = 100
"""Of one request; the next one is refused here, in the one form. HAProxy's own refusal is HTML."""
HEADERS_IN_A_BUFFER = 2000
"""HAProxy reads so many before it refuses a head by itself; some 1,500 fill its buffer of 16 KB before that."""
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
HEALTH = ("/health", "/health/live", "/health/ready")

UNAVAILABLE = "unavailable"
"""Name of the server, and of the frontend behind it, that answers 503 where no other server is left."""
_SOCKET = r"(?m)^(\s*stats socket )(\S+)"

Section = list[str]


class TemplateError(ValueError):
    """Ray's configuration is not of the form that is known here; the message says what was looked for."""


def rewritten(text: str, limits: Proxy) -> str:
    """The configuration with the limits and the answers of this system.

    Args:
        text: as Ray's template gives it.

    Raises:
        TemplateError: the text lacks what is to be changed.
    """
    sections = _sections(text)
    api = _only(sections, "frontend http_frontend")
    host, _ = _bind(api)
    applications = [
        section
        for section in sections
        if re.match(r"backend (?!default_backend\b)", section[0])
        and any(re.match(r"server ", line) and " proto h2" not in line for line in section)
    ]
    whole = _only(sections, "global")
    _replace(whole, r"maxconn ", [f"maxconn {limits.connections + RESERVED}", f"maxpipes {PIPES}"])
    # Whoever may write to the admin socket can take servers away.
    whole[:] = [line.replace(" mode 666 ", " mode 600 ") for line in whole]
    # While it stops, HAProxy says on each connection with the next answer that it closes it. A time to spread that over
    # makes it close those without a request, too, on which one may just be on its way.
    whole[:] = [line for line in whole if not line.startswith("close-spread-time ")]
    whole.append(f"tune.http.maxhdr {HEADERS_IN_A_BUFFER}")
    _defaults(_only(sections, "defaults"), limits)
    _api(api, limits)
    _operators(_only(sections, "frontend prometheus"), host, _root(api))
    _, port = _bind(_only(sections, "listen stats"))
    _replace(_only(sections, "listen stats"), r"bind ", [f"bind {host}:{port}"])
    missing = "the application is not there yet, or not any more; try again"
    _replace(
        _only(sections, "backend default_backend"),
        r"http-request return status 404 ",
        [
            f"http-request return {_answer(400, 'bad_request', 'an address begins with a slash; see /docs')} "
            "unless { path_beg / }",
            f"http-request return {_answer(503, 'not_ready', missing)}",
        ],
    )
    # No longer than the path of the admin socket: the system allows some hundred characters.
    socket = f"unix@{Path(_admin_socket(text)).with_name(UNAVAILABLE[0])}"
    for section in applications:
        _servers_up(api, section)
        _application(section, limits)
        # Where all others are down. Without it HAProxy has nobody to send a request to whose replica has died, and then
        # it closes the client's connection without a word, if it was kept alive and the replica's too.
        section.append(f"server {UNAVAILABLE} {socket} backup no-check")
    sections.append(
        [
            f"frontend {UNAVAILABLE}",
            f"bind {socket} mode 600",
            f"maxconn {limits.connections}",
            "no log",
            "no option http-buffer-request",
            f"http-request return {_answer(503, *ERRORS[503])}",
        ]
    )
    return "\n".join("\n    ".join(section) for section in sections) + "\n"


def with_socket(text: str, path: str) -> tuple[str, str]:
    """The configuration with another admin socket, and the path of the one that it had. Raises `TemplateError`."""
    before = _admin_socket(text)
    return re.sub(_SOCKET, lambda match: match[1] + path, text, count=1), before


def frontends(text: str) -> list[str]:
    """Names of the sections where HAProxy listens to others than itself."""
    return [name for name in re.findall(r"(?m)^(?:frontend|listen) (\S+)", text) if name != UNAVAILABLE]


def _admin_socket(text: str) -> str:
    found = re.search(_SOCKET, text)
    if found is None:
        raise TemplateError("no `stats socket` line")
    return found[2]


def _sections(text: str) -> list[Section]:
    """Each section as its lines, its name first, without comments, empty lines and indentation."""
    sections: list[Section] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if re.match(r"(global|defaults|frontend|backend|listen)\b", line) and not line.startswith("backend_"):
            sections.append([])
        if not sections:
            raise TemplateError(f"the text begins with {line!r}, not with a section")
        sections[-1].append(line)
    return sections


def _only(sections: list[Section], name: str) -> Section:
    found = [section for section in sections if section[0] == name]
    if len(found) != 1:
        raise TemplateError(f"{len(found)} sections `{name}`")
    return found[0]


def _replace(section: Section, pattern: str, lines: list[str]) -> None:
    found = [number for number, line in enumerate(section) if re.match(pattern, line)]
    if len(found) != 1:
        raise TemplateError(f"{len(found)} lines `{pattern.strip()}` in `{section[0]}`")
    section[found[0] : found[0] + 1] = lines


def _bind(section: Section) -> tuple[str, str]:
    """Host and port of a section's one `bind` line."""
    found = [match for line in section if (match := re.match(r"bind (\S*):(\d+)$", line))]
    if len(found) != 1:
        raise TemplateError(f"{len(found)} plain `bind` lines in `{section[0]}`")
    return found[0][1], found[0][2]


def _servers_up(api: Section, application: Section) -> None:
    """Let Ray's health answer go by the servers that Ray knows: `UNAVAILABLE` is always up."""
    name = application[0].removeprefix("backend ")
    servers = [line.split()[1] for line in application if line.startswith("server ")]
    _replace(
        api,
        rf"acl \S+ nbsrv\({re.escape(name)}\) ge 1$",
        [f"acl backend_{name}_server_up srv_is_up({name}/{server})" for server in servers],
    )


def _root(api: Section) -> str | None:
    """Name of the backend that has the route `/`, the console's; None while there is none."""
    return next((match[1] for line in api if (match := re.match(r"acl is_(\S+) path /$", line))), None)


def _defaults(section: Section, limits: Proxy) -> None:
    ours = r"(errorfile |retries |timeout (client|server|http-request|queue|tarpit) )"
    section[:] = [line for line in section if not re.match(ours, line)]
    section += [
        f"retries {RETRIES}",
        f"timeout http-request {_ms(limits.request_s)}",
        f"timeout client {_ms(limits.idle_s)}",
        f"timeout server {_ms(limits.answer_s)}",
        f"timeout queue {_ms(limits.queue_s)}",
        f"timeout tarpit {_ms(RETRY_S)}",
        *(f"http-error {_answer(status, code, message)}" for status, (code, message) in ERRORS.items()),
    ]


def _api(section: Section, limits: Proxy) -> None:
    _replace(
        section,
        r"bind ",
        [
            "bind {}:{}".format(*_bind(section)),
            f"maxconn {limits.connections}",
            # Who asks, for the audit log: replicas see the proxy alone. It goes behind what a client may have sent.
            "option forwardfor",
            # Otherwise one connection could hold a hundred requests.
            "option disable-h2-upgrade",
            f"stick-table type ipv6 size {SOURCES} expire 1m store conn_cur",
            "tcp-request connection track-sc0 src,ipmask(32,64)",
            f"tcp-request connection reject if {{ sc0_conn_cur gt {limits.connections_per_source} }}",
            # An answer that comes before a large body was read ends the connection, and must say so: else a client
            # would send its next request on it, and lose that.
            f"http-request set-var(txn.large) bool(true) if {_LARGE}",
            "http-after-response set-header connection close if { var(txn.large) -m bool } { status ge 400 }",
            f"http-request return {_answer(400, 'bad_request', f'more than {HEADERS} headers')} "
            f"if {{ req.hdr_cnt gt {HEADERS} }}",
            # Replicas cannot read methods of other names, and CONNECT asks for a tunnel.
            f"http-request return {_answer(405, *ERRORS[405], 'hdr Allow ' + ','.join(METHODS) + ' ')} "
            f"unless {{ method {' '.join(METHODS)} }}",
            # Ray's list of applications and their paths, under any name of the host, is nobody's business.
            f"http-request return {_answer(404, 'not_found', 'there is nothing here; see /docs')} "
            "if { path -i /-/routes }",
            *_no_upgrade(),
        ],
    )
    starting = f"http-request return {_answer(503, 'not_ready', 'no application is ready; try again')}"
    plain = r'http-request return status 503 content-type text/plain string "[^"]*"'
    section[:] = [re.sub(plain, lambda _: starting, line) for line in section]


def _no_upgrade() -> list[str]:
    refused = _answer(404, "not_found", "there is no WebSocket here; see /docs", "hdr Connection close ")
    # A server may pass over any other offer to upgrade, such as curl's of HTTP/2, and answer as if there were none.
    return [
        f"http-request return {refused} if {{ req.hdr(upgrade) -m sub -i websocket }}",
        "http-request del-header upgrade",
    ]


def _operators(section: Section, host: str, root: str | None) -> None:
    _, port = _bind(section)
    health = f"{{ path {' '.join(HEALTH)} }}"
    nothing = _answer(404, "not_found", "on this port are only /metrics and /health")
    _replace(
        section,
        r"bind ",
        [
            f"bind {host}:{port}",
            f"maxconn {RESERVED // 2}",
            f"http-request return {nothing} unless {{ path /metrics }} or {health}",
            *_no_upgrade(),
        ],
    )
    if root is not None:
        section.append(f"use_backend {root} if {health}")
    section.append("default_backend default_backend")


def _application(section: Section, limits: Proxy) -> None:
    many = "more large bodies are on their way than is good; try again"
    full = "more requests wait than can be answered in time; try again"
    again = "the application starts or ends; try again"
    section += [
        # The count of a table is the only one that follows requests with a certain property.
        "stick-table type integer size 10 expire 1m store conn_cur",
        f"http-request track-sc1 int(1) if {_LARGE}",
        f"http-request return {_answer(503, 'overloaded', many)} if {{ sc1_conn_cur gt {limits.large_bodies} }}",
        f"http-request tarpit deny_{_answer(503, 'overloaded', full)} if {{ queue ge {limits.queue} }}",
        # Errors in plain text are Serve's own. Its 404 comes from a replica or a proxy of Ray's that has lost its
        # routes, or has none yet; what does not exist, the applications say themselves, in JSON.
        "http-response allow if { status lt 400 } or !{ res.hdr(content-type) -m beg text/plain }",
        f"http-response return {_answer(503, 'not_ready', again)} if {{ status 404 }}",
        *(
            f"http-response return {_answer(status, *ERRORS[status])} if {{ status {status} }}"
            for status in (400, 408, 500, 503, 504)
        ),
    ]
    section[:] = [
        f"{line} maxconn {limits.in_flight} {REFUSES_ONCE}"
        if line.startswith("server ") and " maxconn " not in line
        else line
        for line in section
    ]


ERRORS = {
    400: ("bad_request", "this is no HTTP request that can be read, or its head is above 15 KB"),
    403: ("forbidden", "the proxy does not let this pass"),
    405: ("method_not_allowed", "this method is not allowed here"),
    408: ("request_timeout", "the request was not complete in time"),
    413: ("body_too_large", "the body is too large"),
    429: ("rate_limited", "too many requests; try again later"),
    500: ("internal_error", "an unexpected error; the log of the replica has it"),
    501: ("not_implemented", "the proxy does not know how to pass this on"),
    502: ("bad_gateway", "the application gave no answer that can be passed on; try again"),
    503: ("unavailable", "no replica can take the request now; try again"),
    504: ("deadline_exceeded", "the application did not answer in time"),
}
_TEMPORARY = {408, 429, 502, 503, 504}


def _answer(status: int, code: str, message: str, headers: str = "") -> str:
    """The part of a rule that says what is answered. The message may not hold an apostrophe."""
    if status in _TEMPORARY:
        headers += f"hdr Retry-After {RETRY_S} "
    headers += "hdr Cache-Control no-store hdr X-Content-Type-Options nosniff "
    content = json.dumps({"error": {"code": code, "message": message}})
    return f"status {status} content-type application/json {headers}string '{content}'"


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
