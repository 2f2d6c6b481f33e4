"""Remembers encoded prompts of all models, between jobs and while a model is out of memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from torch import Tensor

from modules.backend.conditioning.text import Conditioning

# On the device: an SDXL prompt of one chunk has 0.3 MB in 16 bits, one of SD 1.x 0.2 MB in 32.
MAX_BYTES = 32 << 20


class PromptCache:
    """Encoded prompts by what they depend on; the least recently used ones leave first.

    Args:
        max_bytes: Of all tensors together. The latest prompt is kept whatever its size.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._conditionings: dict[Hashable, Conditioning] = {}  # most recently used last

    def find(self, key: Hashable) -> Conditioning | None:
        """Return what is remembered, None for nothing."""
        conditioning = self._conditionings.pop(key, None)
        if conditioning is not None:
            self._conditionings[key] = conditioning
        return conditioning

    def keep(self, key: Hashable, conditioning: Conditioning) -> None:
        """Remember an encoded prompt.

        Args:
            key: All that its numbers depend on.
            conditioning: As the text encoders gave it, without sizes.
        """
        self._drop(key)
        self._conditionings[key] = conditioning
        self._bytes += _size(conditioning)
        while self._bytes > self._max_bytes and len(self._conditionings) > 1:
            self._drop(next(iter(self._conditionings)))

    def clear(self) -> None:
        """Forget everything."""
        self._conditionings.clear()
        self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        dropped = self._conditionings.pop(key, None)
        if dropped is not None:
            self._bytes -= _size(dropped)


def _size(conditioning: Conditioning) -> int:
    return sum(tensor.nbytes for tensor in _tensors(conditioning))


def _tensors(conditioning: Conditioning) -> Iterator[Tensor]:
    yield from conditioning.hidden
    yield from conditioning.pooled or ()
