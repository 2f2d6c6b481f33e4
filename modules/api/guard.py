"""The one door: password, host and origin are checked here for every route, the page's included."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from modules.api.asgi import App, Receive, Scope, Send, header_of
from modules.api.body_limit import BodyLimit
from modules.api.origins import NOBODY_ELSE, Origins
from modules.api.page_gate import PageGate
from modules.core.flags import Credential

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Slows the guessing of passwords without holding a thread.
_WRONG_PASSWORD_DELAY_S = 0.5


class Guard:
    """ASGI middleware that lets a call through or answers 401, 403 or 413.

    Args:
        app: What is guarded.
        credentials: Who may use everything; empty when no password is needed.
        api_credentials: Who may use paths below /sdapi and /api.
        hosts: Names by which the server may be called; None when any name will do. On loopback this
            stops a web page elsewhere from reaching the server under a name of its own (DNS rebinding).
        origins: Web pages of other hosts that may call all the same.
    """

    def __init__(
        self,
        app: App,
        credentials: Sequence[Credential] = (),
        api_credentials: Sequence[Credential] = (),
        hosts: Iterable[str] | None = LOOPBACK_NAMES,
        origins: Origins = NOBODY_ELSE,
    ) -> None:
        self._app = BodyLimit(PageGate(app))
        self._credentials = tuple(credentials)
        self._api_credentials = tuple(api_credentials)
        self._hosts = None if hosts is None else frozenset(hosts) | origins.names()
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one call and pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host, origin = header_of(scope, "host"), header_of(scope, "origin")
        refusal = self._place_refusal(host, origin if _has_origin(scope) else None)
        if refusal:
            await _refuse(scope, send, 403, refusal)
            return
        if origin and _parts(origin)[0] != host and scope["type"] == "http":
            # A browser asks beforehand without a password, and reads only answers that name its page.
            if _is_preflight(scope):
                asked = header_of(scope, "access-control-request-headers")
                await self._origins.answer_preflight(origin, asked, send)
                return
            send = self._origins.letting(origin, send)
        given = header_of(scope, "authorization")
        if not self._may_enter(scope["path"], given):
            if given:
                await asyncio.sleep(_WRONG_PASSWORD_DELAY_S)
            await _refuse(scope, send, 401, "A user name and a password are needed.")
        else:
            await self._app(scope, receive, _unsniffed(send))

    def _place_refusal(self, host: str, origin: str | None) -> str:
        if self._hosts is not None and _parts(f"//{host}")[1] not in self._hosts:
            return (
                f"This server does not answer to the name '{host}'; use 127.0.0.1 or --server-name."
            )
        if origin is None or _parts(origin)[0] == host:
            return ""
        if not self._origins.allows(origin):
            return f"A page from '{origin}' may not call this server."
        return ""

    def _may_enter(self, path: str, authorization: str) -> bool:
        wanted = self._credentials
        if path.startswith(("/sdapi/", "/api/")):
            wanted += self._api_credentials
        if not wanted:
            return True
        given = _basic(authorization)
        # Every pair is compared, so that the time taken tells nothing.
        pairs = [f"{one.user}:{one.password}".encode() for one in wanted]
        return sum(hmac.compare_digest(given, pair) for pair in pairs) > 0


def _unsniffed(send: Send) -> Send:
    """Return a `send` that tells browsers to take an answer for what it says it is."""

    async def with_header(message: Scope) -> None:
        if message["type"] == "http.response.start":
            header = (b"x-content-type-options", b"nosniff")
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return with_header


def _has_origin(scope: Scope) -> bool:
    return any(name.lower() == b"origin" for name, _ in scope["headers"])


def _is_preflight(scope: Scope) -> bool:
    asks = header_of(scope, "access-control-request-method")
    return scope["method"] == "OPTIONS" and asks != ""


def _parts(url: str) -> tuple[str, str]:
    """Return name and port as written, and the name alone; both empty when the address is malformed."""
    try:
        split = urlsplit(url)
        return split.netloc, split.hostname or ""
    except ValueError:
        return "", ""


def _basic(authorization: str) -> bytes:
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return b""


async def _refuse(scope: Scope, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:100]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append(
            (b"www-authenticate", b'Basic realm="Stable Diffusion WebUI", charset="UTF-8"')
        )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})
