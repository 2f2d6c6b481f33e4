"""The loaded checkpoints. Their only owner: what is dropped here is gone from memory."""

from __future__ import annotations

from functools import cached_property

from modules.backend.components import Components
from modules.backend.conditioning import text
from modules.backend.conditioning.init_image import InitImage, encode_init_image
from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.preview import LatentToRgb
from modules.params.requests.base import GenerationRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.prompt.chunks import Chunker
from modules.prompt.schedule import ScheduledText, StepTimeline
from modules.prompt.sub_prompts import parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.model_sigmas import ModelSigmas

_MAX_CACHED_PROMPTS = 32


class LoadedModel:
    """A checkpoint's components on the device, and what is derived from them once.

    Args:
        components: As loaded, already on the device.
        tokenizer: Splits prompts for the text encoder.
    """

    def __init__(self, components: Components, tokenizer: ClipTokenizer) -> None:
        self.components = components
        self._tokenizer = tokenizer
        self._conditionings: dict[tuple[tuple[ScheduledText, ...], Chunker, int], Conditioning] = {}
        self._init_image: tuple[tuple[object, ...], InitImage] | None = None

    @cached_property
    def model_sigmas(self) -> ModelSigmas:
        """Return the noise levels the model was trained on."""
        return ModelSigmas(self.components.alphas_cumprod.double().cpu().numpy())

    @cached_property
    def latent_to_rgb(self) -> LatentToRgb:
        """Return the cheap map from latents to colours."""
        return LatentToRgb.fit(self.components.vae)

    def encode_prompts(
        self, prompt: str, negative_prompt: str, timeline: StepTimeline, settings: Settings
    ) -> PromptConditioning:
        """Return what a pass's prompts become, from memory when they were asked for lately.

        Args:
            prompt: As the request has it, with networks still in it.
            negative_prompt: Likewise.
            timeline: The evaluations that the pass is planned to have.
            settings: Emphasis, clip skip and the like.
        """
        chunker = Chunker.from_settings(self._tokenizer, settings, self.components.pad_token_id)
        skip = settings.CLIP_stop_at_last_layers
        strands = parse_prompt(prompt, timeline)
        needs_empty = settings.pad_cond_uncond and not settings.pad_cond_uncond_v0
        return PromptConditioning(
            tuple(self._encode_prompt(strand.texts, chunker, skip) for strand in strands),
            self._encode_prompt(
                parse_negative_prompt(negative_prompt, timeline).texts, chunker, skip
            ),
            tuple(strand.weight for strand in strands),
            self._encode_prompt((ScheduledText(1, ""),), chunker, skip).tensors[0]
            if needs_empty
            else None,
        )

    def _encode_prompt(
        self, spans: tuple[ScheduledText, ...], chunker: Chunker, clip_skip: int
    ) -> Conditioning:
        key = (spans, chunker, clip_skip)
        known = self._conditionings.pop(key, None)
        if known is None:
            texts = [span.text for span in spans]
            variants = text.encode_texts(self.components.text_encoder, chunker, texts, clip_skip)
            known = Conditioning(variants, tuple(span.until for span in spans))
        self._conditionings[key] = known  # the newest last
        if len(self._conditionings) > _MAX_CACHED_PROMPTS:
            del self._conditionings[next(iter(self._conditionings))]
        return known

    def encode_init_image(
        self, request: InitImageRequest, settings: Settings, name: str
    ) -> InitImage:
        """Return what is seen of a request's picture, from memory when it is the last one again.

        Args:
            request: With a picture.
            settings: Of the job.
            name: The checkpoint's, for messages.
        """
        key = _init_image_key(request, settings)
        if self._init_image is None or self._init_image[0] != key:
            self._init_image = None  # both at once would be twice the memory
            self._init_image = key, encode_init_image(self.components, request, settings, name)
        return self._init_image[1]


def _init_image_key(request: InitImageRequest, settings: Settings) -> tuple[object, ...]:
    """Return all that what is seen of a picture depends on, and a little more."""
    own = type(request).model_fields.keys() - GenerationRequest.model_fields.keys()
    names = sorted((own - {"denoising_strength"}) | {"width", "height"})
    return (*(getattr(request, name) for name in names), settings.inpainting_mask_weight)
