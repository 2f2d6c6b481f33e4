"""The forward process of a picture, with the loaded checkpoint's own noise levels and VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.model import LoadedModel
from modules.params.results import ForwardFrame, ForwardRecording, Moments
from modules.sampling.forward_process import ForwardProcess


def record_forward_process(
    model: LoadedModel, image: Image.Image, count: int, seed: int, in_pixels: bool
) -> ForwardRecording:
    """Return how a picture becomes noise.

    Each frame is drawn at once, by the closed form, from one and the same noise; beside it the chain walks every single
    step with noise of its own, and mean and variance of both are told.

    Args:
        model: Its noise levels and, in latent space, its VAE are used.
        image: RGB; width and height are multiples of 8.
        count: How many moments from the picture to noise are shown, both ends counted.
        seed: Of the noise.
        in_pixels: Whether noise is added to the pixels themselves rather than to the picture's latents.

    Raises:
        UserError: so many moments cannot be shown.
        NotFinite: the VAE produced invalid numbers.
    """
    process = ForwardProcess(model.model_sigmas)
    times = process.times(count)
    autoencoder = model.components.vae
    x0 = (_pixels(image) if in_pixels else vae.encode(autoencoder, image)).float().cpu()
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(x0.shape, generator=generator)

    noise = draw()
    walked = _walk(process, x0, draw, times)
    frames: list[ForwardFrame] = []
    x = x0
    for time in times:
        x = process.q_sample(x0, noise, time)
        left = process.alpha_bar(time)
        frames.append(
            ForwardFrame(
                time=time,
                beta=process.beta(time),
                alpha_cumprod=left,
                snr=process.snr(time),
                image=_picture(x) if in_pixels else vae.decode(autoencoder, x),
                expected=Moments(float(x0.mean()) * left**0.5, float(x0.var()) * left + 1 - left),
                closed_form=_moments(x),
                step_by_step=next(walked),
            )
        )
    return ForwardRecording(
        frames=tuple(frames),
        value_count=x0.numel(),
        pixel_value_count=3 * image.width * image.height,
        final_sample=x.flatten().numpy(),
        model_sigmas=np.asarray(model.model_sigmas.sigmas),
    )


def _walk(
    process: ForwardProcess, x0: Tensor, draw: Callable[[], Tensor], times: Sequence[int]
) -> Iterator[Moments]:
    """Yield the chain's moments at each of the times, which rise."""
    wanted = set(times)
    yield _moments(x0)
    for time, x in enumerate(process.chain(x0, draw, times[-1]), start=1):
        if time in wanted:
            yield _moments(x)


def _moments(x: Tensor) -> Moments:
    return Moments(float(x.mean()), float(x.var()))


def _pixels(image: Image.Image) -> Tensor:
    """Return float32 [1, 3, height, width], -1 to 1."""
    return (
        torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 127.5 - 1
    )


def _picture(x: Tensor) -> Image.Image:
    pixels = ((x[0] + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
