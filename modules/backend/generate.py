"""Plan to images, stage by stage."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch

from modules.backend import hires
from modules.backend.acceleration import Acceleration
from modules.backend.batch import Acquire, Batch
from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.backend.conditioning.text import PromptConditioning
from modules.backend.control.preprocess import Preprocessors
from modules.backend.control.unit_effects import UnitEffects
from modules.backend.control.units import prepare_units
from modules.backend.denoise.extension_parts import make_init_extensions, make_step_extensions
from modules.backend.denoise.progress import (
    BatchSkipped,
    ProgressReporter,
    raise_if_interrupted,
)
from modules.backend.denoise.recorder import Recorder
from modules.backend.denoise.step_extensions import ConcatChannels, StepExtension
from modules.backend.memory import estimate
from modules.backend.memory.offload import execution_device
from modules.backend.model import LoadedModel
from modules.backend.networks.embeddings import read_all_vectors
from modules.backend.noise.noise import ImageNoise, NoiseOptions, noise_options
from modules.backend.noise_from_image import find_noise_of_image
from modules.backend.pipelines.pass_options import use_image_options
from modules.backend.pipelines.sampling_run import HandOver, SamplingRun, make_run_sigmas
from modules.backend.stages.decoding import (
    PassResult,
    SampledBatch,
    decode_unfinished,
    is_unrefined,
)
from modules.backend.stages.run_steps import run_steps
from modules.backend.upscale.upscalers import Upscalers
from modules.core.errors import Cancelled, NotFinite
from modules.models.model_spec import ModelSpec
from modules.params.events import CancelToken, Output, Phase, Sink
from modules.params.requests.init_image import InitImageRequest
from modules.plan.noise_from_image import decoding_plan, finds_noise
from modules.plan.plan import HiresPlan, Plan, RefinerPlan


class UNetOverflow(NotFinite):
    """The UNet's output overflowed its precision; a higher precision may avoid it.

    Args:
        model: Whose UNet it is.
        has_networks: Whether the prompt's networks have a part in it.
    """

    def __init__(self, model: ModelSpec, has_networks: bool = False) -> None:
        super().__init__(
            "The UNet produced invalid numbers, so there is no picture to show.",
            "Lower the weights of the LoRAs and hypernetworks in the prompt, or take them out."
            if has_networks
            else "Try another checkpoint or start with --no-half.",
        )
        self.model = model


@dataclass(frozen=True)
class _PassState:
    """The state of a pass between its models, without a model.

    Args:
        run: Its denoising loop.
        size: Width and height of its image before a crop, part of SDXL's conditioning.
        shown_image: The init image that its results are composited into; none in the hires pass.
        extensions: Take part in every evaluation.
        recorder: One of them, in a job that records the process.
        is_refined: Whether the job's refiner has had a turn, in this pass or in the one before.
        units: What its control units do.
    """

    run: SamplingRun
    size: tuple[int, int]
    shown_image: InitImage | None
    extensions: tuple[StepExtension, ...]
    recorder: Recorder | None
    is_refined: bool
    units: UnitEffects


def sample_batch(
    acquire: Acquire,
    upscalers: Upscalers,
    plan: Plan,
    batch_index: int,
    sink: Sink,
    cancel: CancelToken,
    preprocessors: Preprocessors | None = None,
) -> SampledBatch:
    """Return the final latents of a batch.

    Raises:
        Cancelled: the job was interrupted.
        BatchSkipped: the batch was skipped.
        UNetOverflow: a UNet produced invalid numbers.
        NotFinite: the VAE did, in 32-bit floats.
        OutOfMemory: the batch does not fit.
        UserError: an init image has no depth map, and the checkpoint cannot estimate one.
    """
    progress = ProgressReporter(sink, cancel, plan, batch_index)
    draws = random.Random(plan.batches[batch_index][0].seed)
    preprocessors = preprocessors or Preprocessors(upscalers.device)
    acceleration = Acceleration(sink)
    batch = Batch(
        acquire,
        upscalers,
        preprocessors,
        batch_index,
        sink,
        cancel,
        progress,
        draws,
        acceleration,
    )
    hires_pass = plan.hires
    if hires_pass is not None:
        estimate.check(acquire(plan.model).components, hires_pass.plan.request, batch.device)
    result = _run_pass(batch, plan)
    if hires_pass is not None:
        upscaled = _upscale(batch, result, hires_pass)
        hires_plan = replace(hires_pass.plan, record=plan.record)
        if hires_plan.model != result.plan.model:
            sink(Phase(f"Loading {hires_plan.checkpoint.name}"))
        result = _run_pass(batch, hires_plan, upscaled, is_refined=result.is_refined)
    return SampledBatch(batch, plan, result)


def _upscale(batch: Batch, result: PassResult, hires_pass: HiresPlan) -> hires.Upscaled:
    model = batch.acquire(result.plan.model)
    with use_image_options(model.components, result.plan, batch.draws):
        batch.sink(Phase("Upscaling"))
        return hires.upscale(
            model.components,
            result.latents,
            hires_pass.upscaler,
            hires_pass.size,
            batch.upscalers,
            batch.report_tile,
        )


def _run_pass(
    batch: Batch,
    plan: Plan,
    upscaled: hires.Upscaled | None = None,
    *,
    is_refined: bool = False,
) -> PassResult:
    """Return the result of a pass.

    Args:
        batch: The batch.
        plan: Of this pass.
        upscaled: The first pass upscaled, in the hires pass.
        is_refined: Whether the job's refiner has had a turn in the first pass.
    """
    state = _begin_pass(batch, plan, upscaled, is_refined=is_refined)
    if not state.run.is_finished:
        assert plan.refiner is not None, "only a refiner takes over a run"
        plan, state = plan.refiner.plan, replace(state, is_refined=True)
        _refine(batch, plan, state)
    return PassResult(state.run.x, state.shown_image, plan, state.is_refined, state.units)


def _begin_pass(
    batch: Batch, plan: Plan, upscaled: hires.Upscaled | None, *, is_refined: bool
) -> _PassState:
    """Run a pass to its end, or to its refiner's turn."""
    model, request, sink = batch.load(plan), plan.request, batch.sink
    components = model.components
    batch.progress.begin_pass(model.previewer(plan))
    with use_image_options(model.components, plan, batch.draws):
        # 1. Encode the prompt
        size = (request.width, request.height) if upscaled is None else upscaled.size.before_crop
        conditioning = _encode_prompts(model, plan, size, sink)
        # 2. Encode the init image, if there is one
        if upscaled is None:
            init_image = _encode_init_image(batch, model, plan)
        else:
            init_image = _encode_upscaled(model, plan, sink, upscaled)
        # 3. Prepare noise, from each image's own seed
        latent_format, device = components.latent_format, execution_device(components.unet)
        shape, images = (
            latent_format.shape(request.width, request.height),
            plan.batches[batch.index],
        )
        options = noise_options(plan, latent_format)
        noise = ImageNoise(images, shape, device, options)
        if init_image is not None:  # A1111 draws masked content from the seeds alone
            content = ImageNoise(images, shape, device, NoiseOptions(options.source))
            init_image = init_image.with_masked_content(content)
        if upscaled is None and init_image is not None and finds_noise(request):
            decoding = decoding_plan(plan)
            texts = _encode_prompts(model, decoding, size, sink)
            noise = find_noise_of_image(batch, model, plan, decoding, init_image, texts)
        # 4. Denoising loop, with the networks of the prompt
        batch.progress.begin_steps("Sampling" if upscaled is None else "Sampling the larger image")
        run_sigmas = make_run_sigmas(plan, model.model_sigmas)
        latents = None if init_image is None else init_image.latents
        recorder = Recorder() if plan.record and batch.index == 0 else None
        state = _PassState(
            SamplingRun(plan, run_sigmas, noise, latents),
            size,
            init_image if upscaled is None else None,
            (
                *make_step_extensions(plan, batch.index, components, device),
                *make_init_extensions(components, plan, init_image),
                batch.progress,
                *([recorder] if recorder else []),
            ),
            recorder,
            is_refined,
            UnitEffects(),
        )
        hands_over = None if plan.refiner is None else partial(_is_refiners_turn, plan.refiner)
        units = _sample(batch, model, plan, state, conditioning, hands_over)
    batch.progress.change_model(None)
    return replace(state, units=units)


def _is_refiners_turn(refiner: RefinerPlan, run: SamplingRun) -> bool:
    """Return whether the refiner takes over before the next evaluation, as A1111 decides it."""
    by_steps = run.plan.settings.refiner_switch_by_sample_steps
    progress = run.share_of_steps if by_steps else run.run_sigmas.progress_at(run.sigma)
    return progress >= refiner.switch_at


def _refine(batch: Batch, plan: Plan, state: _PassState) -> None:
    """Run a pass to its end with its refiner: the same samples, sigmas and noise, and the prompts as it encodes them.

    Args:
        batch: The batch.
        plan: Of the refiner.
        state: The pass.
    """
    batch.sink(Phase(f"Loading {plan.checkpoint.name}"))
    model = batch.load(plan, reports=False)
    raise_if_interrupted(batch.cancel)
    batch.progress.change_model(model.previewer(plan))
    with use_image_options(model.components, plan, batch.draws):
        conditioning = _encode_prompts(model, plan, state.size, batch.sink)
        batch.progress.begin_steps("Refining")
        if not concat.takes_more_channels(model.components):
            others = [one for one in state.extensions if not isinstance(one, ConcatChannels)]
            state = replace(state, extensions=tuple(others))
        _sample(batch, model, plan, state, conditioning)
    batch.progress.change_model(None)


def _encode_prompts(
    model: LoadedModel, plan: Plan, size: tuple[int, int], sink: Sink
) -> PromptConditioning:
    sink(Phase("Encoding the prompt"))
    request, networks = plan.request, plan.networks
    return model.encode_prompts(
        request.prompt,
        request.negative_prompt,
        plan.timeline,
        plan.settings,
        size,
        networks.words,
        read_all_vectors(networks.embeddings),
    )


def _sample(
    batch: Batch,
    model: LoadedModel,
    plan: Plan,
    state: _PassState,
    conditioning: PromptConditioning,
    hands_over: HandOver | None = None,
) -> UnitEffects:
    """Run the denoising loop with one model, to its end or until that model hands it over; return its control units.

    Args:
        batch: The batch.
        model: The loaded model.
        plan: Of that model.
        state: The pass.
        conditioning: The prompts as the model encodes them.
        hands_over: Asked before every evaluation.
    """
    run, sink = state.run, batch.sink
    units = prepare_units(
        plan,
        model.components,
        model.control_networks,
        batch.preprocessors,
        make_run_sigmas(run.plan, model.model_sigmas),
        batch.index,
    )
    if batch.index == 0 and plan is run.plan:  # a refiner has the control pictures of its pass
        units.send_maps(sink)
    extensions = (*state.extensions, *units.extensions)
    try:
        with units.use():
            run_steps(batch, model, plan, run, conditioning, extensions, hands_over)
    except (Cancelled, BatchSkipped):
        with suppress(NotFinite):  # what was asked for is to stop
            decode_unfinished(
                batch,
                model,
                plan,
                state.shown_image,
                is_unrefined=is_unrefined(plan, state.is_refined),
                finish=units.finish,
            )
        raise
    if not bool(torch.isfinite(run.x).all()):
        networks = plan.networks
        raise UNetOverflow(plan.model, bool(networks.loras or networks.hypernetworks))
    if run.is_finished and state.recorder is not None:
        sink(Phase("Rendering the recorded steps"))
        recording = state.recorder.render(
            model.components, model.latent_to_rgb, model.model_sigmas, run.x
        )
        sink(Output("recording", recording))
    return units


def _encode_init_image(batch: Batch, model: LoadedModel, plan: Plan) -> InitImage | None:
    """Return the encoded init image, None for a request without one."""
    if not isinstance(plan.request, InitImageRequest):
        return None
    batch.sink(Phase("Encoding the image"))
    upscaler = plan.image_upscaler
    scale = batch.upscalers.stretch_by(upscaler, batch.report_tile)
    name = plan.checkpoint.name
    init_image = model.encode_init_image(plan.request, plan.settings, name, upscaler, scale)
    if init_image.depth_map is not None:
        batch.sink(Output("depth map", init_image.depth_map))
    return init_image


def _encode_upscaled(
    model: LoadedModel, plan: Plan, sink: Sink, upscaled: hires.Upscaled
) -> InitImage:
    if upscaled.images:
        sink(Phase("Encoding the image"))
    mask_weight = plan.settings.inpainting_mask_weight
    return hires.encode_upscaled(model.components, upscaled, mask_weight)
