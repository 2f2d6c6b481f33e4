"""The enlarged images of Extras that were computed last: another restoration, blend or crop of one need not wait for it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from PIL import Image

from modules.models.files.scan import FileStamp
from modules.models.upscaling.upscalers import UpscalerModel
from modules.plan.upscaling import PlannedUpscaler, Tiles

# Of all that are kept; a few large results would fill the memory of a small computer.
_MAX_BYTES = 300 * 2**20
_BYTES_PER_PIXEL = 3
_Key = tuple[bytes, tuple[int, int], FileStamp, Tiles, float]


class ResultCache:
    """Keeps the results of networks; those of filters are computed as fast as they are found."""

    def __init__(self) -> None:
        self._results: OrderedDict[_Key, Image.Image] = OrderedDict()

    def get(
        self,
        image: Image.Image,
        planned: PlannedUpscaler,
        scale: float,
        limit: int,
        compute: Callable[[], Image.Image],
    ) -> Image.Image:
        """Return an enlarged image, computed if it is not there; nobody may draw on it.

        Args:
            image: RGB.
            planned: Enlarges it.
            scale: The factor for both sides.
            limit: How many results are kept, this one included.
            compute: Returns the result.
        """
        method = planned.upscaler.method
        if not isinstance(method, UpscalerModel) or limit < 1:
            self._trim(limit)
            return compute()
        digest = hashlib.sha256(image.tobytes()).digest()
        key = (digest, image.size, method.file.stamp, planned.tiles, scale)
        result = self._results.pop(key, None)
        if result is None:
            result = compute()
        self._results[key] = result
        self._trim(limit)
        return result

    def clear(self) -> None:
        """Forget all results."""
        self._results.clear()

    def _trim(self, limit: int) -> None:
        while len(self._results) > max(0, limit) or self._size_bytes() > _MAX_BYTES:
            self._results.popitem(last=False)

    def _size_bytes(self) -> int:
        return sum(one.width * one.height * _BYTES_PER_PIXEL for one in self._results.values())
