"""Options of prompts and guidance, named as in A1111."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param


class GuidanceSettings(BaseModel):
    """How prompts are read and how strictly they are followed, in addition to the request's own fields."""

    emphasis: Literal["None", "Ignore", "Original", "No norm"] = param(
        "Original",
        "Emphasis mode",
        help="How (word:1.3) is read: Original weighs it as A1111 does, No norm without restoring the mean of the embedding, Ignore drops the brackets, None takes them as text.",
        infotext="Emphasis",
        section="prompt",
    )
    use_old_emphasis_implementation: bool = param(
        False,
        "Old emphasis",
        help="Reads brackets as A1111 did in 2022, for pictures of that time.",
        infotext="Old emphasis",
        section="prompt",
    )
    use_old_scheduling: bool = param(
        False,
        "Old prompt editing timelines",
        help="Interprets whole numbers in [from:to:when] as A1111 did before 1.6, also in the hires pass.",
        infotext="Old prompt editing timelines",
        section="prompt",
    )
    comma_padding_backtrack: int = param(
        20,
        "Prompt word wrap length limit",
        help="A prompt is read in chunks of 75 tokens; a full one is split at a comma at most this many tokens back, 0 splits it where it ends.",
        infotext="Word wrap limit",
        ge=0,
        le=74,
        slider=(0, 74, 1),
        section="prompt",
    )
    enable_prompt_comments: bool = param(
        True,
        "Comments in prompts",
        help="Removes everything from a # to the end of the line.",
        section="prompt",
    )
    dynamic_prompts: bool = param(
        True,
        "Dynamic prompts",
        help="Draws from {a|b} and __wildcards__ in prompts, for each picture by its own seed; off takes them as text.",
        infotext="Dynamic prompts",
        section="prompt",
    )
    CLIP_stop_at_last_layers: int = param(
        1,
        "Clip skip",
        help="The layer of the text encoder that is used, counted from its end: 1 is the last, 2 suits many anime models; no effect on SD 2.x, and on SDXL with its option alone.",
        infotext="Clip skip",
        ge=1,
        le=12,
        slider=(1, 12, 1),
        section="prompt",
    )
    sdxl_clip_l_skip: bool = param(
        False,
        "Clip skip on SDXL",
        help="Clip skip counts for the first text encoder of SDXL: 1 is its last layer, 2 the usual one.",
        infotext="SDXL clip skip",
        section="sdxl",
    )
    sdxl_crop_top: int = param(
        0,
        "Crop top",
        help="Tells SDXL that its picture is cropped by so many pixels at the top; more shows cropped subjects.",
        infotext="SDXL crop top",
        ge=0,
        le=8192,
        section="sdxl",
    )
    sdxl_crop_left: int = param(
        0,
        "Crop left",
        help="Tells SDXL that its picture is cropped by so many pixels at the left.",
        infotext="SDXL crop left",
        ge=0,
        le=8192,
        section="sdxl",
    )
    sdxl_refiner_low_aesthetic_score: float = param(
        2.5,
        "Low aesthetic score",
        help="The aesthetic score with which the SDXL refiner is conditioned for the negative prompt; a higher value moves away from good pictures.",
        infotext="SDXL low aesthetic score",
        ge=-100,
        le=100,
        section="sdxl",
    )
    sdxl_refiner_high_aesthetic_score: float = param(
        6.0,
        "High aesthetic score",
        help="The aesthetic score with which the SDXL refiner is conditioned for the prompt; a higher value asks for more beautiful pictures.",
        infotext="SDXL high aesthetic score",
        ge=-100,
        le=100,
        section="sdxl",
    )
    s_min_uncond: float = param(
        0.0,
        "Negative guidance minimum sigma",
        help="Below this noise level every second step skips the negative prompt: faster, slightly different.",
        infotext="NGMS",
        ge=0,
        le=15,
        slider=(0, 15, 0.01),
        section="guidance",
    )
    s_min_uncond_all: bool = param(
        False,
        "Negative guidance minimum sigma for all steps",
        help="Skips the negative prompt in every step below that noise level, not in every second one.",
        infotext="NGMS all steps",
        section="guidance",
    )
    skip_early_cond: float = param(
        0.0,
        "Ignore negative prompt during early sampling",
        help="Share of the steps at the beginning that ignore the negative prompt: more is faster and follows the prompt less.",
        infotext="Skip Early CFG",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="guidance",
    )
    cfg_rescale: float = param(
        0.0,
        "CFG rescale",
        help="Reduces the excess contrast of a high CFG scale (Lin et al. 2023): 0 is off, 0.7 suits v-prediction.",
        infotext="CFG rescale",
        ge=0,
        le=1,
        slider=(0, 1, 0.05),
        section="guidance",
    )
    batch_cond_uncond: bool = param(
        True,
        "Batch cond/uncond",
        help="Evaluates prompt and negative prompt in one batch: faster, needs more memory.",
        section="guidance",
    )
    pad_cond_uncond: bool = param(
        False,
        "Pad prompt and negative prompt to the same length",
        help="Pads the shorter one with empty chunks, so that both can be evaluated in one batch.",
        infotext="Pad conds",
        section="guidance",
    )
    pad_cond_uncond_v0: bool = param(
        False,
        "Pad prompt and negative prompt to the same length (old)",
        help="Repeats the last vector of a shorter negative prompt or truncates a longer one, as A1111 did before 1.6 for DDIM.",
        infotext="Pad conds v0",
        section="guidance",
    )
