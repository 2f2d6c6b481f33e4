"""Runs the steps of a pass with one model: its hypernetworks, and what makes a step quicker."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch._dynamo.exc import TorchDynamoException

from modules.backend.batch import Batch
from modules.backend.conditioning.text import PromptConditioning
from modules.backend.denoise import attention, compiled_blocks
from modules.backend.denoise.compiled_blocks import CompilationReporter
from modules.backend.denoise.deep_cache import DeepCache
from modules.backend.denoise.step_extensions import StepExtension
from modules.backend.memory.offload import execution_device
from modules.backend.model import LoadedModel
from modules.backend.pipelines.pass_options import use_step_options
from modules.backend.pipelines.sampling_run import HandOver, SamplingRun, make_run_sigmas
from modules.params.events import Note
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)


def run_steps(
    batch: Batch,
    model: LoadedModel,
    plan: Plan,
    run: SamplingRun,
    conditioning: PromptConditioning,
    extensions: Sequence[StepExtension],
    hands_over: HandOver | None = None,
) -> None:
    """Run the denoising loop with one model, to its end or until that model hands it over.

    Args:
        batch: The batch; its sink receives a note where an option has no effect.
        model: The loaded model.
        plan: Of that model.
        run: Begun.
        conditioning: The prompts as the model encodes them.
        extensions: Take part in every evaluation.
        hands_over: Asked before every evaluation.
    """
    unet, settings = model.components.unet, plan.settings
    run_sigmas = make_run_sigmas(run.plan, model.model_sigmas)
    interval = settings.deep_cache_interval
    cache = DeepCache(interval) if interval > 1 else None
    # The cache of deep layers gets a call first, control units get it with what others have added to it.
    extensions = (*([] if cache is None else [cache]), *extensions)
    _note_attention(batch, model, plan)
    with (
        model.hypernetworks.apply(unet, plan.networks.hypernetworks),
        use_step_options(model.components, plan, batch.draws, cache),
        batch.acceleration.use(model, plan),
    ):
        try:
            with _use_compiled(batch, model, plan) as reporters:
                steps = (*extensions, *reporters)
                model.pipeline.proceed(run, run_sigmas, conditioning, steps, hands_over)
        except TorchDynamoException as error:
            # The run waits for the evaluation that failed, and nothing of it has been used.
            logger.warning("Compiling failed: %s", error)
            model.compiled.obstacle = "the compiler failed, as the log says"
            batch.sink(Note(_compile_note(model.compiled.obstacle)))
            model.pipeline.proceed(run, run_sigmas, conditioning, extensions, hands_over)


def _note_attention(batch: Batch, model: LoadedModel, plan: Plan) -> None:
    name = plan.settings.cross_attention_optimization
    obstacle = attention.find_obstacle(model.components.unet, name)
    if obstacle and batch.index == 0:
        batch.sink(Note(f"PyTorch's own attention is used instead of {name}: {obstacle}."))


@contextmanager
def _use_compiled(
    batch: Batch, model: LoadedModel, plan: Plan
) -> Iterator[tuple[StepExtension, ...]]:
    """Compile the blocks if the options ask for it, and yield what takes part in the steps for it."""
    if not plan.settings.compile_unet:
        yield ()
        return
    unet, compiled = model.components.unet, model.compiled
    obstacle = compiled.obstacle or compiled_blocks.find_obstacle(execution_device(unet))
    if not obstacle and batch.acceleration.is_in_use(unet):
        obstacle = "OpenVINO computes it"
    if not obstacle and compiled_blocks.has_changed_blocks(unet):
        obstacle = f"{_names_of_changes(plan)} changes the blocks of the network"
    if obstacle:
        if batch.index == 0:
            batch.sink(Note(_compile_note(obstacle)))
        yield ()
        return
    with compiled.use(unet):
        yield (CompilationReporter(compiled, batch.sink, batch.progress.phase),)


def _compile_note(obstacle: str) -> str:
    return f"The network is not compiled, since {obstacle}."


def _names_of_changes(plan: Plan) -> str:
    """Return which options of a plan change the blocks."""
    settings = plan.settings
    names = [
        name
        for name, is_on in (
            (
                "Hypertile",
                settings.hypertile_enable_unet or settings.hypertile_enable_unet_secondpass,
            ),
            ("token merging", plan.token_merging_ratio > 0),
            ("a hypernetwork", bool(plan.networks.hypernetworks)),
            ("FP8 weight", plan.model.stores_fp8),
        )
        if is_on
    ]
    return " and ".join(names) or "what moves its weights or controls it"
