"""DeepCache (Ma et al. 2023, "DeepCache: Accelerating Diffusion Models for Free"): remembers the UNet's deep layers.

What the deep layers return changes little from step to step. In most steps only the first down block and the last
up block are computed; the others return what they did in the last full step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from modules.backend.denoise.step_extensions import StepExtension, UNetCall


class DeepCache(StepExtension):
    """Decides which calls of the UNet are full, and holds what the deep layers returned.

    Args:
        interval: Every so many evaluations are full ones.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._index = -1
        self._call = 0  # within an evaluation: prompts of other lengths have calls of their own
        self._place = ""  # of a call that is not the image's own
        self._results: dict[tuple[str, int, int], tuple[int, Any]] = {}  # rows and result

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Count the calls of an evaluation."""
        self._call = self._call + 1 if call.index == self._index else 0
        self._index = call.index
        return call

    @contextmanager
    def apart(self, place: str) -> Iterator[None]:
        """Keep the results of a further call within an evaluation apart.

        Args:
            place: What it is for; the same at every evaluation.
        """
        self._place = place
        try:
            yield
        finally:
            self._place = ""

    def run(self, layer: int, block: nn.Module, inputs: tuple[Any, ...], kwargs: Any) -> Any:
        """Return what a deep block returns, or what it did in the last full evaluation.

        Args:
            layer: Number of the block.
            block: The block.
            inputs: Of it.
            kwargs: Likewise, by name.
        """
        key = (self._place, self._call, layer)
        sample = kwargs["hidden_states"] if "hidden_states" in kwargs else inputs[0]
        remembered = None if self._index % self._interval == 0 else self._results.get(key)
        # Without the negative prompt a call has fewer rows.
        if remembered is None or remembered[0] != len(sample):
            remembered = self._results[key] = len(sample), block(*inputs, **kwargs)
        return remembered[1]


class _Remembered(nn.Module):
    """Replaces one of the deep blocks of a UNet."""

    def __init__(self, layer: int, block: nn.Module, cache: DeepCache) -> None:
        super().__init__()
        self.block = block
        self._layer, self.cache = layer, cache

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what the UNet asks its blocks, such as has_cross_attention
            return getattr(super().__getattr__("block"), name)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Return the block's result of this or of an earlier evaluation."""
        return self.cache.run(self._layer, self.block, inputs, kwargs)


def find_cache(unet: UNet2DConditionModel) -> DeepCache | None:
    """Return what remembers the deep layers of a UNet at present, None if nothing does."""
    mid: Any = unet.mid_block
    return mid.cache if isinstance(mid, _Remembered) else None


@contextmanager
def remember_deep_layers(unet: UNet2DConditionModel, cache: DeepCache | None) -> Iterator[None]:
    """Let a UNet compute its deep layers only where the cache says so.

    Args:
        unet: The UNet.
        cache: Also a step extension of the run; None changes nothing.
    """
    down, up, mid = unet.down_blocks, unet.up_blocks, unet.mid_block
    if cache is None or mid is None:
        yield
        return
    deep = [*down[1:], mid, *up[:-1]]
    substitutes = [_Remembered(layer, block, cache) for layer, block in enumerate(deep)]
    split = len(down) - 1
    unet.down_blocks = nn.ModuleList([down[0], *substitutes[:split]])
    unet.mid_block = substitutes[split]  # pyright: ignore[reportAttributeAccessIssue] - it runs like one
    unet.up_blocks = nn.ModuleList([*substitutes[split + 1 :], up[-1]])
    try:
        yield
    finally:
        unet.down_blocks, unet.mid_block, unet.up_blocks = down, mid, up
