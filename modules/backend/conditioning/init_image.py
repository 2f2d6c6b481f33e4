"""Encodes an init image with its mask or depth, and composites the result onto it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image
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
    mask_to_tensor,
)
from modules.backend.loading.layers import circular_padding
from modules.backend.memory.offload import execution_device
from modules.images.colour_correction import correct_colours
from modules.images.depth_levels import DepthLevels
from modules.images.inpaint.canvas import Canvas, prepare_canvas
from modules.images.resize import Stretch, crop_and_resize, stretch
from modules.models.compatibility import missing_depth_estimator
from modules.params.requests.base import GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.noise_from_image import NoiseFromImageFields
from modules.params.settings import Settings
from modules.plan.upscaling import PlannedUpscaler


@dataclass(frozen=True)
class InitImage:
    """An encoded init image.

    Args:
        latents: [1 or batch, channels, rows, columns], scaled.
        canvas: The image that was encoded, with its overlay; None in a hires pass, which has latents alone.
        concat_cond: Extra UNet input channels, [1 or batch, extra channels, rows, columns]; None for none.
        depth_map: The depth as a greyscale image of the init image's size; white is near. None without depth.
        latent_mask: float32 [1, 1, rows, columns], 1 where latents are repainted; None repaints all.
        masked_content: A1111's number of the masked content.
    """

    latents: Tensor
    canvas: Canvas | None
    concat_cond: Tensor | None = None
    depth_map: Image.Image | None = None
    latent_mask: Tensor | None = None
    masked_content: int = 1

    def with_masked_content(self, noise: Callable[[], Tensor]) -> InitImage:
        """Return it with masked content of latent noise or latent nothing filled in; unchanged for the others.

        Args:
            noise: Returns the first noise of each image.
        """
        fill = LATENT_FILLS.get(self.masked_content)
        if fill is None or self.latent_mask is None:
            return self
        return replace(self, latents=fill(self.latents.float(), self.latent_mask, noise))

    def of_image(self, row: int) -> InitImage:
        """Return it with the latents of one image of the batch; masked content is each image's own noise."""
        return (
            self if len(self.latents) == 1 else replace(self, latents=self.latents[row : row + 1])
        )

    def inpaint_mask(self, request: InitImageRequest) -> InpaintMask | None:
        """Return the mask of the denoising loop; None when all is repainted."""
        if self.latent_mask is None or not isinstance(request, Img2ImgRequest):
            return None
        if request.soft_inpainting_enabled:
            return SoftInpaintMask(self.latents.float(), self.latent_mask, request)
        return InpaintMask(self.latents.float(), self.latent_mask)

    def composite(
        self, request: InitImageRequest, settings: Settings, latents: Tensor, result: Image.Image
    ) -> Image.Image:
        """Return a result with colour correction, if enabled, composited onto the init image.

        Args:
            request: With the mask options.
            settings: Of the job.
            latents: Of the result, [1, channels, rows, columns].
            result: Decoded.
        """
        assert self.canvas is not None, "a hires pass has no init image to composite onto"
        if settings.img2img_color_correction:
            result = correct_colours(result, self.canvas.image)
        overlay, mask = self.canvas.overlay, self.inpaint_mask(request)
        if overlay is None or mask is None:
            return result
        return overlay.composite(result, mask.composite_mask(latents, result.size))


@dataclass(frozen=True)
class InitImageInputs:
    """All that an encoded init image depends on except the checkpoint's components.

    The encoder gets nothing else, so that equal inputs mean equal results.

    Args:
        request: With an init image; every field that only counts after the encoding has its default.
        mask_weight: See `make_inpaint_concat_cond`.
        tiling: Whether convolutions pad each edge with the opposite one.
        upscaler: Of images that are to become larger; None enlarges by Lanczos.
    """

    request: InitImageRequest
    mask_weight: float
    tiling: bool
    upscaler: PlannedUpscaler | None = None

    @classmethod
    def from_request(
        cls,
        request: InitImageRequest,
        settings: Settings,
        upscaler: PlannedUpscaler | None = None,
    ) -> InitImageInputs:
        """Return the inputs of a request with the settings and the upscaler of its job."""
        later = {
            *GenerationRequest.model_fields,
            *NoiseFromImageFields.model_fields,
            "denoising_strength",
        }
        names = type(request).model_fields.keys() - later | {"width", "height"}
        return cls(
            type(request).model_construct(**{name: getattr(request, name) for name in names}),
            settings.inpainting_mask_weight,
            settings.tiling,
            upscaler,
        )


def encode_init_image(
    components: Components, inputs: InitImageInputs, name: str, scale: Stretch = stretch
) -> InitImage:
    """Return the encoded init image of a request.

    Args:
        components: Of the checkpoint.
        inputs: Of the request and the settings of its job.
        name: The checkpoint's, for messages.
        scale: Runs the upscaler of the inputs.

    Raises:
        UserError: there is neither a depth map nor an estimator, or the mask is empty.
        NotFinite: the VAE produced invalid numbers.
    """
    request = inputs.request
    with circular_padding(components.vae, enabled=inputs.tiling):
        if isinstance(request, DepthRequest):
            return _encode_for_depth(components, request, name, scale)
        assert isinstance(request, Img2ImgRequest), "only these two kinds have an init image"
        return _encode_for_img2img(components, request, inputs.mask_weight, scale)


def _encode_for_depth(
    components: Components, request: DepthRequest, name: str, scale: Stretch
) -> InitImage:
    assert request.init_image is not None, "make_plan refuses a request without an init image"
    size = request.width, request.height
    image = crop_and_resize(request.init_image.to_pil(), *size, scale)
    if request.depth_map is not None:
        values = depth.from_depth_map(request.depth_map.to_pil(), *size)
    elif components.depth_estimator is not None:
        values = depth.estimate(components.depth_estimator, image)
    else:
        raise missing_depth_estimator(name)
    levels = DepthLevels.from_request(request)
    cells = components.latent_format.cells(*size)
    concat_cond = depth.to_concat_cond(values, cells, levels).to(execution_device(components.unet))
    depth_map = depth.to_depth_map(values, *size, levels)
    return InitImage(vae.encode(components.vae, image), Canvas(image), concat_cond, depth_map)


def _encode_for_img2img(
    components: Components, request: Img2ImgRequest, mask_weight: float, scale: Stretch
) -> InitImage:
    canvas = prepare_canvas(request, scale)
    size = request.width, request.height
    cells = components.latent_format.cells(*size)
    latents = vae.encode(components.vae, canvas.image)
    if latents.shape[2:] != cells:  # A1111's resize mode "latent upscale"
        latents = functional.interpolate(latents, size=cells, mode="bilinear")
    binary = request.mask_round and not request.soft_inpainting_enabled
    pixel_mask = None if canvas.mask is None else mask_to_tensor(canvas.mask, binary=binary)
    concat_cond = concat.make_inpaint_concat_cond(
        components, stretch(canvas.image, *size), pixel_mask, mask_weight
    )
    latent_mask = None
    if canvas.latent_mask is not None:
        latent_mask = make_latent_mask(canvas.latent_mask, cells, binary=binary).to(latents.device)
    content = request.inpainting_fill if latent_mask is not None else 1
    return InitImage(latents, canvas, concat_cond, None, latent_mask, content)
