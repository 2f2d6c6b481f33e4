"""Records the forward process of an image, with the loaded checkpoint's sigmas and VAE."""

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
    """Return the frames of the forward process, from the image to noise.

    Each frame is computed directly by the closed form, all from the same noise; the Markov chain is run as well, every
    single step with new noise, and mean and variance of both are recorded.

    Args:
        model: Its sigmas and, in latent space, its VAE are used.
        image: RGB; width and height are multiples of 8.
        count: Number of frames, both ends included.
        seed: Of the noise.
        in_pixels: Whether noise is added to the pixels rather than to the latents.

    Raises:
        UserError: the number of frames is out of range.
        NotFinite: the VAE produced invalid numbers.
    """
    process = ForwardProcess(model.model_sigmas)
    times = process.times(count)
    autoencoder = model.components.vae
    x0 = (vae.image_to_pixels(image) if in_pixels else vae.encode(autoencoder, image)).float().cpu()
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(x0.shape, generator=generator)

    noise = draw()
    chain_moments = _chain_moments(process, x0, draw, times)
    frames: list[ForwardFrame] = []
    x = x0
    for time in times:
        x = process.q_sample(x0, noise, time)
        alpha_bar = process.alpha_bar(time)
        frames.append(
            ForwardFrame(
                time=time,
                beta=process.beta(time),
                alpha_cumprod=alpha_bar,
                snr=process.snr(time),
                image=_to_image(x) if in_pixels else vae.decode(autoencoder, x),
                expected=Moments(
                    float(x0.mean()) * alpha_bar**0.5, float(x0.var()) * alpha_bar + 1 - alpha_bar
                ),
                closed_form=_moments(x),
                step_by_step=next(chain_moments),
            )
        )
    return ForwardRecording(
        frames=tuple(frames),
        value_count=x0.numel(),
        pixel_value_count=3 * image.width * image.height,
        final_sample=x.flatten().numpy(),
        model_sigmas=np.asarray(model.model_sigmas.sigmas, np.float64),
    )


def _chain_moments(
    process: ForwardProcess, x0: Tensor, draw: Callable[[], Tensor], times: Sequence[int]
) -> Iterator[Moments]:
    """Yield the Markov chain's moments at each of the times, which increase."""
    recorded = set(times)
    yield _moments(x0)
    for time, x in enumerate(process.chain(x0, draw, times[-1]), start=1):
        if time in recorded:
            yield _moments(x)


def _moments(x: Tensor) -> Moments:
    return Moments(float(x.mean()), float(x.var()))


def _to_image(x: Tensor) -> Image.Image:
    pixels = ((x[0] + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
