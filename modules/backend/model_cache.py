"""LRU cache of loaded checkpoints. It is their only owner: a model evicted here leaves memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from modules.backend.components import Precision
from modules.backend.loading import loader
from modules.backend.loading.loader import LoadOptions
from modules.backend.model import LoadedModel
from modules.core.errors import BadFile
from modules.models.file_cache import read_prediction_type, write_prediction_type
from modules.models.model_spec import ModelSpec
from modules.models.scan import FileStamp, ModelFile
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Key:
    stamp: FileStamp
    config: Path
    config_modified_ns: int
    vae: FileStamp | None
    text_encoders: tuple[FileStamp | None, ...]
    prediction: str | None
    use_ema: bool
    precision: Precision


class ModelCache:
    """Caches the most recently used checkpoints; evicts before a new one is read.

    Args:
        device: Of the components.
        tokenizer: Splits prompts.
        cache_folder: Keeps probed prediction types, in predictions.json; None keeps none.

    Attributes:
        limit: How many checkpoints may stay loaded; applied whenever one is acquired.
    """

    def __init__(
        self, device: torch.device, tokenizer: ClipTokenizer, cache_folder: Path | None = None
    ) -> None:
        self.limit = 1
        self._device = device
        self._tokenizer = tokenizer
        self._cache_folder = cache_folder
        self._models: dict[_Key, LoadedModel] = {}  # most recently used last

    def acquire(self, spec: ModelSpec, precision: Precision) -> LoadedModel:
        """Return a model, loading it if it is not cached.

        Raises:
            NotFound: one of the files is missing.
            BadFile: the file cannot be used.
            UserError: the .yaml does not match the file.
        """
        checkpoint = spec.checkpoint
        prediction = spec.prediction_type
        if prediction == "probe" and self._cache_folder is not None:
            # Another job may have probed it since the plan was created.
            prediction = read_prediction_type(self._cache_folder, checkpoint.stamp) or "probe"
        key = _key(spec, prediction, precision)
        cached = self._models.pop(key, None)
        if cached is not None and cached.is_spoiled:
            cached = None  # it is loaded again, once its memory is free
            self._return_memory()
        if cached is not None:
            self._models[key] = cached
            self._evict_to(self.limit)
            return cached
        options = LoadOptions(
            prediction,
            spec.vae.path if spec.vae else None,
            tuple(file.path if file else None for file in spec.text_encoders),
            spec.use_ema,
            self._device,
            spec.family,
        )
        # Before anything is evicted.
        loader.validate_checkpoint(checkpoint.path, spec.config, options)
        self._evict_to(self.limit - 1)
        started_at = time.perf_counter()
        components = loader.load_components(checkpoint.path, spec.config, precision, options)
        if prediction == "probe":
            prediction = components.prediction_type
            if self._cache_folder is not None:
                write_prediction_type(self._cache_folder, checkpoint.stamp, prediction)
            key = _key(spec, prediction, precision)
        model = LoadedModel(components, self._tokenizer)
        self._models[key] = model
        logger.info("Loaded %s in %.1f s.", checkpoint.name, time.perf_counter() - started_at)
        if spec.text_encoder_note:
            logger.info("%s", spec.text_encoder_note)
        return model

    def changed_files(self, spec: ModelSpec) -> list[str]:
        """Return a sentence for each file that is loaded and has changed on the disk since it was listed."""
        stamps = {key.stamp for key in self._models}
        if spec.checkpoint.stamp not in stamps:
            return []  # it is loaded again, and its size checked then
        files = (spec.checkpoint, spec.vae, *spec.text_encoders)
        return [_change(file) for file in files if file and file.with_current_stamp() != file]

    def check_weights(self) -> None:
        """Check the weights of the model that was used last.

        Raises:
            BadFile: one of its files has NaN or infinity for a weight.
        """
        for key, model in list(self._models.items())[-1:]:
            for stamp, component in _files_of_components(key, model):
                for name, weight in component.state_dict().items():
                    if not bool(torch.isfinite(weight).all()):
                        raise BadFile(
                            f"'{Path(stamp.path).name}' is damaged: its {type(component).__name__}"
                            f" has invalid numbers (NaN) in {name}.",
                            "Download the file again, or choose another one.",
                        )

    def clear(self) -> None:
        """Evict every checkpoint and return the memory to the system."""
        self._evict_to(0)

    def _evict_to(self, count: int) -> None:
        """Evict the least recently used checkpoints until `count` are left."""
        evicted = list(self._models)[: max(0, len(self._models) - count)]
        if not evicted:
            return
        for key in evicted:
            del self._models[key]
        self._return_memory()

    def _return_memory(self) -> None:
        """Return the memory of evicted checkpoints to the system."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if sys.platform == "linux":
            _trim_heap()


def _files_of_components(key: _Key, model: LoadedModel) -> Iterator[tuple[FileStamp, nn.Module]]:
    """Yield the networks of a model, each with the file that it is from."""
    components = model.components
    yield key.stamp, components.unet
    yield key.vae or key.stamp, components.vae
    for stamp, encoder in zip(key.text_encoders, components.text_encoders, strict=False):
        yield stamp or key.stamp, encoder.network
    if components.depth_estimator is not None:
        yield key.stamp, components.depth_estimator


def _change(file: ModelFile) -> str:
    current = file.with_current_stamp()
    now = "is gone" if current is None else f"has {current.size_bytes} bytes now"
    return (
        f"'{file.name}' has changed on the disk since it was loaded: it had {file.size_bytes} bytes and {now}."
        " The loaded copy is used; refresh the list to read the file again."
    )


def _key(spec: ModelSpec, prediction: str | None, precision: Precision) -> _Key:
    return _Key(
        spec.checkpoint.stamp,
        spec.config,
        _modified_ns(spec.config),
        spec.vae.stamp if spec.vae else None,
        tuple(file.stamp if file else None for file in spec.text_encoders),
        prediction,
        spec.use_ema,
        precision,
    )


def _modified_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0  # the loader reports the error


def _trim_heap() -> None:
    """Return freed memory to the system, which glibc alone does not (A1111 pull request 14227)."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        logger.debug("This system's C library has no malloc_trim.")
