"""Brings the bytes of one download into its .part file: from where it ends, over redirects, again when it breaks off."""

from __future__ import annotations

import errno
import http.client
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urljoin

from modules.core.errors import StorageError, UserError
from modules.core.public_web import (
    REDIRECTS,
    connect,
    is_public_address,
    request_path,
    split_url,
)
from modules.engine.downloads.download import Download
from modules.engine.downloads.names import shown_address
from modules.engine.downloads.tokens import Tokens
from modules.engine.downloads.web_proxy import WebProxy
from modules.models.files.header import detect_container

_CHUNK_BYTES = 2**18
_HEAD_BYTES = 512
_SPARE_BYTES = 2**29  # stay free on the disk
_SPACE_EVERY = 2**26
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OFFLINE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class Stopped(Exception):
    """The download was paused or removed, or the server stops."""


class Retry(Exception):
    """The connection broke off, or the server asks to come back later."""


class Refused(UserError):
    """This address does not give the file; another one may."""


@dataclass(frozen=True)
class Web:
    """How the internet is reached.

    Args:
        tokens: Of the hosts.
        is_allowed: Whether an IP address may be connected to.
        schemes: Of the addresses.
        timeout_s: For connecting, and for each read.
        tries: How often a download that gets no further is tried.
        wait_s: Before the second try; it doubles with every further one.
        max_redirects: Of one request.
        proxy: Connects to the hosts; None connects directly.
    """

    tokens: Tokens
    is_allowed: Callable[[str], bool] = is_public_address
    schemes: tuple[str, ...] = ("https",)
    timeout_s: float = 30
    tries: int = 6
    wait_s: float = 1
    max_redirects: int = 5
    proxy: WebProxy | None = None


class Transfer:
    """The transfer of one download.

    Args:
        download: Keeps the progress.
        part: The .part file; it need not exist.
        web: How the internet is reached.
        stop: Ends the transfer when set.
        on_named: Called with the response's headers before the body is read; may refuse the file.
    """

    def __init__(
        self,
        download: Download,
        part: Path,
        web: Web,
        stop: threading.Event,
        on_named: Callable[[http.client.HTTPMessage], None],
    ) -> None:
        self._download = download
        self._part = part
        self._web = web
        self._stop = stop
        self._on_named = on_named

    def run(self) -> None:
        """Bring the whole file.

        Raises:
            Stopped: `stop` was set.
            UserError: no address gives the file, or it is none of a model.
            StorageError: the disk is full or cannot be written.
        """
        *others, last = self._download.addresses
        if any(self._is_brought(url) for url in others):
            return
        self._bring(last)

    def _is_brought(self, url: str) -> bool:
        try:
            self._bring(url)
        except Refused:
            return False
        return True

    def _bring(self, url: str) -> None:
        """Try one address until the file is complete or a number of tries got no further."""
        failures = 0
        while True:
            before = self._received_bytes()
            try:
                self._try_once(url)
                return
            except (OSError, http.client.HTTPException, Retry) as error:
                failures = 1 if self._received_bytes() > before else failures + 1
                self._raise_final(url, error, failures)
            if self._stop.wait(self._web.wait_s * 2 ** (failures - 1)):
                raise Stopped

    def _raise_final(self, url: str, error: Exception, failures: int) -> None:
        """Raise a sentence for an error that trying again does not mend."""
        host = split_url(url, self._web.schemes).hostname
        if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in _OFFLINE:
            if self._received_bytes() == 0 or failures > 1:
                raise UserError(f"'{host}' cannot be found: this machine seems to be offline.")
        elif isinstance(error, ssl.SSLCertVerificationError):
            raise UserError(f"'{host}' cannot prove who it is: {error.verify_message}.")
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"The disk of '{self._part.parent}' is full.", "Free some space and resume."
            )
        elif isinstance(error, PermissionError):
            raise StorageError(f"'{self._part.parent}' cannot be written: {error.strerror}.")
        if failures >= self._web.tries:
            raise UserError(
                f"The download from '{host}' got no further in {failures} tries: {error}.",
                "Resume it later; what has arrived is kept.",
            )

    def _try_once(self, url: str) -> None:
        if self._stop.is_set():
            raise Stopped
        self._part.parent.mkdir(parents=True, exist_ok=True)
        offset = self._received_bytes()
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and self._download.etag:
            headers["If-Range"] = self._download.etag
        with self._open(url, headers) as response:
            if response.status == 416:
                self._finish_or_begin_again(response, offset)
                return
            start, total = self._place(response, offset)
            self._check_size(total, start)
            self._on_named(response.headers)
            self._download.size_bytes = total
            etag = response.headers.get("etag", "")
            self._download.etag = "" if etag.startswith("W/") else etag
            self._read(response, start)
        if total is not None and self._received_bytes() < total:
            raise Retry(f"it broke off at {self._received_bytes()} of {total} bytes")

    @contextmanager
    def _open(self, url: str, headers: dict[str, str]) -> Generator[http.client.HTTPResponse]:
        """Yield the response to a GET request, after its redirects."""
        first = split_url(url, self._web.schemes)
        token = self._web.tokens.get(first.hostname or "")
        for _ in range(self._web.max_redirects + 1):
            parts = split_url(url, self._web.schemes)
            sent = {
                "User-Agent": "stable-diffusion-webui",
                "Accept-Encoding": "identity",
                **headers,
            }
            if token and (parts.scheme, parts.netloc) == (first.scheme, first.netloc):
                sent["Authorization"] = f"Bearer {token}"
            connection = self._connect(parts)
            try:
                connection.request("GET", request_path(parts), headers=sent)
                response = connection.getresponse()
                target = response.headers.get("location")
                if response.status in REDIRECTS and target:
                    self._note_linked_hash(response.headers)
                    url = urljoin(url, target)
                    continue
                self._check_status(response.status, url)
                yield response
                return
            finally:
                connection.close()
        raise Refused(f"'{first.hostname}' redirects more than {self._web.max_redirects} times.")

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        web = self._web
        if web.proxy is not None and web.proxy.serves(parts.hostname or ""):
            return web.proxy.connect(parts, web.is_allowed, web.timeout_s)
        return connect(parts, web.is_allowed, web.timeout_s)

    def _note_linked_hash(self, headers: http.client.HTTPMessage) -> None:
        """Hugging Face names the SHA-256 of a large file in its redirect."""
        digest = headers.get("x-linked-etag", "").strip('"')
        if not self._download.sha256 and _SHA256.fullmatch(digest):
            self._download.sha256 = digest

    def _check_status(self, status: int, url: str) -> None:
        host, shown = split_url(url, self._web.schemes).hostname, shown_address(url)
        if status in (200, 206, 416):
            return
        if status in (401, 403):
            raise Refused(
                f"'{host}' gives '{shown}' to nobody unknown ({status}).",
                f"Accept the licence on its page, and store your token of {host} below.",
            )
        if status == 429 or status >= 500:
            raise Retry(f"'{host}' answers {status}")
        raise Refused(f"'{host}' has no file at '{shown}' ({status}).")

    def _place(self, response: http.client.HTTPResponse, offset: int) -> tuple[int, int | None]:
        """Return where the response's bytes begin in the file, and the size of the file."""
        if (
            response.status == 200
        ):  # the whole file: the server knows no ranges, or the file has changed
            length = response.headers.get("content-length", "")
            return 0, int(length) if length.isdecimal() else None
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        known = self._download.size_bytes
        if found is None or found[1] != str(offset) or known not in (None, int(found[2])):
            self._begin_again()
            raise Retry("the server answers with another part of the file than it was asked for")
        return offset, int(found[2])

    def _finish_or_begin_again(self, response: http.client.HTTPResponse, offset: int) -> None:
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        total = int(found[2]) if found else self._download.size_bytes
        if total != offset or not offset:
            self._begin_again()
            raise Retry("the file on the server is shorter than what has arrived")
        self._on_named(response.headers)

    def _begin_again(self) -> None:
        self._part.unlink(missing_ok=True)
        self._download.received, self._download.etag = 0, ""

    def _check_size(self, total: int | None, start: int) -> None:
        expected = self._download.size_bytes if self._download.sha256 else None
        if None not in (expected, total) and expected != total:
            raise Refused(
                f"The server has a file of {total} bytes instead of {expected}: it is another one."
            )
        self._check_space((total or 0) - start)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if needed + _SPARE_BYTES > free:
            raise StorageError(
                f"The download needs {needed / 1e9:.1f} GB more, and the disk of "
                f"'{self._part.parent}' has {free / 1e9:.1f} GB free.",
                "Free some space and resume.",
            )

    def _read(self, response: http.client.HTTPResponse, start: int) -> None:
        """Append the body to the .part file."""
        with self._part.open("r+b" if self._part.exists() else "w+b") as file:
            file.truncate(start)
            file.seek(start)
            received, is_checked = start, start >= _HEAD_BYTES
            while chunk := response.read1(_CHUNK_BYTES):
                if received // _SPACE_EVERY != (received + len(chunk)) // _SPACE_EVERY:
                    self._check_space(0)
                file.write(chunk)
                received += len(chunk)
                self._download.received = received
                if not is_checked and received >= _HEAD_BYTES:
                    file.seek(0)
                    head = file.read(_HEAD_BYTES)
                    file.seek(received)
                    detect_container(Path(self._download.shown_name), head, received)
                    is_checked = True
                if self._stop.is_set():
                    raise Stopped

    def _received_bytes(self) -> int:
        """Return the bytes in the .part file."""
        try:
            size = self._part.stat().st_size
        except OSError:
            size = 0
        self._download.received = size
        return size
