"""Limits the size of request bodies, for every route."""

from __future__ import annotations

import contextlib

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Several images of 64 MB in base64. A larger body is refused before it is held in memory.
MAX_BODY_BYTES = 256 * 2**20
# Gradio streams uploads to disk, and the page limits the size of each file.
MAX_UPLOAD_BYTES = 2 * 2**30
_UPLOAD_PATHS = ("/gradio_api/upload", "/upload")


class BodyLimit:
    """ASGI middleware that answers 413, with an explanation, to a body that is too large, whatever its headers claim.

    Args:
        app: The app to protect.
        max_body_bytes: Limit of a body.
        max_upload_bytes: Limit of an upload to the page.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting the bytes of its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"].rstrip("/") in _UPLOAD_PATHS
        limit = self._max_upload_bytes if is_upload else self._max_body_bytes
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await _refuse(scope, receive, send, limit)
            return
        counter = _BodyCounter(scope, receive, send, limit)
        with contextlib.suppress(_TooLarge):
            await self._app(scope, counter.receive, counter.send)


class _TooLarge(Exception):
    """Raised into the route that reads a body which is too large."""


class _BodyCounter:
    """Counts the bytes of a body; when it is too large, answers 413 and ends the request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._byte_count = 0
        self._response_started = False  # by the route or by the refusal
        self._refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._byte_count += len(message.get("body", b""))
        if self._byte_count <= self._limit:
            return message
        if not self._response_started:
            self._response_started = self._refused = True
            await _refuse(self._scope, self._receive, self._send, self._limit)
        raise _TooLarge

    async def send(self, message: Message) -> None:
        if self._refused:  # drop the route's response to half a body
            return
        self._response_started = True
        await self._send(message)


async def _refuse(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    sentence = f"The request is too large; the limit is {limit // 2**20} MiB. Send smaller images, or fewer at once."
    body = {"error": "TooLarge", "detail": sentence, "body": "", "errors": sentence}
    await JSONResponse(body, 413, {"connection": "close"})(scope, receive, send)
