"""Finds the noise of an init image with the model of a pass, before the pass begins."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.backend.batch import Batch
from modules.backend.conditioning.init_image import InitImage
from modules.backend.conditioning.text import PromptConditioning
from modules.backend.denoise.progress import raise_if_interrupted
from modules.backend.denoise.step_extensions import ConcatChannels
from modules.backend.model import LoadedModel
from modules.backend.noise.image_noise import FoundNoise, find_noise
from modules.backend.noise.noise import noise_options
from modules.backend.pipelines.pass_options import use_step_options
from modules.backend.pipelines.sampling_run import make_run_sigmas
from modules.params.events import Phase
from modules.params.requests.noise_from_image import NoiseFromImageFields
from modules.plan.plan import Plan


@torch.no_grad()
def find_noise_of_image(
    batch: Batch,
    model: LoadedModel,
    plan: Plan,
    decoding: Plan,
    init_image: InitImage,
    conditioning: PromptConditioning,
) -> FoundNoise:
    """Return the noise of a batch whose first draw is that of the init image.

    Args:
        batch: The batch.
        model: Of the pass.
        plan: Of the pass.
        decoding: See `decoding_plan`.
        init_image: Encoded.
        conditioning: The encoded prompts of the inversion.

    Raises:
        Cancelled: the job was interrupted.
        BatchSkipped: the batch was skipped.
    """
    request, components = plan.request, model.components
    assert isinstance(request, NoiseFromImageFields), "`finds_noise` says which requests have it"
    run_sigmas = make_run_sigmas(decoding, model.model_sigmas)
    channels = init_image.concat_cond
    extensions = [] if channels is None else [ConcatChannels(channels)]
    denoiser = model.pipeline.make_denoiser(decoding, run_sigmas, conditioning, extensions)

    def denoise(x: Tensor, sigma: float, index: int) -> Tensor:
        raise_if_interrupted(batch.cancel)
        done = request.decode_steps - index
        batch.sink(Phase(f"Finding the noise of the picture, {done} of {request.decode_steps}"))
        return denoiser(x, sigma, index).x0

    latents = init_image.latents.float()
    with (
        model.hypernetworks.apply(components.unet, plan.networks.hypernetworks),
        use_step_options(components, plan, batch.draws, None),
        batch.acceleration.use(model, plan),
    ):
        found = find_noise(
            latents[:1],
            run_sigmas.sigmas(request.decode_steps),
            denoise,
            adjusts_sigma=request.decode_sigma_adjustment,
        )
    return FoundNoise(
        plan.batches[batch.index],
        latents,
        found,
        make_run_sigmas(plan, model.model_sigmas).sigmas(plan.request.steps)[0],
        noise_options(plan, components.latent_format),
        request.decode_randomness,
    )
