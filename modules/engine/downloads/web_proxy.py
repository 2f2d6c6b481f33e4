"""The HTTP proxy that the environment names for downloads, in HTTPS_PROXY or ALL_PROXY, and its exceptions in NO_PROXY."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from modules.core.errors import UserError
from modules.core.public_web import PORTS

_DEFAULT_PORT = 8080


@dataclass(frozen=True)
class WebProxy:
    """A proxy that tunnels to the hosts (CONNECT).

    Args:
        url: Its address, such as http://proxy.example:3128; may hold user and password.
        exceptions: Hosts that are reached without it, as in NO_PROXY.
    """

    url: str
    exceptions: str = ""

    def serves(self, host: str) -> bool:
        """Return whether a host is reached by the proxy."""
        names = [one.strip().lower().lstrip(".") for one in self.exceptions.split(",")]
        host = host.lower()
        return not any(
            one and (one == "*" or host == one or host.endswith(f".{one}")) for one in names
        )

    def connect(
        self, parts: SplitResult, is_allowed: Callable[[str], bool], timeout_s: float
    ) -> http.client.HTTPConnection:
        """Return a connection to the host of an address; it connects with the first request.

        Behind a proxy the host's name is often unknown here, and is then the proxy's to judge.

        Args:
            parts: The address.
            is_allowed: Whether an IP address may be connected to, where it is known here.
            timeout_s: For connecting, and for each read.

        Raises:
            UserError: the host is not allowed, or the proxy is none for HTTP.
        """
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        if not all(is_allowed(address) for address in _known_addresses(host, port)):
            raise UserError(
                f"'{host}' is an address of this machine or its network, and nothing is fetched from there."
            )
        proxy = self._parts()
        place = proxy.hostname or "", proxy.port or _DEFAULT_PORT
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(*place, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(*place, timeout=timeout_s)
        connection.set_tunnel(host, port, headers=_login(proxy))
        return connection

    def _parts(self) -> SplitResult:
        url = self.url if "://" in self.url else f"http://{self.url}"
        try:
            parts = urlsplit(url)
            is_usable = parts.scheme == "http" and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            is_usable, parts = False, SplitResult("", "", "", "", "")
        if not is_usable:
            shown = url.rpartition("@")[2]
            raise UserError(
                f"The proxy '{shown}' of the environment is none for HTTP.",
                "Set HTTPS_PROXY to http://HOST:PORT, or remove it.",
            )
        return parts


def proxy_of(env: Mapping[str, str]) -> WebProxy | None:
    """Return the proxy that environment variables name for https, or None."""

    def value(name: str) -> str:
        return (env.get(name) or env.get(name.upper()) or "").strip()

    url = value("https_proxy") or value("all_proxy")
    return WebProxy(url, value("no_proxy")) if url else None


def _known_addresses(host: str, port: int) -> list[str]:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in entries]


def _login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
