"""The forms of the generation tabs: the places of their fields."""

from __future__ import annotations

from modules.params.requests.noise_from_image import SECTION as NOISE_FROM_IMAGE
from modules.ui.forms.layout import FormLayout, Section

_SAMPLING = (("sampler_name", "scheduler"), ("steps", "cfg_scale"))
_SIZE = (("width", "height"), ("n_iter", "batch_size"))
_VARIATION = Section(
    "Variation seed",
    (("subseed", "subseed_strength"), ("seed_resize_from_w", "seed_resize_from_h")),
)
_REFINER = Section("Refiner", (("refiner_checkpoint", "refiner_switch_at"),))
_HIRES = Section(
    "Hires. fix",
    (
        ("hr_upscaler", "hr_second_pass_steps"),
        ("denoising_strength", "hr_scale"),
        ("hr_resize_x", "hr_resize_y"),
        ("hr_sampler_name", "hr_scheduler"),
        ("hr_checkpoint_name",),
        ("hr_prompt",),
        ("hr_negative_prompt",),
    ),
    switch="enable_hr",
)
_CONTROL = Section("ControlNet", (("control_units",),))
_OUTPAINTING = Section(
    "Outpainting",
    (("outpaint_left", "outpaint_right"), ("outpaint_top", "outpaint_bottom")),
)
_SOFT = Section(
    "Soft inpainting",
    (
        ("soft_inpainting_schedule_bias", "soft_inpainting_preservation_strength"),
        ("soft_inpainting_transition_contrast_boost", "soft_inpainting_mask_influence"),
        ("soft_inpainting_difference_threshold", "soft_inpainting_difference_contrast"),
    ),
    switch="soft_inpainting_enabled",
)

TXT2IMG = FormLayout(
    "txt2img",
    "txt2img",
    rows=(*_SAMPLING, *_SIZE, ("seed",)),
    sections=(_VARIATION, _HIRES, _REFINER, _CONTROL),
)
IMG2IMG = FormLayout(
    "img2img",
    "img2img",
    board="sketch",
    rows=(
        ("init_image",),
        ("denoising_strength", "cfg_scale"),
        ("sampler_name", "scheduler"),
        ("steps", "img2img_fix_steps"),
        ("width", "height"),
        ("resize_mode",),
        ("n_iter", "batch_size"),
        ("seed",),
    ),
    sections=(_VARIATION, _REFINER, _CONTROL),
    overrides=("img2img_fix_steps",),
    left_out=("mask", "outpainting", "soft inpainting", NOISE_FROM_IMAGE),
    with_file_batch=True,
)
INPAINT = FormLayout(
    "inpaint",
    "inpaint",
    board="mask",
    rows=(
        ("init_image",),
        ("mask",),
        ("inpainting_mask_invert", "inpainting_fill"),
        ("inpaint_full_res", "inpaint_full_res_padding"),
        ("mask_blur", "denoising_strength"),
        ("sampler_name", "scheduler"),
        ("steps", "cfg_scale"),
        ("width", "height"),
        ("resize_mode",),
        ("n_iter", "batch_size"),
        ("seed",),
    ),
    sections=(
        _VARIATION,
        _OUTPAINTING,
        _SOFT,
        _REFINER,
        _CONTROL,
        Section(
            "Mask details",
            (
                ("mask_blur_y", "mask_round"),
                ("inpainting_mask_weight", "img2img_fix_steps"),
                ("latent_mask",),
            ),
        ),
    ),
    overrides=("img2img_fix_steps", "inpainting_mask_weight"),
    left_out=(NOISE_FROM_IMAGE,),
    with_file_batch=True,
)
DEPTH = FormLayout(
    "depth",
    "depth2img",
    rows=(
        ("init_image", "depth_map"),
        ("depth_contrast", "depth_invert"),
        ("depth_near", "depth_far"),
        ("denoising_strength", "cfg_scale"),
        ("sampler_name", "scheduler"),
        ("steps",),
        ("width", "height"),
        ("n_iter", "batch_size"),
        ("seed",),
    ),
    sections=(_VARIATION, _REFINER, _CONTROL),
)
# The form of the reverse half of the Diffusion process tab; it has no tab of its own.
PROCESS = FormLayout(
    "process",
    "txt2img",
    rows=(
        ("prompt",),
        ("negative_prompt",),
        ("sampler_name", "scheduler"),
        ("steps", "cfg_scale"),
        ("width", "height"),
        ("seed",),
    ),
    sections=(),
    left_out=("variation", "hires", "batch", "refiner", "control"),
)
EXTRAS = FormLayout(
    "extras",
    "extras",
    rows=(
        ("image",),
        ("upscaler_1",),
        ("resize_mode",),
        ("upscaling_resize", "max_side_length"),
        ("upscaling_resize_w", "upscaling_resize_h"),
        ("upscaling_crop",),
        ("upscaler_2", "extras_upscaler_2_visibility"),
        ("gfpgan_visibility",),
        ("codeformer_visibility", "codeformer_weight"),
    ),
    sections=(),
    left_out=("source", "unused"),
    with_file_batch=True,
    module="extras.js",
)
# The form of the Checkpoint merger tab (ui/tabs/merger).
MERGER = FormLayout(
    "merger",
    "merge",
    rows=(
        ("interp_method",),
        ("primary_model_name",),
        ("secondary_model_name",),
        ("tertiary_model_name",),
        ("multiplier",),
        ("loras",),
        ("custom_name", "checkpoint_format"),
        ("bake_in_vae", "save_as_half"),
    ),
    sections=(
        Section("Config and discarded weights", (("config_source",), ("discard_weights",))),
        Section(
            "Metadata",
            (
                ("save_metadata", "add_merge_recipe"),
                ("copy_metadata_fields",),
                ("metadata_json",),
            ),
        ),
    ),
)
