"""How large a body may be, for every route."""

from __future__ import annotations

import contextlib

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Several pictures of 64 MB in base64. What is larger is refused before it is kept in memory.
LARGEST_BODY_BYTES = 256 * 2**20
# Gradio writes uploads to the disk as they come, each file at most as large as the page lets through.
LARGEST_UPLOAD_BYTES = 2 * 2**30
_UPLOAD_PATHS = ("/gradio_api/upload", "/upload")


class BodyLimit:
    """ASGI middleware that answers 413, with words, to a body that is too large, whatever its headers say."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, counting what comes in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        uploads = scope["path"].rstrip("/") in _UPLOAD_PATHS
        limit = LARGEST_UPLOAD_BYTES if uploads else LARGEST_BODY_BYTES
        said = Headers(scope=scope).get("content-length", "")
        if said.isdecimal() and int(said) > limit:
            await _refuse(scope, receive, send, limit)
            return
        meter = _Meter(scope, receive, send, limit)
        with contextlib.suppress(_TooLarge):
            await self._app(scope, meter.receive, meter.send)


class _TooLarge(Exception):
    """Ends the route that reads a body."""


class _Meter:
    """Counts a body; once it is too large the call is over and its answer is the refusal."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._count = 0
        self._answered = False  # the answer has begun, by whomever
        self._refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._count += len(message.get("body", b""))
        if self._count <= self._limit:
            return message
        if not self._answered:
            self._answered = self._refused = True
            await _refuse(self._scope, self._receive, self._send, self._limit)
        raise _TooLarge

    async def send(self, message: Message) -> None:
        if self._refused:  # what the route makes of half a body
            return
        self._answered = True
        await self._send(message)


async def _refuse(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    sentence = f"The request is too large; at most {limit // 2**20} MiB are taken. Send smaller pictures, or fewer at once."
    body = {"error": "TooLarge", "detail": sentence, "body": "", "errors": sentence}
    await JSONResponse(body, 413, {"connection": "close"})(scope, receive, send)
