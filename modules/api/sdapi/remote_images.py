"""Fetches an input picture from a public web address, and from nowhere else.

The address that a name stands for is looked up once, checked and then connected to, so that a name that changes its
mind in between reaches nothing inside (server-side request forgery).
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import SplitResult, urljoin, urlsplit

from modules.core.errors import UserError
from modules.params.image_decoding import MAX_FILE_BYTES
from modules.params.settings import Settings

MOST_REDIRECTS = 3
TIMEOUT_S = 15.0
_PIECE_BYTES = 2**16
_PORTS = {"http": 80, "https": 443}
# Networks whose addresses carry another one inside: 6to4, Teredo, NAT64.
_CARRIERS = tuple(ipaddress.ip_network(one) for one in ("2002::/16", "2001::/32", "64:ff9b::/32"))


def is_url(value: object) -> bool:
    """Return whether a value of a request is an address instead of a picture."""
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def is_public_address(address: str) -> bool:
    """Return whether an IP address is one of the open internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None:
        found = mapped
    if any(found.version == net.version and found in net for net in _CARRIERS):
        return False
    return found.is_global and not found.is_multicast


def fetch(
    url: str,
    is_allowed: Callable[[str], bool] = is_public_address,
    max_bytes: int = MAX_FILE_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> bytes:
    """Return what lies at a web address.

    Args:
        url: With http:// or https://.
        is_allowed: Says of an IP address whether it may be called; asked anew for each redirect.
        max_bytes: More are not read.
        timeout_s: For all of it together.

    Raises:
        UserError: the address is malformed, not public, out of reach, slow, or holds too much.
    """
    deadline = time.monotonic() + timeout_s
    for _ in range(MOST_REDIRECTS + 1):
        parts = _split(url)
        try:
            connection = _connect(parts, is_allowed, deadline)
            try:
                path = parts.path or "/"
                path = f"{path}?{parts.query}" if parts.query else path
                connection.request("GET", path, headers={"Accept": "image/*"})
                response = connection.getresponse()
                target = response.getheader("location")
                if response.status in (301, 302, 303, 307, 308) and target:
                    url = urljoin(url, target)
                    continue
                if response.status != 200:
                    raise UserError(f"'{url}' answers {response.status}, not with a picture.")
                return _body(response, connection, max_bytes, deadline)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UserError(f"'{url}' cannot be fetched: {error}.") from None
    raise UserError(f"'{url}' leads on more than {MOST_REDIRECTS} times.")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in _PORTS or not parts.hostname or parts.username is not None
        _ = parts.port
    except ValueError:
        wrong, parts = True, SplitResult("", "", "", "", "")
    if wrong:
        raise UserError(f"'{url}' is no web address to fetch from.", "Use http:// or https://.")
    return parts


def _connect(
    parts: SplitResult, allows: Callable[[str], bool], deadline: float
) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not addresses or not all(allows(address) for address in addresses):
        raise UserError(
            f"'{host}' is an address of this machine or its network, and nothing is fetched from there.",
            "Send the picture in base64.",
        )
    sock = socket.create_connection((addresses[0], port), timeout=_left(deadline))
    connection = http.client.HTTPConnection(host, port)
    if parts.scheme == "https":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    connection.sock = sock
    return connection


def _body(
    response: http.client.HTTPResponse,
    connection: http.client.HTTPConnection,
    most_bytes: int,
    deadline: float,
) -> bytes:
    pieces: list[bytes] = []
    count = 0
    while True:
        if connection.sock is not None:  # gone once the server has closed it; the rest is at hand
            connection.sock.settimeout(_left(deadline))
        piece = response.read1(_PIECE_BYTES)
        if not piece:
            return b"".join(pieces)
        count += len(piece)
        if count > most_bytes:
            raise UserError(f"What lies there has more than {most_bytes} bytes.")
        pieces.append(piece)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it takes too long")
    return left


# Where A1111's requests hold pictures; lists of them, or of objects with `data`, too.
_PLACES = ("image", "init_images", "mask", "depth_map", "imageList", "data")
_MOST_FETCHED = 16


def fetch_remote_images(body: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the body with each picture's web address replaced by the picture in base64.

    Where fetching is off, addresses stay, and who reads the picture refuses them.

    Raises:
        UserError: an address is not public, or nothing comes of it.
    """
    if not settings.api_enable_requests:
        return dict(body)
    return {key: _fetched(value) if key in _PLACES else value for key, value in body.items()}


def _fetched(value: Any) -> Any:  # whatever a JSON body holds
    if isinstance(value, list):
        values = cast("list[Any]", value)
        return [_fetched(one) for one in values[:_MOST_FETCHED]] + values[_MOST_FETCHED:]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {k: _fetched(one) if k in _PLACES else one for k, one in fields.items()}
    if is_url(value):
        return base64.b64encode(fetch(value)).decode("ascii")
    return value
