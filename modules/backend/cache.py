"""The loaded checkpoints. Their only owner: what is dropped here is gone from memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from modules.backend import conditioning, loader
from modules.backend.conditioning import Conditioning
from modules.backend.guidance import Steering
from modules.backend.loader import Choices, Components, Precision
from modules.backend.picture import Seen, look
from modules.backend.preview import PreviewMap
from modules.models.file_cache import read_prediction_type, write_prediction_type
from modules.models.model_spec import ModelSpec
from modules.models.scan import FileStamp
from modules.params.requests.base import GenerationRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.prompt.chunks import Chunker
from modules.prompt.schedule import ScheduledText, StepTimeline
from modules.prompt.sub_prompts import parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.model_sigmas import ModelSigmas

logger = logging.getLogger(__name__)

_REMEMBERED_PROMPTS = 32


class LoadedModel:
    """A checkpoint's components on the device, and what is derived from them once.

    Args:
        components: As loaded, already on the device.
        tokenizer: Splits prompts for the text encoder.
    """

    def __init__(self, components: Components, tokenizer: ClipTokenizer) -> None:
        self.components = components
        self._tokenizer = tokenizer
        self._prompts: dict[tuple[tuple[ScheduledText, ...], Chunker, int], Conditioning] = {}
        self._picture: tuple[tuple[object, ...], Seen] | None = None

    @cached_property
    def levels(self) -> ModelSigmas:
        """Return the noise levels the model was trained on."""
        return ModelSigmas(self.components.alphas_cumprod.double().cpu().numpy())

    @cached_property
    def preview(self) -> PreviewMap:
        """Return the cheap map from latents to colours."""
        return PreviewMap.fit(self.components.vae)

    def steering(
        self, prompt: str, negative_prompt: str, timeline: StepTimeline, settings: Settings
    ) -> Steering:
        """Return what a pass's prompts become, from memory when they were asked for lately.

        Args:
            prompt: As the request has it, with networks still in it.
            negative_prompt: Likewise.
            timeline: The evaluations that the pass is planned to have.
            settings: Emphasis, clip skip and the like.
        """
        chunker = Chunker.from_settings(self._tokenizer, settings, self.components.padding)
        skip = settings.CLIP_stop_at_last_layers
        strands = parse_prompt(prompt, timeline)
        needs_empty = settings.pad_cond_uncond and not settings.pad_cond_uncond_v0
        return Steering(
            tuple(self._encode(strand.texts, chunker, skip) for strand in strands),
            self._encode(parse_negative_prompt(negative_prompt, timeline).texts, chunker, skip),
            tuple(strand.weight for strand in strands),
            self._encode((ScheduledText(1, ""),), chunker, skip).variants[0]
            if needs_empty
            else None,
        )

    def _encode(
        self, spans: tuple[ScheduledText, ...], chunker: Chunker, clip_skip: int
    ) -> Conditioning:
        key = (spans, chunker, clip_skip)
        known = self._prompts.pop(key, None)
        if known is None:
            texts = [span.text for span in spans]
            variants = conditioning.encode(self.components.text_encoder, chunker, texts, clip_skip)
            known = Conditioning(variants, tuple(span.until for span in spans))
        self._prompts[key] = known  # the newest last
        if len(self._prompts) > _REMEMBERED_PROMPTS:
            del self._prompts[next(iter(self._prompts))]
        return known

    def see(self, request: InitImageRequest, settings: Settings, name: str) -> Seen:
        """Return what is seen of a request's picture, from memory when it is the last one again.

        Args:
            request: With a picture.
            settings: Of the job.
            name: The checkpoint's, for messages.
        """
        key = _picture_key(request, settings)
        if self._picture is None or self._picture[0] != key:
            self._picture = None  # both at once would be twice the memory
            self._picture = key, look(self.components, request, settings, name)
        return self._picture[1]


def _picture_key(request: InitImageRequest, settings: Settings) -> tuple[object, ...]:
    """Return all that what is seen of a picture depends on, and a little more."""
    own = type(request).model_fields.keys() - GenerationRequest.model_fields.keys()
    names = sorted((own - {"denoising_strength"}) | {"width", "height"})
    return (*(getattr(request, name) for name in names), settings.inpainting_mask_weight)


@dataclass(frozen=True)
class _Key:
    stamp: FileStamp
    config: Path
    config_modified_ns: int
    vae: FileStamp | None
    text_encoder: FileStamp | None
    prediction: str | None
    averaged: bool
    precision: Precision


class ModelCache:
    """Keeps the checkpoints used last; what must go is freed before a new one is read.

    Args:
        device: Where components are put.
        tokenizer: Splits prompts.
    """

    def __init__(self, device: torch.device, tokenizer: ClipTokenizer) -> None:
        self._device = device
        self._tokenizer = tokenizer
        self._models: dict[_Key, LoadedModel] = {}  # the one used last at the end

    def acquire(self, plan: ModelSpec, precision: Precision) -> LoadedModel:
        """Return the model of a plan, loading it when it is not the one in memory.

        Raises:
            NotFound: one of the files is gone.
            BadFile: the file cannot be used.
            UserError: the .yaml and the file contradict each other.
        """
        checkpoint = plan.checkpoint
        prediction = plan.prediction_type
        if prediction == "probe":  # a job before may have found it out since the plan was made
            prediction = read_prediction_type(plan.cache_folder, checkpoint.stamp) or "probe"
        key = _key(plan, prediction, precision)
        known = self._models.pop(key, None)
        if known is not None:
            self._models[key] = known
            self._keep(plan.checkpoints_limit)
            return known
        choices = Choices(
            prediction,
            plan.vae.path if plan.vae else None,
            plan.text_encoder.path if plan.text_encoder else None,
            plan.use_ema,
            self._device,
        )
        loader.check(checkpoint.path, plan.config, choices)  # before anything is given up
        self._keep(plan.checkpoints_limit - 1)
        began = time.perf_counter()
        components = loader.load(checkpoint.path, plan.config, precision, choices)
        if prediction == "probe":
            prediction = components.prediction_type
            write_prediction_type(plan.cache_folder, checkpoint.stamp, prediction)
            key = _key(plan, prediction, precision)
        model = LoadedModel(components, self._tokenizer)
        self._models[key] = model
        logger.info("Loaded %s in %.1f s.", checkpoint.name, time.perf_counter() - began)
        if plan.text_encoder_note:
            logger.info("%s", plan.text_encoder_note)
        return model

    def clear(self) -> None:
        """Drop every loaded checkpoint and give the memory back."""
        self._keep(0)

    def _keep(self, count: int) -> None:
        """Drop the checkpoints used longest ago until so many are left."""
        superfluous = list(self._models)[: max(0, len(self._models) - count)]
        if not superfluous:
            return
        for key in superfluous:
            del self._models[key]
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if sys.platform == "linux":
            _trim_heap()


def _key(plan: ModelSpec, prediction: str | None, precision: Precision) -> _Key:
    return _Key(
        plan.checkpoint.stamp,
        plan.config,
        _modified_ns(plan.config),
        plan.vae.stamp if plan.vae else None,
        plan.text_encoder.stamp if plan.text_encoder else None,
        prediction,
        plan.use_ema,
        precision,
    )


def _modified_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0  # the loader says what is wrong with it


def _trim_heap() -> None:
    """Hand freed memory back to the system, which glibc alone does not (A1111 pull request 14227)."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        logger.debug("This system's C library has no malloc_trim.")
