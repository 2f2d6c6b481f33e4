"""What the network is shown of a picture that is repainted: its latents and its depth."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from modules.backend import depth, vae
from modules.backend.loader import Components
from modules.images.resize import crop_and_resize
from modules.models.tasks import no_estimator
from modules.params.depth import DepthRequest


@dataclass(frozen=True)
class Seen:
    """A picture as the network sees it.

    Args:
        latents: [1, channels, height / 8, width / 8], scaled.
        depth: float32 [1, 1, height / 8, width / 8], from -1 (far) to 1 (near), on the UNet's device.
        depth_map: The same for people, in grey, of the picture's size; white is near.
    """

    latents: Tensor
    depth: Tensor
    depth_map: Image.Image


def look(components: Components, request: DepthRequest, name: str) -> Seen:
    """Return what is seen of the request's picture, cut to the request's size.

    Args:
        components: The checkpoint's parts.
        request: With a picture.
        name: The checkpoint's, for messages.

    Raises:
        UserError: there is neither a depth map nor an estimator.
        NotFinite: the VAE produced invalid numbers.
    """
    assert request.init_image is not None, "make_plan refuses a request without a picture"
    size = request.width, request.height
    image = crop_and_resize(request.init_image.to_pil(), *size)
    if request.depth_map is not None:
        depth_map = crop_and_resize(request.depth_map.to_pil().convert("L"), *size)
        values = depth.from_map(depth_map)
    elif components.depth_estimator is not None:
        values = depth.estimate(components.depth_estimator, image)
        depth_map = depth.as_map(values, *size)
    else:
        raise no_estimator(name)
    channel = depth.as_channel(values, *size).to(components.unet.device)
    return Seen(vae.encode(components.vae, image), channel, depth_map)
