"""Stage 5 of a job: latents to finished images."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.conditioning.init_image import InitImage
from modules.backend.denoise.progress import ProgressReporter
from modules.backend.model import LoadedModel
from modules.params.events import Output, Phase, Sink
from modules.params.requests.init_image import InitImageRequest
from modules.plan.plan import Plan


def decode_unfinished(
    model: LoadedModel,
    progress: ProgressReporter,
    plan: Plan,
    init_image: InitImage | None,
    sink: Sink,
    *,
    is_unrefined: bool,
) -> None:
    """Pass on the job's first image as far as it has come, if somebody wants it."""
    latents = progress.unfinished
    if latents is not None:
        sink(Phase("Decoding"))
        image = decode_image(model, latents, 0, plan, init_image)
        sink(Output("unfinished image", image, is_unrefined=is_unrefined))


def decode_image(
    model: LoadedModel, latents: Tensor, row: int, plan: Plan, init_image: InitImage | None
) -> Image.Image:
    """Return one image of a batch's latents, composited into the init image if there is one.

    Args:
        model: The loaded checkpoint.
        latents: [batch, channels, rows, columns].
        row: Of the image in the batch.
        plan: Of the pass.
        init_image: Of the batch.
    """
    latents = latents[row : row + 1]
    result = vae.decode(model.components.vae, latents)
    if init_image is None:
        return result
    assert isinstance(plan.request, InitImageRequest)
    return init_image.of_image(row).composite(plan.request, plan.settings, latents, result)
