"""The loaded checkpoint. Its only owner: what is dropped here is gone from memory."""

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
from torch import Tensor, nn

from modules.backend import conditioning, loader
from modules.backend.loader import Components, Precision
from modules.backend.preview import PreviewMap
from modules.models.manager import Checkpoint
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.noise_levels import NoiseLevels

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
        self._prompts: dict[str, Tensor] = {}

    @cached_property
    def levels(self) -> NoiseLevels:
        """Return the noise levels the model was trained on."""
        return NoiseLevels(self.components.alphas_cumprod.double().cpu().numpy())

    @cached_property
    def preview(self) -> PreviewMap:
        """Return the cheap map from latents to colours."""
        return PreviewMap.fit(self.components.vae)

    def encode(self, text: str) -> Tensor:
        """Return the conditioning of a prompt, from memory when it was asked for lately."""
        known = self._prompts.pop(text, None)
        if known is None:
            known = conditioning.encode(self.components.text_encoder, self._tokenizer, text)
        self._prompts[text] = known  # the newest last
        if len(self._prompts) > _REMEMBERED_PROMPTS:
            del self._prompts[next(iter(self._prompts))]
        return known


@dataclass(frozen=True)
class _Key:
    path: Path
    modified_ns: int
    config: Path
    config_modified_ns: int
    precision: Precision


class ModelCache:
    """Keeps one checkpoint loaded; the old one is freed before the new one is read.

    Args:
        device: Where components are put.
        tokenizer: Splits prompts.
    """

    def __init__(self, device: torch.device, tokenizer: ClipTokenizer) -> None:
        self._device = device
        self._tokenizer = tokenizer
        self._key: _Key | None = None
        self._model: LoadedModel | None = None

    def acquire(self, checkpoint: Checkpoint, config: Path, precision: Precision) -> LoadedModel:
        """Return the checkpoint, loading it when it or its .yaml is not the one in memory.

        Raises:
            NotFound: one of the files is gone.
            BadFile: the file cannot be used.
            UserError: the .yaml and the file contradict each other.
        """
        key = _Key(checkpoint.path, checkpoint.modified_ns, config, _modified_ns(config), precision)
        if self._model is not None and key == self._key:
            return self._model
        self.clear()
        began = time.perf_counter()
        components = loader.load(checkpoint.path, config, precision)
        for part in (components.unet, components.vae, components.text_encoder):
            _place(part, self._device)
        self._model = LoadedModel(components, self._tokenizer)
        self._key = key
        logger.info("Loaded %s in %.1f s.", checkpoint.name, time.perf_counter() - began)
        return self._model

    def clear(self) -> None:
        """Drop the loaded checkpoint and give its memory back."""
        self._model = None
        self._key = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if sys.platform == "linux":
            _trim_heap()


def _place(part: nn.Module, device: torch.device) -> None:
    """Move a component to the device, in the memory format that is fastest there."""
    part.to(device)
    if device.type == "cpu":  # convolutions are a twentieth faster with channels last
        part.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stubs lack it


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
