"""Fetches input images from public URLs only, see `core/public_web`."""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urljoin

from modules.core.errors import UserError
from modules.core.public_web import (
    REDIRECTS,
    connect,
    is_public_address,
    request_path,
    split_url,
)
from modules.params.image_decoding import MAX_FILE_BYTES
from modules.params.settings import Settings

MAX_REDIRECTS = 3
TIMEOUT_S = 15.0
_CHUNK_BYTES = 2**16


def is_url(value: object) -> bool:
    """Return whether a value of a request is a URL instead of a base64 image."""
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def fetch(
    url: str,
    is_allowed: Callable[[str], bool] = is_public_address,
    max_bytes: int = MAX_FILE_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> bytes:
    """Return the content of a URL.

    Args:
        url: With http:// or https://.
        is_allowed: Whether an IP address may be connected to; checked again for each redirect.
        max_bytes: A larger file is refused.
        timeout_s: For the whole fetch, redirects included.

    Raises:
        UserError: the URL is malformed, not public, unreachable or slow, or its content is too large.
    """
    deadline = time.monotonic() + timeout_s
    for _ in range(MAX_REDIRECTS + 1):
        parts = split_url(url)
        try:
            connection = connect(
                parts, is_allowed, _seconds_left(deadline), "Send the image as base64."
            )
            try:
                connection.request("GET", request_path(parts), headers={"Accept": "image/*"})
                response = connection.getresponse()
                target = response.getheader("location")
                if response.status in REDIRECTS and target:
                    url = urljoin(url, target)
                    continue
                if response.status != 200:
                    raise UserError(f"'{url}' answers {response.status} instead of an image.")
                return _read_body(response, connection, max_bytes, deadline)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UserError(f"'{url}' cannot be fetched: {error}.") from None
    raise UserError(f"'{url}' redirects more than {MAX_REDIRECTS} times.")


def _read_body(
    response: http.client.HTTPResponse,
    connection: http.client.HTTPConnection,
    max_bytes: int,
    deadline: float,
) -> bytes:
    chunks: list[bytes] = []
    byte_count = 0
    while True:
        if connection.sock is not None:  # None once the server has closed it; the rest is buffered
            connection.sock.settimeout(_seconds_left(deadline))
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            return b"".join(chunks)
        byte_count += len(chunk)
        if byte_count > max_bytes:
            raise UserError(f"The file is larger than {max_bytes} bytes.")
        chunks.append(chunk)


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it takes too long")
    return left


# Fields of A1111's requests that hold an image, or a list of images or of objects with `data`.
_IMAGE_FIELDS = ("image", "init_images", "mask", "depth_map", "imageList", "data")
_MAX_FETCHED = 16


def fetch_remote_images(
    body: Mapping[str, Any], settings: Settings, fetch: Callable[[str], bytes] = fetch
) -> dict[str, Any]:
    """Return the body with each image URL replaced by the image in base64.

    When fetching is off, URLs stay as they are, and decoding the image refuses them.

    Args:
        body: JSON.
        settings: Whether fetching is on.
        fetch: Returns the content of a URL.

    Raises:
        UserError: a URL is not public, or cannot be fetched.
    """
    if not settings.api_enable_requests:
        return dict(body)
    return {
        key: _fetch_images(value, fetch) if key in _IMAGE_FIELDS else value
        for key, value in body.items()
    }


def _fetch_images(value: Any, fetch: Callable[[str], bytes]) -> Any:  # JSON: anything
    if isinstance(value, list):
        values = cast("list[Any]", value)
        fetched = [_fetch_images(item, fetch) for item in values[:_MAX_FETCHED]]
        return fetched + values[_MAX_FETCHED:]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {k: _fetch_images(v, fetch) if k in _IMAGE_FIELDS else v for k, v in fields.items()}
    if is_url(value):
        return base64.b64encode(fetch(value)).decode("ascii")
    return value
