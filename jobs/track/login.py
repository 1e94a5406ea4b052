"""MLflow's server behind a login with one user. Health answers anybody, as the supervisor asks for it."""

import hmac
from base64 import b64encode

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import load_settings
from configs.tracking_login import FILE, USER, password

OPEN = ("/health",)


class Login:
    """Lets a request through to `app` that brings user and password (HTTP Basic). An ASGI application.

    The password is random and long, so it is compared as it is: there is nothing to guess, and a slow hash for each
    request would only cost time.
    """

    def __init__(self, app: ASGIApp, user: str, secret: str) -> None:
        self._app = app
        self._expected = b64encode(f"{user}:{secret}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] != "http" or scope["path"] in OPEN or self._known(scope):
            await self._app(scope, receive, send)
        else:
            answer = PlainTextResponse(
                f"This MLflow asks for a login: {USER}, and the password in {FILE} of the state folder.\n",
                401,
                {"www-authenticate": 'Basic realm="MLflow of Raycommend", charset="UTF-8"'},
            )
            await answer(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization":
                kind, _, text = value.partition(b" ")
                return kind.lower() == b"basic" and hmac.compare_digest(text.strip(), self._expected)
        return False


def create_app() -> ASGIApp:
    """MLflow's application behind the login. Raises `RuntimeError` without a password."""
    secret = password(load_settings().state_dir)
    if secret is None:
        raise RuntimeError(f"there is no {FILE} in the state folder")
    from mlflow.server.fastapi_app import app

    return Login(app, USER, secret)
