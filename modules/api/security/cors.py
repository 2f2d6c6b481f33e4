"""CORS: foreign origins that may call the server from a browser (`--cors-allow-origins`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_ANY = "*"


@dataclass(frozen=True)
class Origins:
    """The allowed origins.

    Args:
        listed: Such as "https://example.org"; "*" allows any origin, but then without credentials.
        pattern: Regular expression that matches a whole origin; empty for none.
    """

    listed: tuple[str, ...] = ()
    pattern: str = ""

    def allows(self, origin: str) -> bool:
        """Return whether requests of that origin are allowed."""
        if origin in self.listed or _ANY in self.listed:
            return True
        return bool(self.pattern) and re.fullmatch(self.pattern, origin) is not None

    def host_names(self) -> frozenset[str]:
        """Return the host names of the listed origins: a reverse proxy may forward them as `Host`."""
        return frozenset(name for origin in self.listed if (name := urlsplit(origin).hostname))

    def with_cors(self, app: ASGIApp) -> ASGIApp:
        """Return the app with CORS headers for the allowed origins; the app itself when there are none."""
        if not self.listed and not self.pattern:
            return app
        return CORSMiddleware(
            app,
            allow_origins=self.listed,
            allow_origin_regex=self.pattern or None,
            allow_methods=("*",),
            allow_headers=("*",),
            # Credentials that the browser stores are not sent on behalf of an arbitrary page.
            allow_credentials=_ANY not in self.listed,
            expose_headers=("*",),
        )


SAME_ORIGIN_ONLY = Origins()
