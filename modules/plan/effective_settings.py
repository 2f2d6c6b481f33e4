"""Which of the prompt's and guidance's options have an effect on a job, and what its user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modules.models.families import Family
from modules.models.ldm.names import CLIP_KIND
from modules.models.manager import Checkpoint
from modules.params.requests.base import GenerationRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.txt2img import (
    Txt2ImgRequest,
)
from modules.params.settings import Settings
from modules.params.settings.guidance import GuidanceSettings
from modules.params.settings.sampling import SamplingSettings
from modules.plan.plan import DEFAULT_SETTINGS
from modules.prompt.chunks import COMMA_BACKTRACK, Chunker
from modules.prompt.emphasis import EMPHASES, has_break_in_brackets
from modules.prompt.extra_networks import extract_networks
from modules.prompt.schedule import StepTimeline
from modules.prompt.sub_prompts import SubPrompt, parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES, Schedule

_GUIDANCE_DEFAULTS = GuidanceSettings()
_ORIGINAL_EMPHASIS = EMPHASES.get("Original")
_GUIDANCE_OPTIONS: tuple[str, ...] = (
    "emphasis",
    "use_old_emphasis_implementation",
    "use_old_scheduling",
    "comma_padding_backtrack",
    "s_min_uncond",
    "s_min_uncond_all",
    "skip_early_cond",
    "cfg_rescale",
    "pad_cond_uncond",
    "pad_cond_uncond_v0",
)
_NEGATIVE_PROMPT_DEFAULTS: dict[str, Any] = {
    "s_min_uncond": 0.0,
    "s_min_uncond_all": False,
    "skip_early_cond": 0.0,
    "cfg_rescale": 0.0,
}


@dataclass(frozen=True)
class PassPrompts:
    """What one pass of a job is steered by.

    Args:
        prompt: With styles, without comments.
        negative_prompt: Likewise.
        timeline: The evaluations that it is planned to have.
        cfg_scale: The scale, as the sampler applies it.
    """

    prompt: str
    negative_prompt: str
    timeline: StepTimeline
    cfg_scale: float

    def sub_prompts(self, *, old_scheduling: bool) -> tuple[SubPrompt, ...]:
        """Return all that is said, the negative prompt last, with prompt editing counted by old or new rules."""
        timeline = replace(self.timeline, old_scheduling=old_scheduling)
        return *parse_prompt(self.prompt, timeline), parse_negative_prompt(
            self.negative_prompt, timeline
        )


def ineffective_guidance_options(
    settings: GuidanceSettings, passes: Sequence[PassPrompts], tokenizer: ClipTokenizer
) -> dict[str, Any]:
    """Return the options that change nothing in these passes, at the values that say so.

    Args:
        settings: The options in force.
        passes: One or two.
        tokenizer: Tells how long prompts are.
    """
    if all(
        getattr(settings, name) == getattr(_GUIDANCE_DEFAULTS, name) for name in _GUIDANCE_OPTIONS
    ):
        return {}
    old = settings.use_old_scheduling
    texts = {
        span.text
        for one in passes
        for strand in one.sub_prompts(old_scheduling=old)
        for span in strand.texts
    }
    idle: dict[str, Any] = {}
    if all(
        one.sub_prompts(old_scheduling=True) == one.sub_prompts(old_scheduling=False)
        for one in passes
    ):
        idle["use_old_scheduling"] = False
    chunker = Chunker.from_settings(tokenizer, settings)
    idle.update(_idle_in_chunks(chunker, texts))
    if not any(_uses_negative(one) for one in passes):
        idle.update(_NEGATIVE_PROMPT_DEFAULTS)
    if not settings.s_min_uncond:
        idle["s_min_uncond_all"] = False
    lengths = [_lengths(one, chunker, old=old) for one in passes]
    if all(prompt == negative for prompt, negative in lengths):
        idle.update(pad_cond_uncond=False, pad_cond_uncond_v0=False)
    elif settings.pad_cond_uncond_v0:  # it comes first
        idle["pad_cond_uncond"] = False
    return idle


def prompt_notes(passes: Sequence[PassPrompts]) -> tuple[str, ...]:
    """Return what a user should know of these prompts, each once."""
    found = [
        f"There is no {network.kind} '{network.args[0]}'; the picture is made without it."
        for one in passes
        for network in extract_networks(one.prompt)[1]
    ]
    strands = [
        strand
        for one in passes
        for strand in one.sub_prompts(old_scheduling=one.timeline.old_scheduling)
    ]
    if any(has_break_in_brackets(span.text) for strand in strands for span in strand.texts):
        found.append(
            "BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word."
        )
    return tuple(dict.fromkeys(found))


def _idle_in_chunks(chunker: Chunker, texts: set[str]) -> dict[str, Any]:
    """Return the options of cutting and weighing that leave every text's chunks as they are."""
    idle: dict[str, Any] = {}
    plain = replace(chunker, emphasis=_ORIGINAL_EMPHASIS)
    weighed = [chunk for text in texts for chunk in plain.split_into_chunks(text)]
    if weighed == [
        chunk for text in texts for chunk in chunker.split_into_chunks(text)
    ] and not any(weight != 1 for chunk in weighed for weight in chunk.weights):
        idle["emphasis"] = _ORIGINAL_EMPHASIS.name
    for option, other in (
        ("use_old_emphasis_implementation", replace(chunker, old_emphasis=False)),
        ("comma_padding_backtrack", replace(chunker, comma_backtrack=COMMA_BACKTRACK)),
    ):
        if all(other.split_into_chunks(text) == chunker.split_into_chunks(text) for text in texts):
            idle[option] = getattr(_GUIDANCE_DEFAULTS, option)
    return idle


def _uses_negative(one: PassPrompts) -> bool:
    strands = parse_prompt(one.prompt, one.timeline)
    return one.cfg_scale * sum(strand.weight for strand in strands) != 1


def _lengths(one: PassPrompts, chunker: Chunker, *, old: bool) -> tuple[int, int]:
    """Return the number of chunks of the prompt and of the negative prompt."""
    *prompt, negative = one.sub_prompts(old_scheduling=old)
    longest = [
        max(len(chunker.split_into_chunks(span.text)) for span in strand.texts)
        for strand in (*prompt, negative)
    ]
    return max(longest[:-1]), longest[-1]


# Options that have an effect only where a picture is repainted.
_INIT_IMAGE_OPTIONS = ("img2img_fix_steps", "img2img_color_correction", "initial_noise_multiplier")


def effective_settings(
    settings: Settings,
    request: GenerationRequest,
    checkpoint: Checkpoint,
    family: Family,
    sampling_options: frozenset[str],
) -> Settings:
    """Return the options with those at their defaults that have no effect, so that the infotext tells what counted."""
    without_effect = {*(CONDITIONAL_OPTIONS - sampling_options)}
    if not clip_skip_has_effect(checkpoint):
        without_effect.add("CLIP_stop_at_last_layers")
    if not isinstance(request, InitImageRequest):
        without_effect.update(_INIT_IMAGE_OPTIONS)
        if not isinstance(request, Txt2ImgRequest) or not request.enable_hr:
            without_effect.add("img2img_extra_noise")
    if family.extra_input != "inpaint" or request.task != "inpaint":
        without_effect.add("inpainting_mask_weight")
    return settings.replace(**{name: getattr(DEFAULT_SETTINGS, name) for name in without_effect})


def clip_skip_has_effect(checkpoint: Checkpoint) -> bool:
    """Return whether clip skip has an effect: A1111 lets it do nothing to OpenCLIP."""
    return checkpoint.text_encoder.kind == CLIP_KIND


_FAMILY_OPTIONS = (
    "sgm_noise_multiplier",
    "always_discard_next_to_last_sigma",
    "enable_quantization",
)
# All options that some sampler or schedule listens to and another one does not.
CONDITIONAL_OPTIONS = frozenset(
    {*_FAMILY_OPTIONS, "ddim_discretize"}
    | {name for row in SAMPLERS for name in row.options}
    | {name for row in SCHEDULES for name in row.options}
)


def effective_options(
    sampler: Sampler, schedule: Schedule, settings: SamplingSettings, from_noise: bool
) -> frozenset[str]:
    """Return the names out of CONDITIONAL_OPTIONS that can change a run.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by what it stands for.
        settings: All options: one may take the effect of another.
        from_noise: Whether the run begins with noise alone.
    """
    names = {*sampler.options, "always_discard_next_to_last_sigma"}
    if sampler.family.uses_schedule:
        names |= {*schedule.options, "enable_quantization"}
        if from_noise:
            names.add("sgm_noise_multiplier")
    if sampler.discards_next_to_last_sigma:
        names.remove("always_discard_next_to_last_sigma")
    if sampler.timestep_stride > 1:
        names.remove("enable_quantization")
    if settings.use_old_karras_scheduler_sigmas and settings.sigma_min and settings.sigma_max:
        names.discard("use_old_karras_scheduler_sigmas")
    return frozenset(names - _unused_noise_options(names, settings))


def _unused_noise_options(names: set[str], settings: SamplingSettings) -> set[str]:
    """Return what would count if there were noise to add."""
    sources = {"eta_ancestral", "eta_ddim", "s_churn"} & names
    if not sources or any(getattr(settings, source) for source in sources):
        return set()
    return {"s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta"}
