"""Stable Diffusion as diffusers pipelines whose loop runs any sampler with any schedule.

Everything but `__call__` is the stock class: its mixins load LoRA, textual inversion and IP-Adapter into the registered
networks, and its offload hooks move them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from modules.backend.denoise.denoiser import Denoiser, Network
from modules.backend.denoise.guidance import GUIDANCES, Guidance, find_guidance
from modules.backend.denoise.prediction import PREDICTIONS, Prediction
from modules.backend.denoise.step_extensions import StepExtension
from modules.backend.memory import estimate
from modules.backend.noise.noise import ImageNoise
from modules.backend.pipelines.sampling_run import HandOver, SamplingRun, make_run_sigmas
from modules.core.registry import Registry
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.samplers import Sampler


class SamplerLoop:
    """The call of a stock Stable Diffusion pipeline with this program's samplers.

    Prompts and images are encoded outside.

    Attributes:
        predictions: The supported prediction types.
        guidances: The supported kinds of guidance; the first that applies is used.
    """

    predictions: Registry[Prediction] = PREDICTIONS
    guidances: Sequence[Guidance] = GUIDANCES
    unet: UNet2DConditionModel  # these, and the hooks, are of the stock pipeline
    scheduler: EulerDiscreteScheduler
    vae_scale_factor: int  # pixels per cell of the latents
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
        # 1. Sigmas
        run_sigmas = make_run_sigmas(plan, model_sigmas)
        # 2. First sample
        run = SamplingRun(plan, run_sigmas, noise, init_latents)
        # 3. to 5.
        self.proceed(run, run_sigmas, conditioning, extensions)
        return run.x

    @torch.no_grad()
    def proceed(
        self,
        run: SamplingRun,
        run_sigmas: RunSigmas,
        conditioning: PromptConditioning,
        extensions: Sequence[StepExtension] = (),
        hands_over: HandOver | None = None,
    ) -> None:
        """Go on with a run until it is finished, or until the rest of it is handed to another model.

        Args:
            run: Begun, by this pipeline or by another one.
            run_sigmas: Of this pipeline's model: they determine the timesteps, and what the network predicts.
            conditioning: The prompts as this model's text encoders encode them.
            extensions: As for a whole run.
            hands_over: Asked before every evaluation whether another model makes it; None runs to the end.
        """
        if run.is_finished:
            return
        plan = run.plan
        # 3. Denoiser
        denoiser = self.make_denoiser(plan, run_sigmas, conditioning, extensions, run.sigmas)
        # 4. Denoising loop
        while not run.is_finished:
            if hands_over is not None and hands_over(run):
                break
            denoised = denoiser(run.x, run.sigma, run.index)
            state = run.state(denoised)
            for extension in extensions:
                extension.on_step(state)
            run.advance(denoised)
        else:
            # 5. Final latents
            for extension in extensions:
                run.x = extension.finish(run.x)
        self.maybe_free_model_hooks()

    def make_denoiser(
        self,
        plan: Plan,
        run_sigmas: RunSigmas,
        conditioning: PromptConditioning,
        extensions: Sequence[StepExtension] = (),
        sigmas: Sequence[float] = (),
    ) -> Denoiser:
        """Return what predicts x0 with the UNet; see `proceed` and `Denoiser`."""
        prediction = self._prediction(plan.sampler, plan.settings)
        network = Network(self.unet, prediction, self._conds_per_call(plan))
        guidance = find_guidance(plan.settings, self.guidances)
        return Denoiser(network, guidance, plan, run_sigmas, conditioning, extensions, sigmas)

    def _conds_per_call(self, plan: Plan) -> int | None:
        """Return how many conditionings the memory has room for in one call, as it is at the start of the run."""
        request, cell = plan.request, self.vae_scale_factor
        cells = request.height // cell, request.width // cell
        return estimate.conds_per_call(self.unet, cells, request.batch_size)

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
