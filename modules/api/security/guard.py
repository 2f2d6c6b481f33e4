"""Access control of every route, the page's included: host, origin, password, body size."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import math
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from modules.api.security.body_limit import BodyLimit
from modules.api.security.cors import SAME_ORIGIN_ONLY, Origins
from modules.api.security.gradio_ssrf import GradioSsrfGuard
from modules.api.security.headers import SecurityHeaders
from modules.api.security.json_body import JsonBodies
from modules.api.security.throttle import Throttle
from modules.core.credentials import Credential

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Slows down password guessing without blocking a thread.
WRONG_PASSWORD_DELAY_S = 0.5
_TOO_MANY = "Too many wrong passwords; try again in {} s."
_CHALLENGE = {"www-authenticate": 'Basic realm="Stable Diffusion WebUI", charset="UTF-8"'}


def add_guards(
    app: ASGIApp,
    credentials: Sequence[Credential] = (),
    api_credentials: Sequence[Credential] = (),
    hosts: Iterable[str] | None = LOOPBACK_NAMES,
    origins: Origins = SAME_ORIGIN_ONLY,
    wrong_password_delay_s: float = WRONG_PASSWORD_DELAY_S,
) -> ASGIApp:
    """Return the app wrapped in all checks; a refused request is answered with 401, 403, 408, 413, 429 or 503.

    Args:
        app: The app to protect.
        credentials: Accepted for all paths; empty when no password is needed.
        api_credentials: Also accepted for paths below /sdapi and /api.
        hosts: Accepted host names; None allows any name. On loopback this stops a foreign web page from reaching
            the server under a name of its own (DNS rebinding).
        origins: Foreign origins that are allowed.
        wrong_password_delay_s: How long the answer to a wrong password takes; many make a client wait longer.
    """
    limited = BodyLimit(GradioSsrfGuard(JsonBodies(app)))
    app = PasswordGuard(limited, credentials, api_credentials, wrong_password_delay_s)
    # A browser sends its preflight request without a password, so CORS wraps the password check.
    return SecurityHeaders(OriginGuard(origins.with_cors(app), hosts, origins))


class OriginGuard:
    """ASGI middleware that answers 403 to an unknown host name and to a foreign origin.

    starlette's TrustedHostMiddleware is not used: it answers "Invalid host header" without naming the host and the fix.

    Args:
        app: The app to protect.
        hosts: Accepted host names; None allows any name.
        origins: Foreign origins that are allowed; their host names are, too.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None, origins: Origins) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(hosts) | origins.host_names()
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            refusal = self._refusal(headers.get("host", ""), headers.get("origin"))
            if refusal:
                await _refuse(scope, receive, send, 403, refusal)
                return
        await self._app(scope, receive, send)

    def _refusal(self, host: str, origin: str | None) -> str:
        if self._hosts is not None and _netloc_and_host(f"//{host}")[1] not in self._hosts:
            return (
                f"This server does not answer to the name '{host}'; use 127.0.0.1 or --server-name."
            )
        if origin is None or _netloc_and_host(origin)[0] == host or self._origins.allows(origin):
            return ""
        return f"A page from '{origin}' may not call this server."


class PasswordGuard:
    """ASGI middleware for HTTP basic authentication.

    Args:
        app: The app to protect.
        credentials: Accepted for all paths; empty when no password is needed.
        api_credentials: Also accepted for paths below /sdapi and /api.
        wrong_password_delay_s: How long the answer to a wrong password takes.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Sequence[Credential],
        api_credentials: Sequence[Credential],
        wrong_password_delay_s: float,
    ) -> None:
        self._app = app
        self._credentials = tuple(credentials)
        self._api_credentials = tuple(api_credentials)
        self._wrong_password_delay_s = wrong_password_delay_s
        self._throttle = Throttle(wrong_password_delay_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        authorization = Headers(scope=scope).get("authorization", "")
        client = (scope.get("client") or ("",))[0]
        wait_s = (
            self._throttle.wait_s(client)
            if authorization and self._credentials_for(scope["path"])
            else 0
        )
        if (
            wait_s
        ):  # a right password must wait, too: an immediate answer would reveal that it is right
            await _refuse(scope, receive, send, 429, _TOO_MANY.format(math.ceil(wait_s)), wait_s)
            return
        if self._is_allowed(scope["path"], authorization):
            await self._app(scope, receive, send)
            return
        if authorization:
            self._throttle.add_failure(client)
            await asyncio.sleep(self._wrong_password_delay_s)
        await _refuse(scope, receive, send, 401, "A user name and a password are needed.")

    def _credentials_for(self, path: str) -> tuple[Credential, ...]:
        is_api = path.startswith(("/sdapi/", "/controlnet/", "/api/"))
        return self._credentials + (self._api_credentials if is_api else ())

    def _is_allowed(self, path: str, authorization: str) -> bool:
        accepted = self._credentials_for(path)
        if not accepted:
            return True
        received = _decode_basic(authorization)
        # Every credential is compared, so that the time taken reveals nothing.
        pairs = [f"{credential.user}:{credential.password}".encode() for credential in accepted]
        return sum(hmac.compare_digest(received, pair) for pair in pairs) > 0


def _netloc_and_host(url: str) -> tuple[str, str]:
    """Return netloc and host name; both empty when the URL is malformed."""
    try:
        split = urlsplit(url)
        return split.netloc, split.hostname or ""
    except ValueError:
        return "", ""


def _decode_basic(authorization: str) -> bytes:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, wait_s: float = 0
) -> None:
    if scope["type"] == "websocket":
        await WebSocketClose(1008, sentence[:100])(scope, receive, send)
        return
    headers = dict(_CHALLENGE) if status == 401 else {}
    if wait_s:
        headers["retry-after"] = str(math.ceil(wait_s))
    await PlainTextResponse(sentence, status, headers)(scope, receive, send)
