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
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api.security.asgi_messages import drain, refuse, replay
from modules.api.security.json_body import API_PREFIXES, BodyTooLarge, ValueCount

_FILE_ROUTES = ("file=", "proxy=")
_UPLOAD = "/upload"
# A call contains prompts and strokes; images are uploaded. It is in memory four times: Gradio parses it, too.
MAX_CALL_BYTES = 16 * 2**20
MAX_CALL_VALUES = 2**18  # a million keep the page from answering for 3 s
# Of a file's name and of its whole path, in Linux and macOS.
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4000


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
        if scope["type"] != "http" or scope["path"].startswith(API_PREFIXES):
            await self._app(scope, receive, send)
            return
        if _is_too_long(scope["path"]):  # so does this
            sentence = f"A name in the address has more than {MAX_NAME_BYTES} bytes."
            await _refuse(scope, receive, send, sentence, 414)
            return
        if _serves_url(scope["path"]):
            await _refuse(scope, receive, send, "This server does not proxy other servers.")
            return
        if scope["method"] in ("GET", "HEAD") or scope["path"].endswith(_UPLOAD):
            await self._app(scope, receive, send)
            return
        try:
            body = await _read_body(receive, self._max_call_bytes)
        except BodyTooLarge as error:
            await refuse(scope, receive, send, error.status_code, "TooLarge", str(error))
            return
        if _contains_url(_parse(body)):
            await _refuse(scope, receive, send, "A file must be an upload, not a web address.")
            return
        await self._app(scope, replay(body, receive), send)


def _is_too_long(path: str) -> bool:
    encoded = path.encode("utf-8", "surrogatepass")
    return len(encoded) > MAX_PATH_BYTES or max(map(len, encoded.split(b"/"))) > MAX_NAME_BYTES


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


async def _read_body(receive: Receive, max_bytes: int) -> bytes:
    """Return the body of a request.

    Raises:
        BodyTooLarge: it is larger than any call of the page, or has more values; the rest has been read.
    """
    body, values, has_more = bytearray(), ValueCount(MAX_CALL_VALUES), True
    try:
        while has_more:
            message = await receive()
            has_more = message.get("more_body", False)
            body += message.get("body", b"")
            values.add(message.get("body", b""))
            if len(body) > max_bytes:
                raise BodyTooLarge(
                    f"The page sends at most {max_bytes} bytes at once.", "Paste or paint less."
                )
    except BodyTooLarge:
        if has_more:  # after the last part there is nothing to wait for
            await drain(receive)
        raise
    return bytes(body)


async def _refuse(
    scope: Scope, receive: Receive, send: Send, sentence: str, status: int = 403
) -> None:
    await PlainTextResponse(sentence, status)(scope, receive, send)
