"""Which of the prompt's and guidance's options have an effect on a job, and what its user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modules.models.families import Family
from modules.models.ldm_names import CLIP
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
from modules.prompt.emphasis import EMPHASES, breaks_within_brackets
from modules.prompt.extra_networks import extract
from modules.prompt.reading import Strand, read_negative, read_prompt
from modules.prompt.schedule import Timeline
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES, Schedule

_DEFAULTS = GuidanceSettings()
_ORIGINAL = EMPHASES.get("Original")
_ALL: tuple[str, ...] = (
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
_ONLY_WITH_NEGATIVE: dict[str, Any] = {
    "s_min_uncond": 0.0,
    "s_min_uncond_all": False,
    "skip_early_cond": 0.0,
    "cfg_rescale": 0.0,
}


@dataclass(frozen=True)
class Pass:
    """What one pass of a job is steered by.

    Args:
        prompt: With styles, without comments.
        negative_prompt: Likewise.
        timeline: The evaluations that it is planned to have.
        cfg_scale: The scale, as the sampler applies it.
    """

    prompt: str
    negative_prompt: str
    timeline: Timeline
    cfg_scale: float

    def strands(self, *, old: bool) -> tuple[Strand, ...]:
        """Return all that is said, the negative prompt last, with prompt editing counted by old or new rules."""
        timeline = replace(self.timeline, old=old)
        return *read_prompt(self.prompt, timeline), read_negative(self.negative_prompt, timeline)


def without_effect(
    settings: GuidanceSettings, passes: Sequence[Pass], tokenizer: ClipTokenizer
) -> dict[str, Any]:
    """Return the options that change nothing in these passes, at the values that say so.

    Args:
        settings: The options in force.
        passes: One or two.
        tokenizer: Tells how long prompts are.
    """
    if all(getattr(settings, name) == getattr(_DEFAULTS, name) for name in _ALL):
        return {}
    old = settings.use_old_scheduling
    texts = {
        span.text for one in passes for strand in one.strands(old=old) for span in strand.spans
    }
    idle: dict[str, Any] = {}
    if all(one.strands(old=True) == one.strands(old=False) for one in passes):
        idle["use_old_scheduling"] = False
    chunker = Chunker.of(tokenizer, settings)
    idle.update(_idle_in_chunks(chunker, texts))
    if not any(_uses_negative(one) for one in passes):
        idle.update(_ONLY_WITH_NEGATIVE)
    if not settings.s_min_uncond:
        idle["s_min_uncond_all"] = False
    lengths = [_lengths(one, chunker, old=old) for one in passes]
    if all(prompt == negative for prompt, negative in lengths):
        idle.update(pad_cond_uncond=False, pad_cond_uncond_v0=False)
    elif settings.pad_cond_uncond_v0:  # it comes first
        idle["pad_cond_uncond"] = False
    return idle


def notes(passes: Sequence[Pass]) -> tuple[str, ...]:
    """Return what a user should know of these prompts, each once."""
    found = [
        f"There is no {network.kind} '{network.args[0]}'; the picture is made without it."
        for one in passes
        for network in extract(one.prompt)[1]
    ]
    strands = [strand for one in passes for strand in one.strands(old=one.timeline.old)]
    if any(breaks_within_brackets(span.text) for strand in strands for span in strand.spans):
        found.append(
            "BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word."
        )
    return tuple(dict.fromkeys(found))


def _idle_in_chunks(chunker: Chunker, texts: set[str]) -> dict[str, Any]:
    """Return the options of cutting and weighing that leave every text's chunks as they are."""
    idle: dict[str, Any] = {}
    plain = replace(chunker, emphasis=_ORIGINAL)
    weighed = [chunk for text in texts for chunk in plain.chunks(text)]
    if weighed == [chunk for text in texts for chunk in chunker.chunks(text)] and not any(
        weight != 1 for chunk in weighed for weight in chunk.weights
    ):
        idle["emphasis"] = _ORIGINAL.name
    for option, other in (
        ("use_old_emphasis_implementation", replace(chunker, old=False)),
        ("comma_padding_backtrack", replace(chunker, backtrack=COMMA_BACKTRACK)),
    ):
        if all(other.chunks(text) == chunker.chunks(text) for text in texts):
            idle[option] = getattr(_DEFAULTS, option)
    return idle


def _uses_negative(one: Pass) -> bool:
    strands = read_prompt(one.prompt, one.timeline)
    return one.cfg_scale * sum(strand.weight for strand in strands) != 1


def _lengths(one: Pass, chunker: Chunker, *, old: bool) -> tuple[int, int]:
    """Return the number of chunks of the prompt and of the negative prompt."""
    *prompt, negative = one.strands(old=old)
    longest = [
        max(len(chunker.chunks(span.text)) for span in strand.spans)
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
    without_effect = {*(HEARD_BY_SOME - sampling_options)}
    if not clip_skip_has_effect(checkpoint):
        without_effect.add("CLIP_stop_at_last_layers")
    if not isinstance(request, InitImageRequest):
        without_effect.update(_INIT_IMAGE_OPTIONS)
        if not isinstance(request, Txt2ImgRequest) or not request.enable_hr:
            without_effect.add("img2img_extra_noise")
    if family.extra_input != "masked picture" or request.task != "inpaint":
        without_effect.add("inpainting_mask_weight")
    return settings.replace(**{name: getattr(DEFAULT_SETTINGS, name) for name in without_effect})


def clip_skip_has_effect(checkpoint: Checkpoint) -> bool:
    """Return whether clip skip has an effect: A1111 lets it do nothing to OpenCLIP."""
    return checkpoint.text.kind == CLIP


_OF_A_KIND = ("sgm_noise_multiplier", "always_discard_next_to_last_sigma", "enable_quantization")
# All options that some sampler or schedule listens to and another one does not.
HEARD_BY_SOME = frozenset(
    {*_OF_A_KIND, "ddim_discretize"}
    | {name for row in SAMPLERS for name in row.options}
    | {name for row in SCHEDULES for name in row.options}
)


def heard(
    sampler: Sampler, schedule: Schedule, settings: SamplingSettings, from_noise: bool
) -> frozenset[str]:
    """Return the names out of HEARD_BY_SOME that can change a run.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by what it stands for.
        settings: All options: one may take the effect of another.
        from_noise: Whether the run begins with noise alone.
    """
    names = {*sampler.options, "always_discard_next_to_last_sigma"}
    if sampler.kind.hears_schedule:
        names |= {*schedule.options, "enable_quantization"}
        if from_noise:
            names.add("sgm_noise_multiplier")
    if sampler.discards_next_to_last:
        names.remove("always_discard_next_to_last_sigma")
    if sampler.stride > 1:
        names.remove("enable_quantization")
    if settings.use_old_karras_scheduler_sigmas and settings.sigma_min and settings.sigma_max:
        names.discard("use_old_karras_scheduler_sigmas")
    return frozenset(names - _silent(names, settings))


def _silent(names: set[str], settings: SamplingSettings) -> set[str]:
    """Return what would count if there were noise to add."""
    sources = {"eta_ancestral", "eta_ddim", "s_churn"} & names
    if not sources or any(getattr(settings, source) for source in sources):
        return set()
    return {"s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta"}
