"""Which settings have an effect on a job. The others are reset to their defaults, so they do not appear in the infotext.

`effective_settings` decides by sampler, task and checkpoint. `ineffective_guidance_options` decides by the prompts, which
need a tokenizer and the planned number of evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modules.models.checkpoint import Checkpoint
from modules.models.families import Family
from modules.models.ldm.text_encoder_layouts import CLIP_KIND
from modules.params.requests.base import GenerationRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.txt2img import Txt2ImgRequest
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

# Sampling options that some samplers or schedules use and others do not.
CONDITIONAL_SAMPLING_OPTIONS = frozenset(
    {
        "sgm_noise_multiplier",
        "always_discard_next_to_last_sigma",
        "enable_quantization",
        "ddim_discretize",
    }
    | {name for sampler in SAMPLERS for name in sampler.options}
    | {name for schedule in SCHEDULES for name in schedule.options}
)
# Options that have an effect only on a request with an init image.
_INIT_IMAGE_OPTIONS = ("img2img_fix_steps", "img2img_color_correction", "initial_noise_multiplier")
# Options whose effect depends on the prompts and the CFG scale.
_PROMPT_OPTIONS = (
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
# Those of them that need uncond.
_UNCOND_OPTIONS = ("s_min_uncond", "s_min_uncond_all", "skip_early_cond", "cfg_rescale")
_GUIDANCE_DEFAULTS = GuidanceSettings()
_ORIGINAL_EMPHASIS = EMPHASES.get("Original")


def effective_settings(
    settings: Settings,
    request: GenerationRequest,
    checkpoint: Checkpoint,
    family: Family,
    sampling_options: frozenset[str],
) -> Settings:
    """Return the settings with those that have no effect on a request reset to their defaults.

    Args:
        settings: With the request's override settings.
        request: The request.
        checkpoint: Its checkpoint.
        family: Of the checkpoint.
        sampling_options: Sampling options with an effect; see `effective_sampling_options`.
    """
    ineffective = {*(CONDITIONAL_SAMPLING_OPTIONS - sampling_options)}
    if not clip_skip_has_effect(checkpoint):
        ineffective.add("CLIP_stop_at_last_layers")
    if not isinstance(request, InitImageRequest):
        ineffective.update(_INIT_IMAGE_OPTIONS)
        if not isinstance(request, Txt2ImgRequest) or not request.enable_hr:
            ineffective.add("img2img_extra_noise")
    if family.extra_input != "inpaint" or request.task != "inpaint":
        ineffective.add("inpainting_mask_weight")
    return settings.replace(**{name: getattr(DEFAULT_SETTINGS, name) for name in ineffective})


def clip_skip_has_effect(checkpoint: Checkpoint) -> bool:
    """Return whether clip skip has an effect; as in A1111 it has none on OpenCLIP."""
    return checkpoint.text_encoder.kind == CLIP_KIND


def effective_sampling_options(
    sampler: Sampler, schedule: Schedule, settings: SamplingSettings, from_noise: bool
) -> frozenset[str]:
    """Return the names out of CONDITIONAL_SAMPLING_OPTIONS that can change a run.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by the sampler's default schedule.
        settings: All options: the value of one can disable another.
        from_noise: Whether the run starts from pure noise, without an init image.
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
    """Return the options of added noise if the sampler can add noise, but all its amounts are 0."""
    amounts = {"eta_ancestral", "eta_ddim", "s_churn"} & names
    if not amounts or any(getattr(settings, amount) for amount in amounts):
        return set()
    return {"s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta"}


@dataclass(frozen=True)
class PassPrompts:
    """Prompts and guidance of one pass of a job: the first or the hires pass.

    Args:
        prompt: Styles applied, comments removed.
        negative_prompt: Likewise.
        timeline: The planned evaluations of the network.
        cfg_scale: The scale that the sampler applies.
    """

    prompt: str
    negative_prompt: str
    timeline: StepTimeline
    cfg_scale: float

    def sub_prompts(self, *, old_scheduling: bool) -> tuple[SubPrompt, ...]:
        """Return the sub-prompts, the negative prompt last, with prompt editing counted by old or new rules."""
        timeline = replace(self.timeline, old_scheduling=old_scheduling)
        return *parse_prompt(self.prompt, timeline), parse_negative_prompt(
            self.negative_prompt, timeline
        )

    @property
    def uses_uncond(self) -> bool:
        """Return whether the negative prompt has an effect: not where the weighted scales add up to 1."""
        cond = parse_prompt(self.prompt, self.timeline)
        return self.cfg_scale * sum(sub_prompt.weight for sub_prompt in cond) != 1


def ineffective_guidance_options(
    settings: GuidanceSettings, passes: Sequence[PassPrompts], tokenizer: ClipTokenizer
) -> dict[str, Any]:
    """Return the options without an effect on any of the passes, with their default values.

    Args:
        settings: The options of the job.
        passes: One, or two with hires fix.
        tokenizer: Counts tokens of prompts.
    """
    if all(
        getattr(settings, name) == getattr(_GUIDANCE_DEFAULTS, name) for name in _PROMPT_OPTIONS
    ):
        return {}
    ineffective: set[str] = set()
    if all(
        prompts.sub_prompts(old_scheduling=True) == prompts.sub_prompts(old_scheduling=False)
        for prompts in passes
    ):
        ineffective.add("use_old_scheduling")
    old_scheduling = settings.use_old_scheduling
    chunker = Chunker.from_settings(tokenizer, settings)
    texts = {
        scheduled.text
        for prompts in passes
        for sub_prompt in prompts.sub_prompts(old_scheduling=old_scheduling)
        for scheduled in sub_prompt.texts
    }
    ineffective |= _ineffective_chunk_options(chunker, texts)
    if not any(prompts.uses_uncond for prompts in passes):
        ineffective.update(_UNCOND_OPTIONS)
    if not settings.s_min_uncond:
        ineffective.add("s_min_uncond_all")
    chunk_counts = [
        _chunk_counts(prompts, chunker, old_scheduling=old_scheduling) for prompts in passes
    ]
    if all(cond == uncond for cond, uncond in chunk_counts):
        ineffective.update(("pad_cond_uncond", "pad_cond_uncond_v0"))
    elif settings.pad_cond_uncond_v0:  # it has precedence
        ineffective.add("pad_cond_uncond")
    return {
        name: getattr(_GUIDANCE_DEFAULTS, name) for name in _PROMPT_OPTIONS if name in ineffective
    }


def _ineffective_chunk_options(chunker: Chunker, texts: set[str]) -> set[str]:
    """Return the options of emphasis and chunking that leave the chunks of every text unchanged."""
    ineffective: set[str] = set()
    original = replace(chunker, emphasis=_ORIGINAL_EMPHASIS)
    original_chunks = [chunk for text in texts for chunk in original.split_into_chunks(text)]
    chunks = [chunk for text in texts for chunk in chunker.split_into_chunks(text)]
    if original_chunks == chunks and not any(
        weight != 1 for chunk in chunks for weight in chunk.weights
    ):
        ineffective.add("emphasis")
    for option, default in (
        ("use_old_emphasis_implementation", replace(chunker, old_emphasis=False)),
        ("comma_padding_backtrack", replace(chunker, comma_backtrack=COMMA_BACKTRACK)),
    ):
        if all(
            default.split_into_chunks(text) == chunker.split_into_chunks(text) for text in texts
        ):
            ineffective.add(option)
    return ineffective


def _chunk_counts(
    prompts: PassPrompts, chunker: Chunker, *, old_scheduling: bool
) -> tuple[int, int]:
    """Return the number of chunks of the prompt and of the negative prompt, each at its longest."""
    *cond, uncond = (
        max(len(chunker.split_into_chunks(scheduled.text)) for scheduled in sub_prompt.texts)
        for sub_prompt in prompts.sub_prompts(old_scheduling=old_scheduling)
    )
    return max(cond), uncond


def prompt_notes(passes: Sequence[PassPrompts]) -> tuple[str, ...]:
    """Return what a user should know about these prompts, each sentence once."""
    notes = [
        f"There is no {network.kind} '{network.args[0]}'; the picture is made without it."
        for prompts in passes
        for network in extract_networks(prompts.prompt)[1]
    ]
    sub_prompts = [
        sub_prompt
        for prompts in passes
        for sub_prompt in prompts.sub_prompts(old_scheduling=prompts.timeline.old_scheduling)
    ]
    if any(
        has_break_in_brackets(scheduled.text)
        for sub_prompt in sub_prompts
        for scheduled in sub_prompt.texts
    ):
        notes.append(
            "BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word."
        )
    return tuple(dict.fromkeys(notes))
