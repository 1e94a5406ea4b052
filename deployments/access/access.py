"""Access as a replica holds it: made once, follows the keys, and puts the gate in front of an application."""

from starlette.types import ASGIApp

from configs.settings import Settings
from deployments.access.access_gate import AccessGate, Refused
from deployments.access.audit_trail import AuditTrail
from deployments.access.browser import BrowserHeaders, open_to
from deployments.access.keyless import Keyless
from deployments.access.known_keys import KnownKeys
from deployments.access.limits import COUNT_S, counter
from deployments.access.tokens import Tokens
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.redis.layout import keys_of


class Access:
    """Who may call a replica's application.

    Args:
        client, keys: the store in which the keys are followed.
    """

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        wait_s = min(settings.store.timeout_s, COUNT_S)
        self._counting = connect(settings.store.model_copy(update={"timeout_s": wait_s}), settings.store_url)
        count = counter(self._counting, keys_of(settings.store), settings.serving.max_in_flight)
        security = settings.security
        self.known = KnownKeys(security, count, settings.state_dir)
        self._tokens = None if security.jwt is None else Tokens(security.jwt, count)

    async def follow(self) -> None:
        """Take over the keys of the store. Raises `StoreError`."""
        await self.known.follow(self._client, self._keys)

    def guarded(self, app: ASGIApp, *on_refused: Refused, console: bool = False) -> ASGIApp:
        """The gate in front of `app`.

        Args:
            on_refused: counts what is turned away.
            console: whether it is the console's application: what admins do there and what is refused goes to the audit
                log, and browsers show its answers.
        """
        security = self._settings.security
        keyless = Keyless(security.hosts, security.cors_origins)
        audit = AuditTrail(self._counting, self._keys) if console else None
        gate = AccessGate(app, self.known, keyless, self._tokens, audit, *on_refused)
        return open_to(BrowserHeaders(gate) if console else gate, security.cors_origins)

    async def aclose(self) -> None:
        await self._counting.aclose()
