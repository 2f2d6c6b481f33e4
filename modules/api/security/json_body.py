"""Takes the long strings, such as images, out of a JSON body while it arrives: only the rest is parsed.

A string in a body that is parsed whole is in memory three times, and lists of empty lists take twenty times their length.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api.security.asgi_messages import drain, refuse, replay
from modules.core.errors import WebUIError
from modules.params.image_decoding import MAX_ENCODED_LENGTH

API_PREFIXES = ("/sdapi/", "/controlnet/", "/api/", "/internal/")
LONG_STRINGS = "webui.long_strings"  # the key in a request's scope
MAX_REST_BYTES = 8 * 2**20
MAX_VALUES = 2**18
MIN_LENGTH = 1024  # of a string that is taken out
MAX_LONG_STRINGS = 4096
_SLICE = 2**16
# A quote before one of the first characters opens a string: behind a closing one JSON has none of them.
_OPENING = re.compile(rb'"(?=[A-Za-z0-9+/\\][ !#-~]{%d})' % (MIN_LENGTH - 1))
_RUN = re.compile(rb"[ !#-\[\]-~]*(?:\\(?:[/nrt]|u002[bBfF])[ !#-\[\]-~]*)*")
# How programs escape what is in base64.
_ESCAPES = ((rb"\/", b"/"), (rb"\n", b"\n"), (rb"\r", b"\r"), (rb"\t", b"\t"), (rb"\u002b", b"+"),
            (rb"\u002B", b"+"), (rb"\u002f", b"/"), (rb"\u002F", b"/"))  # fmt: skip
_MAX_ESCAPE = 6


class BodyTooLarge(WebUIError):
    """A body has too much of one thing."""

    status_code = 413


class LongStrings:
    """The strings that were taken out of a body, by their placeholders."""

    def __init__(self) -> None:
        self._strings: list[str] = []
        self._token = secrets.token_hex(16)
        self._pattern = re.compile(self._token + r"(\d+);")

    def add(self, text: str) -> bytes:
        """Keep a string; return its placeholder.

        Raises:
            BodyTooLarge: there are too many.
        """
        if len(self._strings) == MAX_LONG_STRINGS:
            raise BodyTooLarge(
                f"The request has more than {MAX_LONG_STRINGS} pictures or texts of {MIN_LENGTH} characters and more.",
                "Send fewer at once.",
            )
        self._strings.append(text)
        return f"{self._token}{len(self._strings) - 1};".encode()

    def put_back(self, value: Any) -> None:
        """Put the strings back into parsed JSON of any type.

        Raises:
            BodyTooLarge: one is the name of a field.
        """
        pending: list[Any] = [value] if self._strings else []
        while pending:
            item: Any = pending.pop()
            if isinstance(item, dict):
                fields = cast("dict[str, Any]", item)
                if any(self._token in name for name in fields):
                    raise BodyTooLarge(
                        f"The name of a field has more than {MIN_LENGTH} characters.", "Shorten it."
                    )
                pending += self._replace(fields, fields)
            elif isinstance(item, list):
                values = cast("list[Any]", item)
                pending += self._replace(values, range(len(values)))

    def _replace(self, container: Any, keys: Any) -> list[Any]:  # a dict or a list
        """Put the strings back that are directly in a container; return its inner containers."""
        inner: list[Any] = []
        for key in keys:
            item = container[key]
            if isinstance(item, str) and self._token in item:
                match = self._pattern.fullmatch(item)  # most are the whole text: no copy
                container[key] = (
                    self._strings[int(match[1])] if match else self._pattern.sub(self._string, item)
                )
            elif isinstance(item, dict | list):
                inner.append(item)
        return inner

    def _string(self, match: re.Match[str]) -> str:
        return self._strings[int(match[1])]


class ValueCount:
    """Counts what can be a value in JSON, and refuses too many.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int = MAX_VALUES) -> None:
        self._limit = limit
        self._count = 0

    def add(self, data: bytes | bytearray) -> None:
        """Count the values in a part of the body.

        Raises:
            BodyTooLarge: there are too many.
        """
        self._count += data.count(b",") + data.count(b"[") + data.count(b"{")
        if self._count > self._limit:
            raise BodyTooLarge(
                f"The request has more than {self._limit} values in its lists and objects.",
                "Send fewer at once.",
            )


class JsonReader:
    """Splits JSON, as it arrives, into its long strings and the rest.

    Args:
        max_length: Of one string, in characters.
        max_rest_bytes: Of all that is not a long string.
        max_values: In the rest.
    """

    def __init__(
        self,
        max_length: int = MAX_ENCODED_LENGTH,
        max_rest_bytes: int = MAX_REST_BYTES,
        max_values: int = MAX_VALUES,
    ) -> None:
        self.strings = LongStrings()
        self.rest = bytearray()
        self._max_length = max_length
        self._max_rest_bytes = max_rest_bytes
        self._values = ValueCount(max_values)
        self._open: bytearray | None = None  # the long string whose end has not come
        self._carry = b""  # what can only be understood with what follows

    def feed(self, data: bytes) -> None:
        """Read the next part.

        Raises:
            BodyTooLarge: there is too much of it.
        """
        for start in range(0, len(data), _SLICE):
            self._split(self._carry + data[start : start + _SLICE], is_last=False)

    def finish(self) -> None:
        """Read what is left.

        Raises:
            BodyTooLarge: there is too much of it.
        """
        self._split(self._carry, is_last=True)
        self._close()

    def _split(self, data: bytes, *, is_last: bool) -> None:
        position, self._carry = 0, b""
        while True:
            if self._open is not None:
                position = self._extend(data, position)
                left = data[position:]
                if not is_last and len(left) < _MAX_ESCAPE and left[:1] in (b"", b"\\"):
                    self._carry = left
                    return
                self._close()
            match = _OPENING.search(data, position)
            if match is None:
                break
            self._keep(data[position : match.end()])
            position, self._open = match.end(), bytearray()
        # A string that begins near the end may become a long one.
        quote = -1 if is_last else data.rfind(b'"', max(position, len(data) - MIN_LENGTH))
        end = len(data) if quote < 0 else quote
        self._keep(data[position:end])
        self._carry = data[end:]

    def _extend(self, data: bytes, position: int) -> int:
        """Add what belongs to the open string; return the position of what does not."""
        match = _RUN.match(data, position)
        assert match is not None and self._open is not None  # the pattern matches nothing, too
        run = match[0]
        if b"\\" in run:
            for escape, byte in _ESCAPES:
                run = run.replace(escape, byte)
        self._open += run
        if len(self._open) > self._max_length:
            raise BodyTooLarge(
                f"A picture or a text of the request has more than {self._max_length} characters.",
                "Send a smaller one.",
            )
        return match.end()

    def _close(self) -> None:
        if self._open is not None:
            self.rest += self.strings.add(self._open.decode("ascii"))
            self._open = None

    def _keep(self, data: bytes) -> None:
        self._values.add(data)
        self.rest += data
        if len(self.rest) > self._max_rest_bytes:
            raise BodyTooLarge(
                f"The request has more than {self._max_rest_bytes} bytes besides its pictures.",
                "Send fewer or shorter values.",
            )


class JsonBodies:
    """ASGI middleware that passes the JSON bodies of the API on without their long strings, which the scope holds.

    Args:
        app: The app that gets them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a body and pass the request on; answer 413 to one that has too much of one thing."""
        if scope["type"] != "http" or not _has_json(scope):
            await self._app(scope, receive, send)
            return
        reader, has_more = JsonReader(), True
        try:
            while has_more:
                message = await receive()
                has_more = message.get("more_body", False)
                if message["type"] != "http.request":  # the client is gone
                    return
                reader.feed(message.get("body", b""))
            reader.finish()
        except BodyTooLarge as error:
            del reader
            if has_more:
                await drain(receive)
            await refuse(scope, receive, send, error.status_code, "TooLarge", str(error))
            return
        scope = {**scope, LONG_STRINGS: reader.strings}
        await self._app(scope, replay(bytes(reader.rest), receive), send)


def _has_json(scope: Scope) -> bool:
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    return scope["path"].startswith(API_PREFIXES) and kind.endswith("json")
