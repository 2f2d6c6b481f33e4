"""Serving below a path of a reverse proxy, with `--subpath`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Subpath:
    """ASGI middleware that takes the prefix off an address, whether or not the proxy has left it on.

    Args:
        app: What is served.
        prefix: With a slash before it and none behind, such as "/sd".
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on under the address that the routes know."""
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            rest = path.removeprefix(self._prefix)
            if rest != path and (rest == "" or rest.startswith("/")):
                scope = {**scope, "path": rest or "/", "raw_path": (rest or "/").encode()}
            scope = {**scope, "root_path": self._prefix}
        await self._app(scope, receive, send)
