"""Revision (Stability AI, SDXL): the embedding of an image replaces the pooled text embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from modules.backend.control.adapters.encoded_images import EncodedImages
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.models.files.scan import ModelFile

_STEPS, _FIRST_BETA, _LAST_BETA = 1000, 1e-4, 2e-2  # of the noise that it was trained with


class EmbeddingCache:
    """The embeddings of the images that an image encoder saw last.

    Args:
        encoder: Its file; it leaves memory after each new image.
    """

    def __init__(self, encoder: ModelFile) -> None:
        self._encoder = encoder
        self._images = EncodedImages(lambda encoded: encoded.embedding[:1].float())

    def embed(self, image: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the embedding of an image, float32 [1, width].

        Args:
            image: uint8 RGB [height, width, 3].
            dtype: For the encoder to compute in.
            device: Likewise.

        Raises:
            NotFound: the encoder's file is gone.
            BadFile: it is damaged.
        """
        return self._images.get(image, self._encoder, dtype, device)


@dataclass(frozen=True)
class Revision:
    """What a unit puts in the place of the pooled text.

    Args:
        embedding: [1 or batch, width].
        weight: Of it.
        is_active: Whether it takes part in an evaluation, by its index.
        ignores_prompt: Whether the text itself is left out, too.
    """

    embedding: Tensor
    weight: float
    is_active: Callable[[int], bool]
    ignores_prompt: bool


def add_noise(embedding: Tensor, share: float, seeds: Sequence[int]) -> Tensor:
    """Return an embedding with noise for each image, [images, width].

    Args:
        embedding: [1, width].
        share: Of the 1000 steps of noise, 0 to 1.
        seeds: Of the images.
    """
    betas = torch.linspace(_FIRST_BETA, _LAST_BETA, _STEPS, dtype=torch.float64)
    step = min(int(share * _STEPS), _STEPS - 1)
    signal = float((1 - betas).cumprod(0)[step])
    noise = torch.stack(
        [
            torch.randn(embedding.shape[1], generator=torch.Generator().manual_seed(seed % 2**63))
            for seed in seeds
        ]
    )
    return signal**0.5 * embedding + (1 - signal) ** 0.5 * noise.to(embedding)


class RevisionExtension(StepExtension):
    """Replaces the pooled text of the prompts by the sum of what units give; that of the negative prompt by zeros.

    Args:
        revisions: Of the units.
    """

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self._revisions = revisions

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the call with other pooled text."""
        active = [one for one in self._revisions if one.is_active(call.index)]
        if not active:
            return call
        added = dict(call.kwargs["added_cond_kwargs"])
        text: Tensor = added["text_embeds"]
        prompts = call.is_uncond or (False,)
        batch = len(call.sample) // len(prompts)
        pooled = torch.zeros_like(text[:batch])
        for one in active:
            pooled = pooled + one.weight * one.embedding.to(text)
        added["text_embeds"] = torch.cat(
            [torch.zeros_like(pooled) if is_uncond else pooled for is_uncond in prompts]
        )
        states = call.encoder_hidden_states
        if any(one.ignores_prompt for one in active):
            states = torch.zeros_like(states)
        kwargs = {**call.kwargs, "added_cond_kwargs": added}
        return replace(call, encoder_hidden_states=states, kwargs=kwargs)
