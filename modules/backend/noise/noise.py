"""The noise of each image, from its own seed, equal to A1111's so that its images are reproduced.

One generator per image, never one draw for a batch: an image's noise does not depend on its batch. The image itself
still differs from that of the seed alone by up to 1e-3, because matrix products of another batch size add up in
another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modules.backend.memory.transfers import to_device
from modules.backend.noise.brownian import BrownianTree
from modules.backend.noise.draw_ahead import DrawAhead
from modules.backend.noise.philox import Philox
from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.models.families import LatentFormat
from modules.params.requests.base import MAX_SEED
from modules.plan.plan import ImagePlan, Plan

Shape = tuple[int, int, int]  # channels, rows, columns
Draws = Callable[[Shape], Tensor]  # the next float32 unit noise of one generator
NoiseSource = Callable[[int, torch.device], Draws]  # a generator by its seed

# Above this mean cosine, two noises are interpolated linearly.
_PARALLEL_COSINE = 0.9995


def _torch(seed: int, device: torch.device | str) -> Draws:
    generator = torch.Generator(device).manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator, device=device)


def _cpu(seed: int, device: torch.device) -> Draws:
    del device
    return _torch(seed, "cpu")


def _emulated_cuda(seed: int, device: torch.device) -> Draws:
    del device
    generator = Philox(seed)
    return lambda shape: torch.from_numpy(generator.normal(shape))


def _gpu(seed: int, device: torch.device) -> Draws:
    """Return the generator of a CUDA device, elsewhere its emulation: most of A1111's images come from one."""
    return _torch(seed, device) if device.type == "cuda" else _emulated_cuda(seed, device)


# By the values of the setting randn_source. NV is drawn in numpy, and equal to GPU on an NVIDIA card.
NOISE_SOURCES: Mapping[str, NoiseSource] = {
    "GPU": _gpu,
    "CPU": _cpu,
    "NV": _emulated_cuda,
}


@dataclass(frozen=True)
class NoiseOptions:
    """How noise is drawn.

    Args:
        source: A key of NOISE_SOURCES.
        subseed_strength: Interpolation of the first noise from the seed's to the subseed's, 0 to 1.
        seed_resize_from: (rows, columns) at which the first noise is drawn before it is pasted into the center
            of the image's noise; None draws it at the image's size.
        eta_noise_seed_delta: Added to the seeds for all noise after the first (ENSD).
    """

    source: str = "GPU"
    subseed_strength: float = 0.0
    seed_resize_from: tuple[int, int] | None = None
    eta_noise_seed_delta: int = 0


def noise_options(plan: Plan, latent_format: LatentFormat) -> NoiseOptions:
    """Return the noise options of a plan on a model with these latents."""
    request, settings = plan.request, plan.settings
    height, width = request.seed_resize_from_h, request.seed_resize_from_w
    return NoiseOptions(
        settings.randn_source,
        request.subseed_strength,
        latent_format.cells(width, height) if min(height, width) > 0 else None,
        settings.eta_noise_seed_delta,
    )


class ImageNoise:
    """The noise of a batch, draw after draw.

    Args:
        images: Of the batch, with their seeds.
        shape: Of one image's latents.
        device: Where the noise is used.
        options: How it is drawn.
        sources: The generators by the values of `randn_source`.

    Attributes:
        arithmetic: Of the sigmas that `between` gets.
        images: Of the batch.
        sigmas: All sigmas of the schedule, also those that a run skips: the range of the Brownian motion. Set them
            before `between` is called.
    """

    arithmetic = TORCH_FLOAT32

    def __init__(
        self,
        images: Sequence[ImagePlan],
        shape: Shape,
        device: torch.device,
        options: NoiseOptions,
        sources: Mapping[str, NoiseSource] = NOISE_SOURCES,
    ) -> None:
        self.images = images
        self.sigmas: Sequence[float] = ()
        self._shape = shape
        self._device = device
        self._options = options
        self._source = sources[options.source]
        # One generator per image, from the first draw on.
        self._later_draws: list[Draws] | None = None
        self._trees: list[BrownianTree] | None = None
        self._steps = DrawAhead[tuple[float, float]](self._draw_between, ())
        self._draws = DrawAhead[None](self._draw_next, ())

    def __call__(self) -> Tensor:
        """Return the next unit noise: float32 [batch, channels, rows, columns]."""
        return self._draws.take(None, self._draw_next)

    def draw_ahead(self, intervals: Iterable[tuple[float, float]], draws: int = 0) -> None:
        """Draw the noise of a run in a thread while the network computes.

        Args:
            intervals: What `between` will be asked for, in order; anything else it draws when it is asked.
            draws: How often the next unit noise will be asked for. A card draws it when it is asked: that is one call.
        """
        self._steps = DrawAhead(self._draw_between, intervals)
        if draws and self._generator(0)((1, 1, 1)).device.type == "cpu":
            self._draws = DrawAhead(self._draw_next, [None] * draws)

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the unit noise of a step: the increment of a Brownian motion over sigma, divided by its deviation.

        Each image has its own motion, which depends on its seed alone.
        """
        return self._steps.take((sigma, sigma_next), self._draw_between)

    def _draw_next(self, _: None) -> Tensor:
        if self._later_draws is None:
            draws = [self._generator(image.seed) for image in self.images]
            pairs = zip(self.images, draws, strict=True)
            noise = [self._draw_first(image, draw) for image, draw in pairs]
            delta = self._options.eta_noise_seed_delta
            self._later_draws = (
                [self._generator((image.seed + delta) % (MAX_SEED + 1)) for image in self.images]
                if delta
                else draws
            )
        else:
            noise = [draw(self._shape) for draw in self._later_draws]
        return to_device(torch.stack(noise), self._device)

    def _draw_between(self, interval: tuple[float, float]) -> Tensor:
        sigma, sigma_next = interval
        if self._trees is None:
            low, high = min(value for value in self.sigmas if value > 0), max(self.sigmas)
            self._trees = [
                BrownianTree(image.seed, low, high, self._draw_once) for image in self.images
            ]
        steps = [tree.between(sigma, sigma_next) for tree in self._trees]
        # The difference and its root are rounded to 32 bits, as in k-diffusion.
        distance = np.abs(np.float32(sigma_next) - np.float32(sigma))
        return to_device(torch.stack(steps), self._device) / float(np.sqrt(distance))

    def _generator(self, seed: int) -> Draws:
        return self._source(seed, self._device)

    def _draw_once(self, seed: int) -> Tensor:
        return self._generator(seed)(self._shape)

    def _draw_first(self, image: ImagePlan, draw: Draws) -> Tensor:
        """Return an image's first noise, with subseed and seed resize applied."""
        channels, height, width = self._shape
        drawn_at = (channels, *(self._options.seed_resize_from or (height, width)))
        is_resized = drawn_at != self._shape
        noise = self._generator(image.seed)(drawn_at) if is_resized else draw(drawn_at)
        if self._options.subseed_strength:
            subnoise = self._generator(image.subseed)(drawn_at)
            noise = slerp(noise, subnoise, self._options.subseed_strength)
        return paste_centered(noise, draw(self._shape)) if is_resized else noise


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """Return the spherical interpolation (Shoemake 1985, "Animating Rotation with Quaternion Curves").

    As in A1111, angles are measured over the height alone, one for each channel and column, and two nearly parallel
    noises are interpolated linearly with their weights exchanged.

    Args:
        start: [channels, height, width].
        end: The same.
        t: 0 is the start, 1 the end.
    """
    directions = [noise / torch.norm(noise, dim=1, keepdim=True) for noise in (start, end)]
    cosine = (directions[0] * directions[1]).sum(1, keepdim=True)
    if float(cosine.mean()) > _PARALLEL_COSINE:
        return start * t + end * (1 - t)
    angle = torch.acos(cosine)
    weighted_sum = torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end
    return weighted_sum / torch.sin(angle)


def paste_centered(noise: Tensor, around: Tensor) -> Tensor:
    """Return `around` with `noise` in its center; larger noise is cropped evenly on both sides.

    Args:
        noise: [channels, any height, any width].
        around: [channels, height, width].
    """
    rows, columns = (_overlap(around.shape[side], noise.shape[side]) for side in (1, 2))
    result = around.clone()
    result[:, rows[0], columns[0]] = noise[:, rows[1], columns[1]]
    return result


def _overlap(target: int, source: int) -> tuple[slice, slice]:
    """Return the slice of the target that is written, and the slice of the source that is read."""
    shift = (target - source) // 2
    if shift >= 0:
        return slice(shift, shift + source), slice(0, source)
    # Rounded down as in A1111: an odd difference leaves one row of the target unchanged.
    return slice(0, source + 2 * shift), slice(-shift, source + shift)
