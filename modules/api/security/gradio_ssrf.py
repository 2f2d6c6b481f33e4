"""Keeps the page's own server from fetching what a crafted call names.

Gradio downloads a file whose path in a call is a web address, and hands on what lies at an address behind `file=`.
The page needs neither: its files are uploads and finished pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OURS = ("/sdapi/", "/api/", "/internal/")
_SERVING = ("file=", "proxy=")
_UPLOAD = "/upload"
# A call holds prompts and strokes; pictures are uploaded.
LARGEST_CALL_BYTES = 64 * 2**20


class GradioSsrfGuard:
    """ASGI middleware that answers 403 to a call of the page that names a web address as a file."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at one call and pass it on."""
        if scope["type"] != "http" or scope["path"].startswith(_OURS):
            await self._app(scope, receive, send)
            return
        if _serves_an_address(scope["path"]):
            await _refuse(scope, receive, send, "This server hands on nothing from other servers.")
            return
        if scope["method"] in ("GET", "HEAD") or scope["path"].endswith(_UPLOAD):
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        if body is None or _names_an_address(_parsed(body)):
            await _refuse(
                scope, receive, send, "A file of the page is an upload, not a web address."
            )
            return
        await self._app(scope, _again(body, receive), send)


def _serves_an_address(path: str) -> bool:
    for word in _SERVING:
        _, found, rest = path.partition(f"/{word}")
        if found and _is_address(rest):
            return True
    return False


def _is_address(text: str) -> bool:
    """Return whether Gradio would take a path for a web address."""
    try:
        return urlsplit(text.strip()).scheme.lower() in ("http", "https")
    except ValueError:
        return True


def _names_an_address(value: Any) -> bool:  # JSON: anything
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            fields = cast("Mapping[str, Any]", one)
            path = fields.get("path")
            if isinstance(path, str) and _is_address(path):
                return True
            waiting.extend(fields.values())
        elif isinstance(one, list):
            waiting.extend(cast("list[Any]", one))
    return False


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # Gradio will say so
        return None


async def _whole(receive: Receive) -> bytes | None:
    """Return a call's body; None when it is larger than any call of the page."""
    pieces: list[bytes] = []
    count = 0
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        count += len(pieces[-1])
        if count > LARGEST_CALL_BYTES:
            return None
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(pieces)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that delivers the body once more, and then what comes after it."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(scope: Scope, receive: Receive, send: Send, sentence: str) -> None:
    await PlainTextResponse(sentence, 403)(scope, receive, send)
