"""Headers of every response that restrict in browsers what other sites may do with it, as OWASP's cheat sheets ask."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",  # for browsers that do not know frame-ancestors
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_POLICY = "frame-ancestors 'self'"
_NOT_CACHED = ("/sdapi/", "/controlnet/", "/api/", "/internal/")
_COOKIE_ATTRIBUTES = ("HttpOnly", "SameSite=Lax")


class SecurityHeaders:
    """ASGI middleware that adds the headers to every response, and the attributes to every cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                policies = headers.getlist("content-security-policy")
                if not any("frame-ancestors" in policy for policy in policies):
                    headers.append("content-security-policy", _POLICY)  # every policy must be met
                if scope["path"].startswith(_NOT_CACHED):
                    headers.setdefault("cache-control", "no-store")
                _protect_cookies(headers, is_https=scope.get("scheme") == "https")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _protect_cookies(headers: MutableHeaders, *, is_https: bool) -> None:
    cookies = headers.getlist("set-cookie")
    if not cookies:
        return
    del headers["set-cookie"]
    attributes = (*_COOKIE_ATTRIBUTES, *(["Secure"] if is_https else []))
    for cookie in cookies:
        names = {part.partition("=")[0].strip().lower() for part in cookie.split(";")[1:]}
        missing = [item for item in attributes if item.partition("=")[0].lower() not in names]
        headers.append("set-cookie", "; ".join([cookie, *missing]))
