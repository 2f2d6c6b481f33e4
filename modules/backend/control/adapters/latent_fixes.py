"""Changes of what the UNet predicts of the clean latents: the colours of a tile, and what an inpainting unit keeps.

As the preprocessors tile_colorfix, tile_colorfix+sharp and inpaint_only of sd-webui-controlnet.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.models.prediction_facts import PredictionType


@dataclass(frozen=True)
class LatentSource:
    """What a change of the predicted latents needs.

    Args:
        latents: Of the control image, [1 or batch, channels, rows, columns].
        alphas_cumprod: Of the checkpoint, [timesteps].
        prediction_type: What its UNet predicts.
        weight: Share of the change, 0 to 1.
    """

    latents: Tensor
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    weight: float


def alpha_at(alphas_cumprod: Tensor, call: UNetCall) -> Tensor:
    """Return the share of signal of a call's sample, float32 on its device, without waiting for the device."""
    alphas = alphas_cumprod.to(call.sample.device, torch.float32)
    return alphas[call.timestep.to(alphas.device).round().long()]


class LatentFix(StepExtension):
    """Changes the predicted clean latents of every row.

    The change is done on the prediction, before guidance, since a part of it may be for the negative prompt alone.

    Args:
        source: The control image's latents.
    """

    def __init__(self, source: LatentSource) -> None:
        self._source = source

    def unet_output(self, call: UNetCall, output: Tensor) -> Tensor:
        """Return the prediction for the changed latents."""
        source = self._source
        alpha = alpha_at(source.alphas_cumprod, call)
        signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
        sample = call.sample[:, : output.shape[1]].float()
        is_v = source.prediction_type == "v_prediction"
        # Of epsilon the latents times the signal, which are finite where there is no signal at all.
        predicted = sample * (signal if is_v else 1) - noise * output.float()
        copies = len(output) // len(source.latents)
        known = source.latents.to(output.device, torch.float32).repeat(copies, 1, 1, 1)
        fixed = self.fix(call, predicted, known * (1 if is_v else signal))
        return output - ((fixed - predicted) * source.weight / noise).to(output.dtype)

    @abstractmethod
    def fix(self, call: UNetCall, predicted: Tensor, known: Tensor) -> Tensor:
        """Return the changed latents; both are multiplied by the same factor.

        Args:
            call: Of the UNet.
            predicted: [rows, channels, height, width].
            known: Of the control image, likewise.
        """


class ColourFix(LatentFix):
    """Gives the predicted latents the control image's colours: what is left of it after a blur.

    Args:
        source: The control image's latents.
        radius: Of the blur in cells of latents.
        sharpness: Share of detail that is taken out of the negative prompt's prediction, and thus added to the image's.
    """

    def __init__(self, source: LatentSource, radius: int, sharpness: float = 0.0) -> None:
        super().__init__(source)
        self._radius = radius
        self._sharpness = sharpness

    def fix(self, call: UNetCall, predicted: Tensor, known: Tensor) -> Tensor:
        """Return the predicted latents with the control image's colours."""
        fixed = predicted - blur(predicted, self._radius) + blur(known, self._radius)
        if self._sharpness > 0 and any(call.is_uncond):
            batch = len(fixed) // len(call.is_uncond)
            for prompt, is_uncond in enumerate(call.is_uncond):
                if is_uncond:
                    rows = slice(prompt * batch, (prompt + 1) * batch)
                    smooth = blur(fixed[rows], self._radius)
                    fixed[rows] = torch.lerp(fixed[rows], smooth, self._sharpness)
        return fixed


class KeptLatents(LatentFix):
    """Keeps the control image's latents outside of a mask.

    Args:
        source: The control image's latents.
        mask: 1 where the image is new, [1 or batch, 1, height, width] in pixels.
    """

    def __init__(self, source: LatentSource, mask: Tensor) -> None:
        super().__init__(source)
        side = mask.shape[-1] // source.latents.shape[-1]
        # A cell is new where it, or an adjacent pixel, is.
        self._mask = functional.max_pool2d(mask, side + 2, stride=side, padding=1)

    def fix(self, call: UNetCall, predicted: Tensor, known: Tensor) -> Tensor:
        """Return the predicted latents within the mask, the control image's outside of it."""
        del call
        mask = self._mask.to(predicted).repeat(len(predicted) // len(self._mask), 1, 1, 1)
        return known + mask * (predicted - known)


@dataclass(frozen=True)
class OtherChannels(StepExtension):
    """Gives an inpainting UNet the mask and the picture of a unit in place of its own channels.

    Args:
        channels: [1, extra channels, rows, columns].
        latent_channels: Of the sample, before them.
    """

    channels: Tensor
    latent_channels: int

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the call with these channels."""
        rows = len(call.sample)
        channels = self.channels.to(call.sample).expand(rows, -1, -1, -1)
        sample = torch.cat([call.sample[:, : self.latent_channels], channels], dim=1)
        return replace(call, sample=sample)


def blur(latents: Tensor, radius: int) -> Tensor:
    """Return the mean of the cells around each, continued beyond the border."""
    padded = functional.pad(latents, (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
