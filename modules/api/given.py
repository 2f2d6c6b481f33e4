"""The pictures of a body: web addresses in their places are fetched, if the options allow that."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, cast

from modules.api.fetch import fetch, is_web_address
from modules.params.settings import Settings

# Where A1111's requests hold pictures; lists of them, or of objects with `data`, too.
_PLACES = ("image", "init_images", "mask", "depth_map", "imageList", "data")
_MOST_FETCHED = 16


def with_fetched(body: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
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
    if is_web_address(value):
        return base64.b64encode(fetch(value)).decode("ascii")
    return value
