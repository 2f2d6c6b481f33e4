"""EFFECTS: which option has an effect on which job, one row each; the rows of samplers and schedules list their own.

An option without an effect on a job is reset to its default, so that the infotext contains only what counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from modules.models.checkpoint import Checkpoint
from modules.models.families import Family
from modules.models.ldm.text_encoder_layouts import CLIP_KIND
from modules.models.model_spec import ModelSpec
from modules.plan.planned_pass import PlannedPass
from modules.plan.step_extensions import StepExtensionRow
from modules.plan.tables import BUILTIN_TABLES, PlanTables
from modules.plan.upscaling import enlarges_init_image
from modules.prompt.chunks import COMMA_BACKTRACK, Chunker
from modules.prompt.emphasis import EMPHASES

# Options that some samplers use and others do not, though no row of a sampler or schedule lists them.
_SAMPLER_FAMILY_OPTIONS = (
    "sgm_noise_multiplier",
    "always_discard_next_to_last_sigma",
    "enable_quantization",
    "ddim_discretize",
)
# Options with an infotext key that change every image.
ALWAYS_EFFECTIVE = frozenset(
    {
        *("randn_source", "sd_noise_schedule", "tiling", "use_downcasted_alpha_bar"),
        *(
            "precision",
            "accelerator",
            "deep_cache_interval",
            "hypertile_enable_unet",
            "hypertile_enable_vae",
        ),
    }
)
_HYPERTILE_UNET_OPTIONS = (
    "hypertile_max_depth_unet",
    "hypertile_max_tile_unet",
    "hypertile_swap_size_unet",
)
_HYPERTILE_VAE_OPTIONS = ("hypertile_max_tile_vae", "hypertile_swap_size_vae")
_ORIGINAL_EMPHASIS = EMPHASES.get("Original")


@dataclass(frozen=True)
class Effect:
    """One row of the table.

    Args:
        option: Name of the setting.
        changes: Returns whether a value other than the default changes a pass.
        of_first_pass: Whether only the first pass counts, not the hires pass.
    """

    option: str
    changes: Callable[[PlannedPass], bool]
    of_first_pass: bool = False


def clip_skip_has_effect(checkpoint: Checkpoint) -> bool:
    """Return whether clip skip has an effect; as in A1111 it has none on OpenCLIP.

    On SDXL it has one with `sdxl_clip_l_skip` alone, but A1111 writes it into every infotext.
    """
    return checkpoint.text_encoder.kind == CLIP_KIND


def _checkpoints(planned: PlannedPass) -> tuple[Checkpoint, ...]:
    """Return the checkpoint of a pass, and its refiner."""
    refiner = planned.plan.refiner
    return planned.plan.checkpoint, *(() if refiner is None else (refiner.plan.checkpoint,))


def _models(planned: PlannedPass) -> tuple[ModelSpec, ...]:
    """Return the checkpoint of a pass, and its refiner, as they are loaded."""
    refiner = planned.plan.refiner
    return planned.plan.model, *(() if refiner is None else (refiner.plan.model,))


def _families(planned: PlannedPass) -> tuple[Family, ...]:
    """Return the family of a pass's checkpoint, and that of its refiner."""
    refiner = planned.plan.refiner
    return planned.family, *(() if refiner is None else (refiner.plan.model.family,))


def _uses_sampling_option(option: str, planned: PlannedPass) -> bool:
    return option in planned.sampling_options


def _is_in_steps(row: StepExtensionRow, planned: PlannedPass) -> bool:
    return row.is_in(planned.plan.request, planned.settings)


def _any_holds(rules: Sequence[Callable[[PlannedPass], bool]], planned: PlannedPass) -> bool:
    return any(holds(planned) for holds in rules)


def _starts_from_image(planned: PlannedPass) -> bool:
    return planned.starts_from_image


def _uses_uncond(planned: PlannedPass) -> bool:
    return planned.uses_uncond


def _needs_padding(planned: PlannedPass) -> bool:
    return planned.needs_padding


def _runs_inpainting_unet(planned: PlannedPass) -> bool:
    return planned.family.extra_input == "inpaint"


def _states_mask_weight(planned: PlannedPass) -> bool:
    """Return whether the infotext states the mask weight; A1111 does so for SDXL only where it starts from an image."""
    is_stated = planned.starts_from_image or not planned.family.is_sdxl
    return _runs_inpainting_unet(planned) and is_stated


def _is_conditioned_on_sizes(planned: PlannedPass) -> bool:
    return planned.family.is_sdxl


def _is_conditioned_on_aesthetic_score(planned: PlannedPass) -> bool:
    return any(family.micro_conditioning == "aesthetic score" for family in _families(planned))


def _shows_image_to_inpainting_unet(planned: PlannedPass) -> bool:
    return _runs_inpainting_unet(planned) and planned.starts_from_image


def _attends_to_all_cells(planned: PlannedPass) -> bool:
    """Return whether the UNet has attention in its largest layers."""
    return not planned.family.is_sdxl


def _tiles_unet(planned: PlannedPass) -> bool:
    settings = planned.settings
    return settings.hypertile_enable_unet or settings.hypertile_enable_unet_secondpass


def _tiles_vae(planned: PlannedPass) -> bool:
    return planned.settings.hypertile_enable_vae


def _edits_prompts(planned: PlannedPass) -> bool:
    return planned.sub_prompts(old_scheduling=True) != planned.sub_prompts(old_scheduling=False)


def _may_draw_prompts(planned: PlannedPass) -> bool:
    """Return whether a prompt has marks of something to draw; whether there are such wildcards may change."""
    request = planned.plan.request
    return any(
        mark in text for mark in ("{", "__") for text in (request.prompt, request.negative_prompt)
    )


def _chunks_differ(planned: PlannedPass, other: Chunker) -> bool:
    chunker = planned.chunker
    return any(
        other.split_into_chunks(text) != chunker.split_into_chunks(text) for text in planned.texts
    )


def _emphasizes(planned: PlannedPass) -> bool:
    chunker = planned.chunker
    return _chunks_differ(planned, replace(chunker, emphasis=_ORIGINAL_EMPHASIS)) or any(
        weight != 1
        for text in planned.texts
        for chunk in chunker.split_into_chunks(text)
        for weight in chunk.weights
    )


# The options of samplers and schedules are not listed: see `list_effects`.
EFFECTS: tuple[Effect, ...] = (
    Effect("img2img_extra_noise", _starts_from_image),
    # The hires pass has values of its own for these.
    Effect("img2img_fix_steps", _starts_from_image, of_first_pass=True),
    Effect("img2img_color_correction", _starts_from_image, of_first_pass=True),
    Effect("initial_noise_multiplier", _starts_from_image, of_first_pass=True),
    Effect("inpainting_mask_weight", _shows_image_to_inpainting_unet),
    Effect(
        "CLIP_stop_at_last_layers",
        lambda planned: any(map(clip_skip_has_effect, _checkpoints(planned))),
        of_first_pass=True,
    ),
    Effect("fp8_storage", lambda planned: any(model.stores_fp8 for model in _models(planned))),
    Effect("refiner_switch_by_sample_steps", lambda planned: planned.plan.refiner is not None),
    Effect(
        "hires_fix_refiner_pass",
        lambda planned: bool(planned.plan.hires and planned.plan.refiner_model),
    ),
    Effect(
        "sdxl_clip_l_skip",
        lambda planned: any(
            slot.clip_skip == "sdxl_clip_l_skip" for slot in planned.family.text_encoders
        ),
    ),
    Effect("sdxl_crop_top", _is_conditioned_on_sizes),
    Effect("sdxl_crop_left", _is_conditioned_on_sizes),
    Effect("sdxl_refiner_low_aesthetic_score", _is_conditioned_on_aesthetic_score),
    Effect("sdxl_refiner_high_aesthetic_score", _is_conditioned_on_aesthetic_score),
    Effect("dynamic_prompts", _may_draw_prompts),
    Effect("token_merging_ratio", _attends_to_all_cells, of_first_pass=True),
    Effect("token_merging_ratio_hr", _attends_to_all_cells),
    *(Effect(option, _tiles_unet) for option in _HYPERTILE_UNET_OPTIONS),
    *(Effect(option, _tiles_vae) for option in _HYPERTILE_VAE_OPTIONS),
    Effect("hypertile_enable_unet_secondpass", lambda planned: planned.plan.hires is not None),
    Effect("emphasis", _emphasizes),
    Effect(
        "use_old_emphasis_implementation",
        lambda planned: _chunks_differ(planned, replace(planned.chunker, old_emphasis=False)),
    ),
    Effect("use_old_scheduling", _edits_prompts),
    Effect(
        "comma_padding_backtrack",
        lambda planned: _chunks_differ(
            planned, replace(planned.chunker, comma_backtrack=COMMA_BACKTRACK)
        ),
    ),
    Effect(
        "upscaler_for_img2img",
        lambda planned: enlarges_init_image(planned.plan.request),
        of_first_pass=True,
    ),
    Effect("s_min_uncond", _uses_uncond),
    Effect(
        "s_min_uncond_all",
        lambda planned: bool(planned.settings.s_min_uncond) and planned.uses_uncond,
    ),
    Effect("skip_early_cond", _uses_uncond),
    Effect("cfg_rescale", _uses_uncond),
    Effect(
        "pad_cond_uncond",  # the older way has precedence
        lambda planned: not planned.settings.pad_cond_uncond_v0 and planned.needs_padding,
    ),
    Effect("pad_cond_uncond_v0", _needs_padding),
)

# The options that an infotext states even at their defaults, as A1111's does, and the passes for which it does.
STATED_OPTIONS: Mapping[str, Callable[[PlannedPass], bool]] = {
    "inpainting_mask_weight": _states_mask_weight,
    "beta_dist_alpha": partial(_uses_sampling_option, "beta_dist_alpha"),
    "beta_dist_beta": partial(_uses_sampling_option, "beta_dist_beta"),
}


def stated_options(passes: Sequence[PlannedPass]) -> tuple[str, ...]:
    """Return the options that the infotext of these passes states even at their defaults."""
    return tuple(option for option, states in STATED_OPTIONS.items() if any(map(states, passes)))


def list_effects(tables: PlanTables = BUILTIN_TABLES) -> tuple[Effect, ...]:
    """Return EFFECTS and a row for each option that samplers, schedules or step extensions use on some jobs alone."""
    rules: dict[str, list[Callable[[PlannedPass], bool]]] = {}
    used = [name for row in (*tables.samplers, *tables.schedules) for name in row.options]
    for option in dict.fromkeys((*_SAMPLER_FAMILY_OPTIONS, *used)):
        rules[option] = [partial(_uses_sampling_option, option)]
    for row in tables.step_extensions:
        for option in row.options:
            rules.setdefault(option, []).append(partial(_is_in_steps, row))
    # An extension may list an option that other parts of a job use as well.
    others = ALWAYS_EFFECTIVE | {effect.option for effect in EFFECTS}
    rows = [
        Effect(option, partial(_any_holds, tuple(holds)))
        for option, holds in rules.items()
        if option not in others
    ]
    return (*rows, *EFFECTS)


def ineffective_options(
    passes: Sequence[PlannedPass], tables: PlanTables = BUILTIN_TABLES
) -> dict[str, Any]:
    """Return the options that do not have their default value and change nothing, with their default values.

    Args:
        passes: The first pass of a job, and the hires pass if it has one.
        tables: All samplers and schedules, with the options that they use.
    """
    settings = passes[0].settings
    fields = type(settings).model_fields
    ineffective: dict[str, Any] = {}
    for effect in list_effects(tables):
        default = fields[effect.option].default
        counted = passes[:1] if effect.of_first_pass else passes
        if getattr(settings, effect.option) != default and not any(map(effect.changes, counted)):
            ineffective[effect.option] = default
    return ineffective
