"""Requests that a replica sends."""

import ssl
from functools import cache

import httpx


def client(timeout_s: float, environment: bool = False) -> httpx.AsyncClient:
    """A client for one exchange, or a few in a row.

    Args:
        timeout_s: seconds for each step: to connect, to send, to read.
        environment: whether a proxy and certificates that the environment names are used. Only for addresses outside:
            a proxy must not stand between the parts of one stack.

    httpx alone reads all the certificate authorities for each client, which holds the event loop for 50 ms.
    """
    return httpx.AsyncClient(timeout=timeout_s, trust_env=environment, verify=_authorities(environment))


@cache
def _authorities(environment: bool) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=environment)
