"""Which web pages of other hosts may call the server from a browser, with `--cors-allow-origins`."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modules.api.asgi import Send

_ANY = "*"
_KEPT_S = 600


@dataclass(frozen=True)
class Origins:
    """The origins that were allowed.

    Args:
        listed: Such as "https://example.org"; "*" is any, which then may send no password.
        pattern: A regular expression for a whole origin; empty for none.
    """

    listed: tuple[str, ...] = ()
    pattern: str = ""

    def allows(self, origin: str) -> bool:
        """Return whether a page of that origin may call."""
        if origin in self.listed or _ANY in self.listed:
            return True
        return bool(self.pattern) and re.fullmatch(self.pattern, origin) is not None

    def names(self) -> frozenset[str]:
        """Return the host names of the listed origins: a reverse proxy may hand them on as `Host`."""
        return frozenset(name for one in self.listed if (name := urlsplit(one).hostname))

    def headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        """Return what lets that page read an answer."""
        found = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"Origin"),
        ]
        if _ANY not in self.listed:  # a password that the browser keeps is not for just any page
            found.append((b"access-control-allow-credentials", b"true"))
        return found

    def letting(self, origin: str, send: Send) -> Send:
        """Return a `send` that adds those headers to the answer."""

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers(origin)]
            await send(message)

        return with_headers

    async def answer_preflight(self, origin: str, asked: str, send: Send) -> None:
        """Answer a browser that asks beforehand whether that page may call.

        Args:
            origin: One that is allowed.
            asked: The headers that the call will carry.
            send: Takes the answer.
        """
        headers = [
            *self.headers(origin),
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, HEAD"),
            (b"access-control-allow-headers", asked.encode("latin-1") or b"*"),
            (b"access-control-max-age", str(_KEPT_S).encode()),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


NOBODY_ELSE = Origins()
