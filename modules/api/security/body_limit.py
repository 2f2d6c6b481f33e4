"""Limits the size of request bodies, the time that they take, and the memory of all of them, for every route."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.security.asgi_messages import drain, refuse
from modules.api.security.json_body import BodyTooLarge
from modules.api.security.memory_budget import MAX_BYTES_IN_FLIGHT, MemoryBudget, Share
from modules.api.security.upload_fields import UploadFields
from modules.core.errors import Busy
from modules.params.image_decoding import COUNT_PIXELS

# One and a half of the largest images in base64. A larger body is refused before it is held in memory.
MAX_BODY_BYTES = 128 * 2**20
# Of what is neither JSON nor a form: no route takes any, and it would be in memory twice.
MAX_OTHER_BYTES = 16 * 2**20
_LARGE_TYPES = ("json", "multipart/form-data")
# Gradio streams uploads to disk, and the page limits the size of each file.
MAX_UPLOAD_BYTES = 2 * 2**30
# A body may take this long, and a second longer for each so many bytes that have arrived.
BODY_PATIENCE_S = 30.0
_MIN_BYTES_PER_S = 16 * 2**10
_UPLOAD_PATHS = ("/gradio_api/upload", "/upload")


class BodyLimit:
    """ASGI middleware that answers 413, with an explanation, to a body that is too large, whatever its headers claim.

    It answers 408 to one that takes too long, and 503 where all requests together need too much memory.

    Args:
        app: The app to protect.
        max_body_bytes: Limit of a body.
        max_upload_bytes: Limit of an upload to the page.
        max_bytes_in_flight: Limit of all bodies and decoded pixels together.
        body_patience_s: How long a body without any bytes may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT,
        body_patience_s: float = BODY_PATIENCE_S,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes
        self.budget = MemoryBudget(max_bytes_in_flight)
        self._body_patience_s = body_patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting the bytes of its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_upload = scope["path"].rstrip("/") in _UPLOAD_PATHS
        limit = self._max_upload_bytes if is_upload else self._max_body_bytes
        if not any(kind in headers.get("content-type", "").lower() for kind in _LARGE_TYPES):
            limit = min(limit, MAX_OTHER_BYTES)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await drain(receive)
            await refuse(scope, receive, send, *_too_large(limit))
            return
        share = Share(self.budget)
        deadline = time.monotonic() + self._body_patience_s
        counter = _BodyCounter(scope, receive, send, limit, None if is_upload else share, deadline)
        if is_upload:  # Gradio streams its files to disk
            counter.check = UploadFields(headers.get("content-type", "")).feed
        token = COUNT_PIXELS.set(share.add_pixels)
        try:
            with contextlib.suppress(_Refused):
                await self._app(scope, counter.receive, counter.send)
        finally:
            COUNT_PIXELS.reset(token)
            share.release()


class _Refused(Exception):
    """Raised into the route that reads a body which is too large, too slow, or too much with all others."""


class _BodyCounter:
    """Counts the bytes of a body; when there are too many, answers with an error and ends the request."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limit: int,
        share: Share | None,
        deadline: float,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._share = share
        self._deadline = deadline  # for a body without any bytes
        self._byte_count = 0
        self._is_complete = False
        self._response_started = False  # by the route or by the refusal
        self.check: Callable[[bytes], None] | None = None  # of each part; raises BodyTooLarge
        self._refused = False

    async def receive(self) -> Message:
        if self._is_complete:  # what follows is that the client disconnects, at any time
            return await self._receive()
        try:
            remaining_s = self._deadline + self._byte_count / _MIN_BYTES_PER_S - time.monotonic()
            message = await asyncio.wait_for(self._receive(), max(0.01, remaining_s))
        except asyncio.TimeoutError:
            await self._end(408, "Timeout", "The request took too long to arrive. Send it again.")
        byte_count = len(message.get("body", b""))
        self._byte_count += byte_count
        self._is_complete = not message.get("more_body", False)
        if self._byte_count > self._limit:
            await self._end(*_too_large(self._limit))
        try:
            if self._share is not None:
                self._share.add_body(byte_count)
            if self.check is not None:
                self.check(message.get("body", b""))
        except BodyTooLarge as error:
            await self._end(error.status_code, "TooLarge", str(error))
        except Busy as error:
            if self._share is not None:  # before the rest is drained, so that not all are refused
                self._share.release()
            await self._end(503, "Busy", str(error))
        return message

    async def _end(self, status: int, name: str, sentence: str) -> NoReturn:
        if not self._response_started:
            self._response_started = self._refused = True
            if not self._is_complete and status != 408:
                await drain(self._receive)
            await refuse(self._scope, self._receive, self._send, status, name, sentence)
        raise _Refused

    async def send(self, message: Message) -> None:
        if self._refused:  # drop the route's response to half a body
            return
        self._response_started = True
        await self._send(message)


def _too_large(limit: int) -> tuple[int, str, str]:
    sentence = f"The request is too large; the limit is {limit // 2**20} MiB. Send smaller images, or fewer at once."
    return 413, "TooLarge", sentence
