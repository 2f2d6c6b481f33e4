"""Stable Diffusion as diffusers pipelines whose loop runs any sampler with any schedule.

Everything but `__call__` is the stock class: its mixins load LoRA, textual inversion and IP-Adapter into the registered
networks, and its offload hooks move them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from modules.backend.components import Components
from modules.backend.conditioning.text import PromptConditioning
from modules.backend.denoise.denoiser import Denoiser, Network, image_steps
from modules.backend.denoise.guidance import GUIDANCES, Guidance, find_guidance
from modules.backend.denoise.prediction import PREDICTIONS, Prediction
from modules.backend.denoise.step_extensions import StepExtension, StepState
from modules.backend.noise.noise import ImageNoise
from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.core.registry import Registry
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import visited_sigmas
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import Sampler


class SamplerLoop:
    """The call of a stock Stable Diffusion pipeline with this program's samplers.

    Prompts and images are encoded outside.

    Attributes:
        predictions: The prediction types it knows.
        guidances: The ways of guidance it knows; the first that applies is used.
    """

    predictions: Registry[Prediction] = PREDICTIONS
    guidances: Sequence[Guidance] = GUIDANCES
    unet: UNet2DConditionModel  # these, and the hooks, are of the stock pipeline
    scheduler: EulerDiscreteScheduler
    maybe_free_model_hooks: Callable[[], None]

    @torch.no_grad()
    def __call__(
        self,
        plan: Plan,
        model_sigmas: ModelSigmas,
        conditioning: PromptConditioning,
        noise: ImageNoise,
        init_latents: Tensor | None = None,
        extensions: Sequence[StepExtension] = (),
    ) -> Tensor:
        """Return the final latents of one batch, [batch, channels, rows, columns].

        Args:
            plan: Sampler, schedule, steps, guidance and options.
            model_sigmas: The sigmas that the model was trained on.
            conditioning: The encoded prompts.
            noise: One generator per image, not drawn from yet.
            init_latents: Of the init image, [1 or batch, channels, rows, columns], scaled; None starts from
                noise alone.
            extensions: Take part in every evaluation of the network, in this order.
        """
        sampler, settings = plan.sampler, plan.settings
        # 1. Sigmas
        run_sigmas = make_run_sigmas(plan, model_sigmas)
        start = _start(plan, run_sigmas, has_init_image=init_latents is not None)
        noise.sigmas = run_sigmas.all_sigmas(*image_steps(plan))
        # 2. First sample
        if init_latents is None:
            assert start is not None, "only a run from an init image can be empty"
            x = noise() * (start.noise_sigma * start.scale)
        else:
            init_latents = init_latents.float().expand(len(noise.images), -1, -1, -1)
            if start is None:  # a hires pass of strength 0
                return init_latents
            x = (init_latents + noise() * start.noise_sigma) * start.scale
        # 3. Denoiser
        sigmas = _known_sigmas(sampler, start, settings)
        denoiser = Denoiser(
            Network(self.unet, self._prediction(sampler, settings)),
            find_guidance(settings, self.guidances),
            plan,
            run_sigmas,
            conditioning,
            extensions,
            sigmas,
        )
        # 4. Denoising loop
        steps = sampler.run(x, start.sigmas, noise, settings)
        x, sigma = next(steps)
        index = 0
        while True:
            denoised = denoiser(x, sigma, index)
            total = _estimate_total(start, index, sigma) if sampler.is_adaptive else len(sigmas)
            state = StepState(index, total, x, sigma, denoised.x0, denoised.difference)
            for extension in extensions:
                extension.on_step(state)
            index += 1
            try:
                x, sigma = steps.send(
                    (denoised.x0, denoised.uncond_x0) if sampler.needs_uncond else denoised.x0
                )
            except StopIteration as end:
                x = end.value
                break
        # 5. Final latents
        for extension in extensions:
            x = extension.finish(x)
        self.maybe_free_model_hooks()
        return x

    def _prediction(self, sampler: Sampler, settings: Settings) -> Prediction:
        """Return what the UNet's output is taken for."""
        name = self.scheduler.config["prediction_type"]
        option = sampler.v_prediction_option
        if name == "v_prediction" and option and not getattr(settings, option):
            name = "epsilon"
        return self.predictions.get(name)


class SamplerPipeline(SamplerLoop, StableDiffusionPipeline):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride] - the stock call has 25 arguments of its own
    """The stock pipeline of Stable Diffusion 1.x and 2.x with this loop."""


class SamplerXLPipeline(SamplerLoop, StableDiffusionXLPipeline):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride] - likewise
    """The stock pipeline of SDXL with this loop."""


def make_pipeline(components: Components) -> SamplerPipeline | SamplerXLPipeline:
    """Return the pipeline of loaded components.

    Its scheduler describes the noise schedule and the prediction type, to this pipeline and to stock ones built from
    the same components; it takes no step here.
    """
    alphas = components.alphas_cumprod.double().cpu()
    previous = torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])
    scheduler = EulerDiscreteScheduler(
        num_train_timesteps=len(alphas),
        trained_betas=(1 - alphas / previous).tolist(),
        prediction_type=components.prediction_type,
        steps_offset=1,
    )
    if components.micro_conditioning:
        by_name = {encoder.name: encoder.network for encoder in components.text_encoders}
        return SamplerXLPipeline(
            vae=components.vae,
            text_encoder=by_name.get("clip_l"),  # pyright: ignore[reportArgumentType] - the refiner has none
            text_encoder_2=by_name.get("clip_g"),  # pyright: ignore[reportArgumentType] - it has a projection
            tokenizer=None,  # pyright: ignore[reportArgumentType] - as below
            tokenizer_2=None,  # pyright: ignore[reportArgumentType]
            unet=components.unet,
            scheduler=scheduler,  # pyright: ignore[reportArgumentType]
            add_watermarker=False,
        )
    return SamplerPipeline(
        vae=components.vae,
        text_encoder=components.text_encoders[0].network,  # pyright: ignore[reportArgumentType] - CLIP with a projection too
        tokenizer=None,  # pyright: ignore[reportArgumentType] - prompts are split by prompt/chunks
        unet=components.unet,
        scheduler=scheduler,  # pyright: ignore[reportArgumentType] - any of diffusers' schedulers
        safety_checker=None,  # pyright: ignore[reportArgumentType] - may be missing
        feature_extractor=None,  # pyright: ignore[reportArgumentType] - likewise
        requires_safety_checker=False,
    )


def make_run_sigmas(plan: Plan, model_sigmas: ModelSigmas) -> RunSigmas:
    """Return the sigmas of a plan's run."""
    return RunSigmas(
        plan.sampler,
        plan.schedule,
        plan.request.steps,
        model_sigmas,
        plan.settings,
        TORCH_FLOAT32,
    )


def add_extra_noise(start: RunStart, settings: Settings) -> RunStart:
    """Return the start of an img2img run with the extra noise and the noise multiplier of the settings.

    A1111 multiplies the noise before it is added, and also adds img2img_extra_noise times the noise.
    """
    noise_sigma = start.noise_sigma + settings.img2img_extra_noise
    return replace(start, noise_sigma=noise_sigma * settings.initial_noise_multiplier)


def _start(plan: Plan, run_sigmas: RunSigmas, *, has_init_image: bool) -> RunStart | None:
    """Return the start of the run; None where the init image stays as it is."""
    if not has_init_image:
        return run_sigmas.from_noise()
    strength, fix_steps = image_steps(plan)
    assert strength is not None, "only a request with a strength has an init image"
    start = run_sigmas.from_image(strength, fix_steps)
    return None if start is None else add_extra_noise(start, plan.settings)


def _known_sigmas(sampler: Sampler, start: RunStart, settings: Settings) -> Sequence[float]:
    """Return the sigma of every evaluation; none for an adaptive sampler, which decides during the run."""
    if sampler.is_adaptive:
        return ()
    denoised = (0.0, 0.0) if sampler.needs_uncond else 0.0
    return visited_sigmas(sampler.run, start.sigmas, settings, denoised, TORCH_FLOAT32)


def _estimate_total(start: RunStart, index: int, sigma: float) -> int:
    """Return the estimated number of evaluations of an adaptive run, from its progress in log sigma."""
    first, last = start.sigmas[0], start.sigmas[-1]
    progress = math.log(first / sigma) / math.log(first / last)
    return index + 1 + math.ceil((1 - progress) * (index + 1) / max(progress, 0.05))
