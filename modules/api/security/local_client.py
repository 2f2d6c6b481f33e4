"""Tells whether a request comes from the machine that the server runs on.

What acts on the machine itself is for those alone: opening a folder on its screen, and installing code.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from modules.api.security.guard import LOOPBACK_NAMES

# A proxy on this machine passes requests of others on; it says so in one of these.
_PROXY_HEADERS = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")


def is_on_this_machine(connection: HTTPConnection) -> bool:
    """Return whether the browser runs on the server's machine, as far as a request shows.

    Args:
        connection: Its sender's address, its headers and the host name in its address are looked at: a page of another
            host whose name leads to this machine is not on it.
    """
    client = connection.client.host if connection.client else ""
    if any(name in connection.headers for name in _PROXY_HEADERS):
        return False
    is_local = client in LOOPBACK_NAMES or client.startswith("127.")
    return is_local and (connection.url.hostname or "") in LOOPBACK_NAMES
