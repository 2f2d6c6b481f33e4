"""A loaded checkpoint, with a cache for the last init image."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from modules.backend.components import Components
from modules.backend.conditioning import text
from modules.backend.conditioning.embedding_vectors import AllVectors
from modules.backend.conditioning.init_image import (
    InitImage,
    InitImageInputs,
    encode_init_image,
)
from modules.backend.conditioning.micro_conditioning import make_time_ids
from modules.backend.conditioning.prompt_cache import PromptCache
from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.control.control_networks import ControlNetworks
from modules.backend.denoise.compiled_blocks import CompiledBlocks
from modules.backend.loading.layers import circular_padding
from modules.backend.memory.offload import execution_device
from modules.backend.networks.hypernetworks import Hypernetworks
from modules.backend.networks.lora_fold import FoldedLoras, OriginalsLost
from modules.backend.openvino.network import OpenVinoUNet
from modules.backend.pipelines.stable_diffusion import SamplerLoop, make_pipeline
from modules.backend.previews.latent_to_rgb import FlatColours, LatentToRgb
from modules.backend.previews.previewer import Previewer, PreviewMethods
from modules.images.resize import Stretch, stretch
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.plan.networks.loras import LoraUse
from modules.plan.networks.planned_networks import PlannedNetworks
from modules.plan.plan import Plan
from modules.plan.upscaling import PlannedUpscaler
from modules.prompt.chunks import Chunker
from modules.prompt.embeddings import NO_EMBEDDINGS, EmbeddingWords
from modules.prompt.schedule import ScheduledText, StepTimeline
from modules.prompt.sub_prompts import parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.model_sigmas import ModelSigmas


class LoadedModel:
    """A checkpoint's components on the device, and values derived from them once.

    Args:
        components: Already on the device.
        tokenizer: Splits prompts for the text encoder.
        prompts: Remembers encoded prompts, of other models too.
        identity: Of the text encoders' weights, before any network changes them.
        cache_folder: Keeps the graphs of UNets that are converted; None keeps none.

    Attributes:
        is_spoiled: Whether its weights can no longer be restored, so that it must be loaded anew.
        hypernetworks: Those that were used last, to be applied to the UNet.
        compiled: The blocks of the UNet, compiled on request.
        openvino: Its UNet as OpenVINO computes it; nothing until it is needed.
        control_networks: The control models of its last run.
    """

    def __init__(
        self,
        components: Components,
        tokenizer: ClipTokenizer,
        prompts: PromptCache | None = None,
        identity: Hashable = None,
        cache_folder: Path | None = None,
    ) -> None:
        self.components = components
        self.is_spoiled = False
        self._loras = FoldedLoras(components)
        self.hypernetworks = Hypernetworks()
        self.compiled = CompiledBlocks()
        self.openvino = OpenVinoUNet(components, cache_folder)
        self.control_networks = ControlNetworks()
        self._tokenizer = tokenizer
        self._prompts = PromptCache() if prompts is None else prompts
        self._identity = identity
        self._init_image: tuple[InitImageInputs, InitImage] | None = None

    @cached_property
    def model_sigmas(self) -> ModelSigmas:
        """Return the sigmas the model was trained on."""
        return ModelSigmas(self.components.alphas_cumprod.double().cpu().numpy())

    @cached_property
    def _flat_colours(self) -> FlatColours:
        vae = self.components.vae
        with circular_padding(vae, enabled=False):  # a job that tiles may need it
            return FlatColours.of(vae)

    @cached_property
    def latent_to_rgb(self) -> LatentToRgb:
        """Return the cheap linear map from latents to RGB."""
        return LatentToRgb.fit(self._flat_colours)

    @cached_property
    def _preview_methods(self) -> PreviewMethods:
        return PreviewMethods(self.components.vae, self.latent_to_rgb, self._flat_colours)

    @cached_property
    def pipeline(self) -> SamplerLoop:
        """Return the diffusers pipeline of the components."""
        return make_pipeline(self.components)

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        """Return the LoRAs that are folded into its weights."""
        return self._loras.uses

    def previewer(self, plan: Plan) -> Previewer | None:
        """Return what makes the previews of a pass; None where the options want none."""
        settings = plan.settings
        if not settings.shows_previews:
            return None
        wanted, files = settings.show_progress_type, plan.preview_files
        return Previewer(
            lambda: self._preview_methods.ladder(wanted, files),
            settings.live_preview_refresh_period / 1000,
        )

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
        """Return the encoded prompts of a pass; the most recent ones are remembered.

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
        key = (self._identity, scheduled, chunkers, layers, loras)
        conditioning = self._prompts.find(key)
        if conditioning is None:
            texts = [item.text for item in scheduled]
            encoders = self.components.text_encoders
            hidden, pooled = text.encode_with_all(encoders, chunkers, texts, layers, vectors)
            until = tuple(item.until for item in scheduled)
            conditioning = Conditioning(hidden, until, pooled)
            self._prompts.keep(key, conditioning)
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
