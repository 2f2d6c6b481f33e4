"""What the network is shown of a picture that is repainted, and how a result goes back into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn import functional

from modules.backend import vae
from modules.backend.components import Components
from modules.backend.conditioning import concat, depth
from modules.backend.conditioning.inpaint_mask import (
    LATENT_FILLS,
    InpaintMask,
    SoftInpaintMask,
    make_latent_mask,
)
from modules.images.colour_correction import correct_colours
from modules.images.depth_levels import DepthLevels
from modules.images.inpaint.canvas import Canvas, prepare_canvas
from modules.images.resize import crop_and_resize
from modules.models.compatibility import missing_depth_estimator
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings


@dataclass(frozen=True)
class InitImage:
    """A picture as the network sees it.

    Args:
        latents: [1 or pictures, channels, height / 8, width / 8], scaled.
        canvas: The picture that they are of, and its way back; None in a second pass, which has latents alone.
        concat_cond: What the network sees beside the latents, [1, more channels, height / 8, width / 8]; None for nothing.
        depth_map: The depth for people, in grey, of the picture's size; white is near. None without depth.
        latent_mask: What is repainted, float32 [1, 1, height / 8, width / 8]; None repaints all.
        masked_content: The masked content, by A1111's number.
    """

    latents: Tensor
    canvas: Canvas | None
    concat_cond: Tensor | None = None
    depth_map: Image.Image | None = None
    latent_mask: Tensor | None = None
    masked_content: int = 1

    def with_masked_content(self, noise: Callable[[], Tensor]) -> InitImage:
        """Return it with its masked content where that is made of latents.

        Args:
            noise: Returns the first noise of each picture.
        """
        make = LATENT_FILLS.get(self.masked_content)
        if make is None or self.latent_mask is None:
            return self
        return replace(self, latents=make(self.latents.float(), self.latent_mask, noise))

    def inpaint_mask(self, request: InitImageRequest) -> InpaintMask | None:
        """Return what keeps a part of the picture; None when all is repainted."""
        if self.latent_mask is None or not isinstance(request, Img2ImgRequest):
            return None
        if request.soft_inpainting_enabled:
            return SoftInpaintMask(self.latents.float(), self.latent_mask, request)
        return InpaintMask(self.latents.float(), self.latent_mask)

    def composite(
        self, request: InitImageRequest, settings: Settings, latents: Tensor, result: Image.Image
    ) -> Image.Image:
        """Return a result with the picture's colours, if asked, and in its place in the picture.

        Args:
            request: Says how the mask is meant.
            settings: Of the job.
            latents: Of the result, [1, channels, height / 8, width / 8].
            result: Decoded.
        """
        assert self.canvas is not None, "a second pass has no picture to go back into"
        if settings.img2img_color_correction:
            result = correct_colours(result, self.canvas.image)
        overlay, mask = self.canvas.overlay, self.inpaint_mask(request)
        if overlay is None or mask is None:
            return result
        share = mask.composite_mask(latents, overlay.mask.size)
        if share is not None:  # the composite may not reach beyond the mask
            reach = overlay.mask.point([0, *[255] * 255])
            share = ImageChops.darker(share, reach)
        return overlay.composite(result, share)


def encode_init_image(
    components: Components, request: InitImageRequest, settings: Settings, name: str
) -> InitImage:
    """Return what is seen of the request's picture.

    Args:
        components: The checkpoint's parts.
        request: With a picture.
        settings: Of the job.
        name: The checkpoint's, for messages.

    Raises:
        UserError: there is neither a depth map nor an estimator, or the mask is empty.
        NotFinite: the VAE produced invalid numbers.
    """
    if isinstance(request, DepthRequest):
        return _look_by_depth(components, request, name)
    assert isinstance(request, Img2ImgRequest), "these two repaint pictures"
    return _look_by_mask(components, request, settings.inpainting_mask_weight)


def _look_by_depth(components: Components, request: DepthRequest, name: str) -> InitImage:
    assert request.init_image is not None, "make_plan refuses a request without a picture"
    size = request.width, request.height
    image = crop_and_resize(request.init_image.to_pil(), *size)
    if request.depth_map is not None:
        values = depth.from_depth_map(request.depth_map.to_pil(), *size)
    elif components.depth_estimator is not None:
        values = depth.estimate(components.depth_estimator, image)
    else:
        raise missing_depth_estimator(name)
    levels = DepthLevels.from_request(request)
    channel = depth.to_concat_cond(values, *size, levels).to(components.unet.device)
    depth_map = depth.to_depth_map(values, *size, levels)
    return InitImage(vae.encode(components.vae, image), Canvas(image), channel, depth_map)


def _look_by_mask(components: Components, request: Img2ImgRequest, weight: float) -> InitImage:
    canvas = prepare_canvas(request)
    size = request.width, request.height
    latents = vae.encode(components.vae, canvas.image)
    if canvas.image.size != size:  # A1111's resize mode "latent upscale"
        cells = request.height // 8, request.width // 8
        latents = functional.interpolate(latents, size=cells, mode="bilinear")
        canvas = replace(canvas, image=canvas.image.resize(size, Image.Resampling.BICUBIC))
    rounded = request.mask_round and not request.soft_inpainting_enabled
    pixels = None if canvas.mask is None else _pixel_share(canvas.mask, rounded=rounded)
    beside = concat.make_inpaint_concat_cond(components, canvas.image, pixels, weight)
    share = None
    if canvas.latent_mask is not None:
        share = make_latent_mask(canvas.latent_mask, *size, binary=rounded).to(latents.device)
    content = request.inpainting_fill if share is not None else 1
    return InitImage(latents, canvas, beside, None, share, content)


def _pixel_share(mask: Image.Image, *, rounded: bool) -> Tensor:
    share = torch.from_numpy(np.array(mask))[None, None].float() / 255
    return share.round() if rounded else share
