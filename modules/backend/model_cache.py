"""LRU cache of loaded checkpoints. It is their only owner: a model evicted here leaves memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from modules.backend.components import Precision
from modules.backend.conditioning.prompt_cache import PromptCache
from modules.backend.loading import loader
from modules.backend.loading.loader import CPU, LoadOptions
from modules.backend.loading.weight_cache import WeightCache
from modules.backend.memory.estimate import computer_bytes
from modules.backend.memory.fp8 import store_in_fp8
from modules.backend.memory.policies import (
    AUTOMATIC,
    POLICIES,
    MemoryPolicy,
    check_computer,
    choose_policy,
    measure,
)
from modules.backend.model import LoadedModel
from modules.backend.tuning import lay_out
from modules.core.errors import BadFile
from modules.models.file_cache import read_prediction_type, write_prediction_type
from modules.models.files.scan import FileStamp, ModelFile
from modules.models.model_spec import ModelSpec
from modules.models.weight_counts import count_weights
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)
WEIGHTS_FOLDER = "weights"  # in the folder of caches


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
    memory_policy: str
    lowest_policy: int
    stores_fp8: bool

    @property
    def of_text_encoders(self) -> tuple[object, ...]:
        """Return what the weights of the text encoders depend on."""
        files = self.stamp, self.config, self.config_modified_ns, self.text_encoders
        return *files, self.use_ema, self.precision.text_encoder, self.stores_fp8


class ModelCache:
    """Caches the most recently used checkpoints; evicts before a new one is read.

    Args:
        device: Of the components.
        tokenizer: Splits prompts.
        cache_folder: Keeps probed prediction types, in predictions.json, and converted UNets; None keeps none.
        free_bytes: Returns the free memory of the device; None for one that shares the computer's.
        half_precision: Of the device, to tell what would fit; None where it has none.
        computer_bytes: Returns the free memory of the computer.

    Attributes:
        limit: How many checkpoints may stay loaded; applied whenever one is acquired.
        prompts: Encoded prompts of all checkpoints, also of those that have left memory.
    """

    def __init__(
        self,
        device: torch.device,
        tokenizer: ClipTokenizer,
        cache_folder: Path | None = None,
        free_bytes: Callable[[], int | None] = lambda: None,
        half_precision: Precision | None = None,
        computer_bytes: Callable[[], int] = computer_bytes,
    ) -> None:
        self.limit = 1
        self._free_bytes = free_bytes
        self._half_precision = half_precision
        self._computer_bytes = computer_bytes
        self._device = device
        self._tokenizer = tokenizer
        self._cache_folder = cache_folder
        self.prompts = PromptCache()
        self._weights_folder = None if cache_folder is None else cache_folder / WEIGHTS_FOLDER
        self._models: dict[_Key, LoadedModel] = {}  # most recently used last
        self._policies: dict[_Key, MemoryPolicy] = {}

    def acquire(self, spec: ModelSpec, precision: Precision, lowest_policy: int = 0) -> LoadedModel:
        """Return a model, loading it if it is not cached.

        Args:
            spec: The model.
            precision: Dtype of each component.
            lowest_policy: Index of the first memory policy that may be chosen for it.

        Raises:
            OutOfMemory: the device or the computer has no room for it.
            NotFound: one of the files is missing.
            BadFile: the file cannot be used.
            UserError: the .yaml does not match the file.
        """
        checkpoint = spec.checkpoint
        prediction = spec.prediction_type
        if prediction == "probe" and self._cache_folder is not None:
            # Another job may have probed it since the plan was created.
            prediction = read_prediction_type(self._cache_folder, checkpoint.stamp) or "probe"
        key = _key(spec, prediction, precision, lowest_policy)
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
            CPU,
            spec.family,
        )
        # Before anything is evicted.
        loader.validate_checkpoint(checkpoint.path, spec.config, options)
        self._evict_to(self.limit - 1)
        started_at = time.perf_counter()
        policy = self._choose_policy(spec, precision, lowest_policy)
        if policy.loads_on_device and not spec.stores_fp8:
            options = replace(options, device=self._device)
        options = replace(options, cache=self._weight_cache(spec))
        components = loader.load_components(checkpoint.path, spec.config, precision, options)
        if spec.stores_fp8:
            store_in_fp8(components, precision)
        for network in (components.unet, components.vae):
            lay_out(network, self._device)
        policy.place(components, self._device)
        if prediction == "probe":
            prediction = components.prediction_type
            if self._cache_folder is not None:
                write_prediction_type(self._cache_folder, checkpoint.stamp, prediction)
            key = _key(spec, prediction, precision, lowest_policy)
        model = LoadedModel(
            components, self._tokenizer, self.prompts, key.of_text_encoders, self._cache_folder
        )
        self._models[key] = model
        self._policies[key] = policy
        seconds = time.perf_counter() - started_at
        logger.info("Loaded %s in %.1f s (%s).", checkpoint.name, seconds, policy.name)
        if spec.text_encoder_note:
            logger.info("%s", spec.text_encoder_note)
        return model

    def _weight_cache(self, spec: ModelSpec) -> WeightCache | None:
        """Return the cache of converted weights, with its files within the limit; None where it is of no use."""
        if self._weights_folder is None:
            return None
        cache = WeightCache(self._weights_folder, spec.weight_cache_bytes)
        cache.trim()
        is_useful = self._device.type == "cpu" and spec.weight_cache_bytes and not spec.stores_fp8
        return cache if is_useful else None

    def _choose_policy(self, spec: ModelSpec, precision: Precision, lowest: int) -> MemoryPolicy:
        """Return the policy for a model; other models leave first if it is all resident without them.

        Raises:
            OutOfMemory: the device or the computer has no room for it.
        """
        free_bytes = self._free_bytes()
        if free_bytes is None:
            self._make_room(spec, precision)
            return POLICIES[0]
        size = measure(spec, count_weights(spec), precision)
        while self._models and POLICIES[0].weight_bytes(size) + size.working > free_bytes:
            self._evict_to(len(self._models) - 1)
            free_bytes = self._free_bytes() or 0
        policy = choose_policy(spec, size, free_bytes, lowest)
        if not policy.loads_on_device:
            self._make_room(spec, precision)
        return policy

    def _make_room(self, spec: ModelSpec, precision: Precision) -> None:
        """Evict other models until the computer has room for the weights of one that is loaded there.

        Raises:
            OutOfMemory: it has not.
        """
        spec, counts = replace(spec, stores_fp8=False), count_weights(spec)
        size = measure(spec, counts, precision)
        while self._models and POLICIES[0].weight_bytes(size) > self._computer_bytes():
            self._evict_to(len(self._models) - 1)
        half = self._half_precision and measure(spec, counts, self._half_precision)
        check_computer(spec, size, self._computer_bytes(), half)

    def changed_files(self, spec: ModelSpec) -> list[str]:
        """Return a sentence for each file that is loaded and has changed on the disk since it was listed."""
        stamps = {key.stamp for key in self._models}
        if spec.checkpoint.stamp not in stamps:
            return []  # it is loaded again, and its size checked then
        files = (spec.checkpoint, spec.vae, *spec.text_encoders)
        return [_change(file) for file in files if file and file.with_current_stamp() != file]

    def last_used(self) -> tuple[Path, MemoryPolicy, bool] | None:
        """Return the checkpoint that was used last, its memory policy, and whether that was chosen automatically."""
        for key in reversed(self._models):
            return Path(key.stamp.path), self._policies[key], key.memory_policy == AUTOMATIC
        return None

    def check_weights(self) -> None:
        """Check the weights of the model that was used last.

        Raises:
            BadFile: one of its files has NaN or infinity for a weight.
        """
        for key, model in list(self._models.items())[-1:]:
            for stamp, component in _files_of_components(key, model):
                for name, weight in component.state_dict().items():
                    if not bool(torch.isfinite(weight.float()).all()):
                        raise BadFile(
                            f"'{Path(stamp.path).name}' is damaged: its {type(component).__name__}"
                            f" has invalid numbers (NaN) in {name}.",
                            "Download the file again, or choose another one.",
                        )

    def clear(self) -> None:
        """Evict every checkpoint and encoded prompt, and return the memory to the system."""
        self.prompts.clear()
        self._evict_to(0)

    def _evict_to(self, count: int) -> None:
        """Evict the least recently used checkpoints until `count` are left."""
        evicted = list(self._models)[: max(0, len(self._models) - count)]
        if not evicted:
            return
        for key in evicted:
            del self._models[key], self._policies[key]
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


def _key(spec: ModelSpec, prediction: str | None, precision: Precision, lowest_policy: int) -> _Key:
    return _Key(
        spec.checkpoint.stamp,
        spec.config,
        _modified_ns(spec.config),
        spec.vae.stamp if spec.vae else None,
        tuple(file.stamp if file else None for file in spec.text_encoders),
        prediction,
        spec.use_ema,
        precision,
        spec.memory_policy,
        lowest_policy,
        spec.stores_fp8,
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
