"""The loaded checkpoints. Their only owner: what is dropped here is gone from memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from modules.backend.components import Precision
from modules.backend.loading import loader
from modules.backend.loading.loader import LoadOptions
from modules.backend.model import LoadedModel
from modules.models.file_cache import read_prediction_type, write_prediction_type
from modules.models.model_spec import ModelSpec
from modules.models.scan import FileStamp
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Key:
    stamp: FileStamp
    config: Path
    config_modified_ns: int
    vae: FileStamp | None
    text_encoder: FileStamp | None
    prediction: str | None
    use_ema: bool
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

    def acquire(self, spec: ModelSpec, precision: Precision) -> LoadedModel:
        """Return the model of a plan, loading it when it is not the one in memory.

        Raises:
            NotFound: one of the files is gone.
            BadFile: the file cannot be used.
            UserError: the .yaml and the file contradict each other.
        """
        checkpoint = spec.checkpoint
        prediction = spec.prediction_type
        if prediction == "probe":  # a job before may have found it out since the plan was made
            prediction = read_prediction_type(spec.cache_folder, checkpoint.stamp) or "probe"
        key = _key(spec, prediction, precision)
        known = self._models.pop(key, None)
        if known is not None:
            self._models[key] = known
            self._evict_to(spec.checkpoints_limit)
            return known
        choices = LoadOptions(
            prediction,
            spec.vae.path if spec.vae else None,
            spec.text_encoder.path if spec.text_encoder else None,
            spec.use_ema,
            self._device,
        )
        loader.validate_checkpoint(
            checkpoint.path, spec.config, choices
        )  # before anything is given up
        self._evict_to(spec.checkpoints_limit - 1)
        began = time.perf_counter()
        components = loader.load_components(checkpoint.path, spec.config, precision, choices)
        if prediction == "probe":
            prediction = components.prediction_type
            write_prediction_type(spec.cache_folder, checkpoint.stamp, prediction)
            key = _key(spec, prediction, precision)
        model = LoadedModel(components, self._tokenizer)
        self._models[key] = model
        logger.info("Loaded %s in %.1f s.", checkpoint.name, time.perf_counter() - began)
        if spec.text_encoder_note:
            logger.info("%s", spec.text_encoder_note)
        return model

    def clear(self) -> None:
        """Drop every loaded checkpoint and give the memory back."""
        self._evict_to(0)

    def _evict_to(self, count: int) -> None:
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
