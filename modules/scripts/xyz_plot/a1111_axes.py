"""A1111's axes by their names and numbers, and its list of a plot's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modules.core.errors import UserError
from modules.scripts.xyz_plot.values import join_values


@dataclass(frozen=True)
class NamedAxis:
    """An axis of A1111.

    Args:
        name: Its name.
        fields: Fields of the request, or options, that get its value; none for an axis of its own kind, or for one that is
            not there.
        cost: How long A1111 takes it to be to go from one value to the next.
        has_plain_labels: Whether a label is the value alone.
        tasks: "txt2img" or "img2img" where only that tab has it.
        has_choices: Whether its values come from a list, unless the plot is written as text.
        absent: Why it is not there, and what to use instead; "" for one that is.
    """

    name: str
    fields: tuple[str, ...] = ()
    cost: float = 0.0
    has_plain_labels: bool = False
    tasks: str = ""
    has_choices: bool = False
    absent: str = ""


def _row(name: str, *fields: str, **options: Any) -> NamedAxis:
    return NamedAxis(name, fields, **options)


# In A1111's order: a position among those of a tab, after "Nothing", is the number in a list of arguments.
NAMED_AXES = (
    _row("Seed", "seed"),
    _row("Var. seed", "subseed"),
    _row("Var. strength", "subseed_strength"),
    _row("Steps", "steps"),
    _row("Hires steps", "hr_second_pass_steps", tasks="txt2img"),
    _row("CFG Scale", "cfg_scale"),
    _row(
        "Image CFG Scale",
        tasks="img2img",
        absent="It changes pictures of InstructPix2Pix checkpoints alone, which cannot be used here.",
    ),
    _row("Prompt S/R"),
    _row("Prompt order"),
    _row("Sampler", "sampler_name", has_plain_labels=True, has_choices=True),
    _row(
        "Hires sampler",
        "hr_sampler_name",
        has_plain_labels=True,
        has_choices=True,
        tasks="txt2img",
    ),
    _row("Checkpoint name", "sd_model_checkpoint", cost=1.0, has_choices=True),
    _row("Negative Guidance minimum sigma", "s_min_uncond"),
    _row("Sigma Churn", "s_churn"),
    _row("Sigma min", "s_tmin"),
    _row("Sigma max", "s_tmax"),
    _row("Sigma noise", "s_noise"),
    _row("Schedule type", "scheduler", has_choices=True),
    _row("Schedule min sigma", "sigma_min"),
    _row("Schedule max sigma", "sigma_max"),
    _row("Schedule rho", "rho"),
    _row("Beta schedule alpha", "beta_dist_alpha"),
    _row("Beta schedule beta", "beta_dist_beta"),
    _row("Eta", "eta_ancestral", "eta_ddim"),  # the sampler takes the one that it knows
    _row("Clip skip", "CLIP_stop_at_last_layers"),
    _row("Denoising", "denoising_strength"),
    _row("Initial noise multiplier", "initial_noise_multiplier"),
    _row("Extra noise", "img2img_extra_noise"),
    _row("Cond. Image Mask Weight", "inpainting_mask_weight", tasks="img2img"),
    _row("Hires upscaler", "hr_upscaler", has_choices=True, tasks="txt2img"),
    _row("VAE", "sd_vae", cost=0.7, has_choices=True),
    _row("Styles", "styles", has_choices=True),
    _row("UniPC Order", "uni_pc_order", cost=0.5),
    _row("Face restore", has_choices=True, absent="Faces are restored in the Extras tab."),
    _row("Token merging ratio", "token_merging_ratio"),
    _row("Token merging ratio high-res", "token_merging_ratio_hr"),
    _row(
        "Always discard next-to-last sigma", "always_discard_next_to_last_sigma", has_choices=True
    ),
    _row("SGM noise multiplier", "sgm_noise_multiplier", has_choices=True),
    _row("Refiner checkpoint", "refiner_checkpoint", cost=1.0, has_choices=True),
    _row("Refiner switch at", "refiner_switch_at"),
    _row("RNG source", "randn_source", has_choices=True),
    _row("FP8 mode", "fp8_storage", cost=0.9, has_choices=True),
    _row("Size"),
)
NOTHING = "Nothing"
_AXES = ("x", "y", "z")
_SWITCHES = (
    "draw_legend",
    "include_lone_images",
    "include_sub_grids",
    "no_fixed_seeds",
    "vary_seeds_x",
    "vary_seeds_y",
    "vary_seeds_z",
    "margin_size",
    "csv_mode",
)
_LENGTH = 3 * len(_AXES) + len(_SWITCHES)


# Names of the arguments in A1111's list; the third one of each axis holds the values that were chosen from a list.
LIST_FIELDS = (
    *(name for letter in _AXES for name in (f"{letter}_type", f"{letter}_values", "")),
    *_SWITCHES,
)


def read_list(args: Sequence[Any], task: str) -> Mapping[str, Any]:  # JSON: anything
    """Return the arguments by name of A1111's list: type, values and chosen values of each axis, then the switches.

    Args:
        args: A type is its number in the tab's list, or its name.
        task: "txt2img", or any other for the list of img2img.

    Raises:
        UserError: the list is too long, or a number is that of no axis.
    """
    if len(args) > _LENGTH:
        raise UserError(
            f"The arguments of X/Y/Z plot are a list of {len(args)}; at most {_LENGTH} are known."
        )
    switches = args[3 * len(_AXES) :]
    values: dict[str, Any] = dict(zip(_SWITCHES, switches, strict=False))
    is_text = bool(values.get("csv_mode"))
    for letter, start in zip(_AXES, range(0, len(args), 3), strict=False):
        kind, text, chosen = (*args[start : start + 3], "", "")[:3]
        name = _read_name(letter, kind, task)
        values[f"{letter}_type"] = name
        has_choices = any(row.has_choices for row in NAMED_AXES if row.name == name)
        if has_choices and not is_text:
            text = join_values(map(str, chosen)) if isinstance(chosen, list) else chosen  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        values[f"{letter}_values"] = str(cast("Any", text) or "")
    return values


def list_types(argument: str, task: str) -> list[str]:
    """Return the names of the types in the order of A1111's list, for the arguments that are types.

    Args:
        argument: Its name.
        task: "txt2img", or any other for the list of img2img.
    """
    if not argument.endswith("_type"):
        return []
    tab = "txt2img" if task == "txt2img" else "img2img"
    return [NOTHING, *(row.name for row in NAMED_AXES if row.tasks in ("", tab))]


def _read_name(letter: str, kind: Any, task: str) -> str:
    """Return the name of a type."""
    if isinstance(kind, str) and not kind.strip().isdecimal():
        return kind
    names = list_types("x_type", task)
    try:
        number = int(kind or 0)
        if number < 0:
            raise IndexError
        return names[number]
    except (IndexError, TypeError, ValueError):
        raise UserError(
            f"{letter.upper()} type is {kind!r}.",
            f"Use the name of an axis, or its number from 0 to {len(names) - 1} in A1111's list.",
        ) from None
