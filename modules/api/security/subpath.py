"""Serves the app below a path of a reverse proxy, with `--subpath`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Subpath:
    """ASGI middleware that strips the prefix from a path, whether or not the proxy has stripped it already.

    Args:
        app: The app to serve.
        prefix: With a leading and no trailing slash, such as "/sd".
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under the path that the routes have."""
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            rest = path.removeprefix(self._prefix)
            if rest != path and (rest == "" or rest.startswith("/")):
                scope = {**scope, "path": rest or "/", "raw_path": (rest or "/").encode()}
            scope = {**scope, "root_path": self._prefix}
        await self._app(scope, receive, send)
