"""Serves the files of the page: compressed, and cached by the browser where new content has a new address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from fastapi import APIRouter, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api.image_files import CACHE_FOREVER
from modules.core.errors import NotFound

# Not by the system's tables, which may name a script's type as one that browsers refuse to run.
_MEDIA_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_LEVEL = 5  # a level of 9 takes three times as long for 1 % less
# Their answers are images in base64 for programs on this machine: compressing costs more than it saves.
_NOT_COMPRESSED = ("/sdapi/", "/controlnet/", "/api/")


def page_files_router(path: str, files: Mapping[str, bytes]) -> APIRouter:
    """Return the route of the page's files; a browser never asks for one again.

    Args:
        path: Where they are on the server; it changes with their content.
        files: By their path below it.
    """
    router = APIRouter(include_in_schema=False)

    @router.get(f"{path}/{{name:path}}")
    def page_file(name: str) -> Response:
        if name not in files:
            raise NotFound(f"The page has no file {name!r}.", "Reload the page.")
        return Response(files[name], media_type=media_type_of(name), headers=CACHE_FOREVER)

    return router


def media_type_of(name: str) -> str:
    """Return the media type of a file of the page."""
    return _MEDIA_TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")


class PageCompression:
    """ASGI middleware that compresses what the page loads; images and event streams go as they are.

    Args:
        app: The app whose responses are compressed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        is_plain = scope["type"] != "http" or scope["path"].startswith(_NOT_COMPRESSED)
        await (self._plain if is_plain else self._compressed)(scope, receive, send)
