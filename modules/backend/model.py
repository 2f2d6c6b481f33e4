"""A loaded checkpoint, with caches for encoded prompts and the last init image."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from PIL import Image
from torch import Tensor

from modules.backend.components import Components
from modules.backend.conditioning import text
from modules.backend.conditioning.embedding_vectors import AllVectors
from modules.backend.conditioning.init_image import (
    InitImage,
    InitImageInputs,
    encode_init_image,
)
from modules.backend.conditioning.micro_conditioning import make_time_ids
from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.loading.layers import circular_padding
from modules.backend.memory.offload import execution_device
from modules.backend.networks.hypernetworks import Hypernetworks
from modules.backend.networks.lora_fold import FoldedLoras, OriginalsLost
from modules.backend.openvino.network import OpenVinoUNet
from modules.backend.pipelines.stable_diffusion import SamplerLoop, make_pipeline
from modules.backend.preview import LatentToRgb
from modules.images.resize import Stretch, stretch
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.plan.networks.planned_networks import PlannedNetworks
from modules.plan.upscaling import PlannedUpscaler
from modules.prompt.chunks import Chunker
from modules.prompt.embeddings import NO_EMBEDDINGS, EmbeddingWords
from modules.prompt.schedule import ScheduledText, StepTimeline
from modules.prompt.sub_prompts import parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.model_sigmas import ModelSigmas

_MAX_CACHED_PROMPTS = 32
# Texts, chunkers, layers of the text encoders, and their LoRAs.
_PromptKey = tuple[
    tuple[ScheduledText, ...], tuple[Chunker, ...], tuple[int, ...], tuple[object, ...]
]


class LoadedModel:
    """A checkpoint's components on the device, and values derived from them once.

    Args:
        components: Already on the device.
        tokenizer: Splits prompts for the text encoder.
        cache_folder: Keeps the graphs of UNets that are converted; None keeps none.

    Attributes:
        is_spoiled: Whether its weights can no longer be restored, so that it must be loaded anew.
        hypernetworks: Those that were used last, to be applied to the UNet.
        openvino: Its UNet as OpenVINO computes it; nothing until it is asked for.
    """

    def __init__(
        self, components: Components, tokenizer: ClipTokenizer, cache_folder: Path | None = None
    ) -> None:
        self.components = components
        self.is_spoiled = False
        self._loras = FoldedLoras(components)
        self.hypernetworks = Hypernetworks()
        self.openvino = OpenVinoUNet(components, self._loras, cache_folder)
        self._tokenizer = tokenizer
        self._conditionings: dict[_PromptKey, Conditioning] = {}
        self._init_image: tuple[InitImageInputs, InitImage] | None = None

    @cached_property
    def model_sigmas(self) -> ModelSigmas:
        """Return the sigmas the model was trained on."""
        return ModelSigmas(self.components.alphas_cumprod.double().cpu().numpy())

    @cached_property
    def latent_to_rgb(self) -> LatentToRgb:
        """Return the cheap linear map from latents to RGB."""
        vae = self.components.vae
        with circular_padding(vae, enabled=False):  # it may be asked for by a job that tiles
            return LatentToRgb.fit(vae)

    @cached_property
    def pipeline(self) -> SamplerLoop:
        """Return the diffusers pipeline of the components."""
        return make_pipeline(self.components)

    def preview(self, denoised: Tensor) -> Image.Image:
        """Return an approximate image of the first of some latents."""
        return self.latent_to_rgb(denoised)

    def use_networks(self, networks: PlannedNetworks) -> tuple[str, ...]:
        """Give the model the networks of a pass instead of those that it has; return what the user should know of them.

        Raises:
            OriginalsLost: the model is spoiled.
            BadFile: a network's file was cut short.
        """
        try:
            return self._loras.fold(networks.loras)
        except OriginalsLost:
            self.is_spoiled = True
            raise

    def encode_prompts(
        self,
        prompt: str,
        negative_prompt: str,
        timeline: StepTimeline,
        settings: Settings,
        size: tuple[int, int],
        words: EmbeddingWords = NO_EMBEDDINGS,
        vectors: AllVectors = MappingProxyType({}),
    ) -> PromptConditioning:
        """Return the encoded prompts of a pass; the most recent ones are cached.

        Args:
            prompt: As in the request, extra networks included.
            negative_prompt: Likewise.
            timeline: The planned evaluations of the pass.
            settings: Emphasis, clip skip and others.
            size: Width and height in pixels of the image, part of SDXL's conditioning.
            words: The embeddings that the prompts name.
            vectors: Theirs.
        """
        kind, device = self.components.micro_conditioning, execution_device(self.components.unet)
        time_ids = make_time_ids(kind, size, settings, device)
        uncond_time_ids = make_time_ids(kind, size, settings, device, is_negative=True)
        chunkers = tuple(
            Chunker.from_settings(self._tokenizer, settings, encoder.pad_token_id, words=words)
            for encoder in self.components.text_encoders
        )
        layers = tuple(
            encoder.layer_after_skip(
                settings.CLIP_stop_at_last_layers, sdxl_clip_l_skip=settings.sdxl_clip_l_skip
            )
            for encoder in self.components.text_encoders
        )

        def encode(texts: tuple[ScheduledText, ...]) -> Conditioning:
            return self._encode_prompt(texts, chunkers, layers, vectors)

        sub_prompts = parse_prompt(prompt, timeline)
        needs_empty = settings.pad_cond_uncond and not settings.pad_cond_uncond_v0
        negative = parse_negative_prompt(negative_prompt, timeline).texts
        uncond = encode(negative)
        if kind and not any(item.text for item in negative):
            uncond = uncond.zeroed()  # A1111's rule for SDXL; an empty prompt is encoded
        return PromptConditioning(
            tuple(encode(part.texts).with_time_ids(time_ids) for part in sub_prompts),
            uncond.with_time_ids(uncond_time_ids),
            tuple(part.weight for part in sub_prompts),
            encode((ScheduledText(1, ""),)).hidden[0] if needs_empty else None,
        )

    def _encode_prompt(
        self,
        scheduled: tuple[ScheduledText, ...],
        chunkers: tuple[Chunker, ...],
        layers: tuple[int, ...],
        vectors: AllVectors,
    ) -> Conditioning:
        loras = tuple((use.file.stamp, use.text_encoder, use.rank) for use in self._loras.uses)
        key = (scheduled, chunkers, layers, loras)
        conditioning = self._conditionings.pop(key, None)
        if conditioning is None:
            texts = [item.text for item in scheduled]
            encoders = self.components.text_encoders
            hidden, pooled = text.encode_with_all(encoders, chunkers, texts, layers, vectors)
            until = tuple(item.until for item in scheduled)
            conditioning = Conditioning(hidden, until, pooled)
        self._conditionings[key] = conditioning  # most recently used last
        if len(self._conditionings) > _MAX_CACHED_PROMPTS:
            del self._conditionings[next(iter(self._conditionings))]
        return conditioning

    def encode_init_image(
        self,
        request: InitImageRequest,
        settings: Settings,
        name: str,
        upscaler: PlannedUpscaler | None = None,
        scale: Stretch = stretch,
    ) -> InitImage:
        """Return a request's encoded init image; the last one is cached.

        Args:
            request: With an init image.
            settings: Of the job.
            name: The checkpoint's, for messages.
            upscaler: Of the job; see `InitImageInputs`.
            scale: Runs the upscaler.
        """
        inputs = InitImageInputs.from_request(request, settings, upscaler)
        if self._init_image is None or self._init_image[0] != inputs:
            self._init_image = None  # both at once would be twice the memory
            self._init_image = inputs, encode_init_image(self.components, inputs, name, scale)
        return self._init_image[1]
