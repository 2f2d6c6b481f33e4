"""Guards Gradio's routes against server-side request forgery (SSRF).

Gradio downloads a file whose path in a call is a URL, and proxies a URL after `file=`.
The page needs neither: its files are uploads and finished images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OTHER_ROUTES = ("/sdapi/", "/api/", "/internal/")
_FILE_ROUTES = ("file=", "proxy=")
_UPLOAD = "/upload"
# A call contains prompts and strokes; images are uploaded.
MAX_CALL_BYTES = 64 * 2**20


class GradioSsrfGuard:
    """ASGI middleware that answers 403 to a Gradio call with a URL in place of a file.

    Args:
        app: The app to protect.
        max_call_bytes: Limit of a call.
    """

    def __init__(self, app: ASGIApp, max_call_bytes: int = MAX_CALL_BYTES) -> None:
        self._app = app
        self._max_call_bytes = max_call_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] == "http" and "\0" in scope["path"]:  # opening such a name raises an error
            await _refuse(scope, receive, send, "An address cannot contain the character 0.", 400)
            return
        if scope["type"] != "http" or scope["path"].startswith(_OTHER_ROUTES):
            await self._app(scope, receive, send)
            return
        if _serves_url(scope["path"]):
            await _refuse(scope, receive, send, "This server does not proxy other servers.")
            return
        if scope["method"] in ("GET", "HEAD") or scope["path"].endswith(_UPLOAD):
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive, self._max_call_bytes)
        if body is None or _contains_url(_parse(body)):
            await _refuse(scope, receive, send, "A file must be an upload, not a web address.")
            return
        await self._app(scope, _replay(body, receive), send)


def _serves_url(path: str) -> bool:
    for route in _FILE_ROUTES:
        _, separator, rest = path.partition(f"/{route}")
        if separator and _is_url(rest):
            return True
    return False


def _is_url(text: str) -> bool:
    """Return whether Gradio would treat a path as a URL."""
    try:
        return urlsplit(text.strip()).scheme.lower() in ("http", "https")
    except ValueError:
        return True


def _contains_url(value: Any) -> bool:  # JSON: anything
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            fields = cast("Mapping[str, Any]", item)
            path = fields.get("path")
            if isinstance(path, str) and _is_url(path):
                return True
            pending.extend(fields.values())
        elif isinstance(item, list):
            pending.extend(cast("list[Any]", item))
    return False


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # Gradio answers the error itself
        return None


async def _read_body(receive: Receive, max_bytes: int) -> bytes | None:
    """Return the body of a request; None when it is larger than any call of the page."""
    chunks: list[bytes] = []
    byte_count = 0
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        byte_count += len(chunks[-1])
        if byte_count > max_bytes:
            return None
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that delivers the body again, then what follows it."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(
    scope: Scope, receive: Receive, send: Send, sentence: str, status: int = 403
) -> None:
    await PlainTextResponse(sentence, status)(scope, receive, send)
