"""Connections to the public internet only: nothing that a request names reaches this machine or its network.

A host name is resolved once, the address is checked and then connected to, so that a name that resolves differently
the second time (DNS rebinding) reaches no inner host (server-side request forgery).
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from modules.core.errors import UserError

REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}
# Networks whose addresses embed an IPv4 address: 6to4, Teredo, NAT64.
_EMBEDDING_NETWORKS = tuple(
    ipaddress.ip_network(network) for network in ("2002::/16", "2001::/32", "64:ff9b::/32")
)


def is_public_address(address: str) -> bool:
    """Return whether an IP address is reachable on the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        ip = mapped
    if any(ip.version == network.version and ip in network for network in _EMBEDDING_NETWORKS):
        return False
    return ip.is_global and not ip.is_multicast


def split_url(url: str, schemes: tuple[str, ...] = ("http", "https")) -> SplitResult:
    """Return the parts of a web address.

    Args:
        url: The address.
        schemes: Those that are allowed.

    Raises:
        UserError: it is malformed, of another scheme, or holds a user name.
    """
    try:
        parts = urlsplit(url)
        is_malformed = (
            parts.scheme not in schemes or not parts.hostname or parts.username is not None
        )
        _ = parts.port
    except ValueError:
        is_malformed, parts = True, SplitResult("", "", "", "", "")
    if is_malformed:
        raise UserError(
            f"'{url}' is not a web address.", f"Use {' or '.join(f'{one}://' for one in schemes)}."
        )
    return parts


def request_path(parts: SplitResult) -> str:
    """Return what a GET request names: path and query."""
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def connect(
    parts: SplitResult, is_allowed: Callable[[str], bool], timeout_s: float, hint: str = ""
) -> http.client.HTTPConnection:
    """Return a connection to the host of an address.

    Args:
        parts: The address.
        is_allowed: Whether an IP address may be connected to.
        timeout_s: For connecting, and for each read.
        hint: What the user can do when the address is refused.

    Raises:
        UserError: the host is not allowed.
        OSError: it cannot be found or reached.
    """
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in entries]
    if not addresses or not all(is_allowed(address) for address in addresses):
        raise UserError(
            f"'{host}' is an address of this machine or its network, and nothing is fetched from there.",
            hint,
        )
    sock = socket.create_connection((addresses[0], port), timeout=timeout_s)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    if parts.scheme == "https":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    connection.sock = sock
    return connection
