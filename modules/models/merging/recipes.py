"""RECIPES: the ways of making one checkpoint of others, one row each. Formulas of its rows are in `backend/merging`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from modules.core.registry import Registry

# Of an extension: from the tensors of A, B and C, as many as the recipe has, the multiplier and the tensor's name; returns
# a tensor of the shape of A's. Any: tensors are the backend's.
RecipeFormula = Callable[[tuple[Any, ...], float, str], Any]
_MAX_MODELS = 3
_NAME_PARTS = "abc"


@dataclass(frozen=True)
class Recipe:
    """One row of RECIPES.

    Args:
        name: Identity, as the page, stored jobs and the metadata of results spell it; A1111's where it has the recipe.
        summary: One sentence with the formula; M is the multiplier.
        model_count: How many checkpoints it needs, of A, B and C in this order.
        name_format: The name of a result that gets none: {a}, {b} and {c} are the checkpoints' names, {m} is the
            multiplier, {rest} what it leaves of 1, and {loras} the names of the LoRAs.
        has_multiplier: Whether the multiplier has an effect.
        has_loras: Whether it needs LoRAs.
        converts_all: Whether saving as float16 converts every tensor, not only those that were merged.
        multiplier_label: What the page calls the multiplier; "" for its own name.
        formula: How tensors are merged, of a recipe of an extension.
        report: Keeps an error of the formula with the extension's other ones, and returns the sentence; the loader fills it
            in.

    Raises:
        ValueError: a merge has no so many checkpoints, or the format names what it has not.
    """

    name: str
    summary: str
    model_count: int
    name_format: str
    has_multiplier: bool = True
    has_loras: bool = False
    converts_all: bool = False
    aliases: tuple[str, ...] = ()
    multiplier_label: str = ""
    formula: RecipeFormula | None = None
    report: Callable[[str, BaseException], str] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not 1 <= self.model_count <= _MAX_MODELS:
            raise ValueError(
                f"The recipe '{self.name}' needs {self.model_count} checkpoints; a merge has 1 to {_MAX_MODELS}."
            )
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"{self.name!r} cannot be the name of a recipe.")
        known = {"m", "rest", "loras", *_NAME_PARTS[: self.model_count]}
        try:
            named = {part for _, part, _, _ in Formatter().parse(self.name_format)}
        except ValueError as error:
            raise ValueError(
                f"The name_format '{self.name_format}' of the recipe '{self.name}' cannot be read: {error}."
            ) from None
        for part in sorted(str(one) for one in named - known - {None}):
            raise ValueError(
                f"The name_format of the recipe '{self.name}' has {{{part}}}; there are"
                f" {', '.join(f'{{{one}}}' for one in sorted(known))}."
            )


NO_INTERPOLATION, WEIGHTED_SUM, ADD_DIFFERENCE = (
    "No interpolation",
    "Weighted sum",
    "Add difference",
)
BAKE_LORA = "Bake LoRA"

RECIPES: Registry[Recipe] = Registry(
    "recipe",
    [
        Recipe(
            NO_INTERPOLATION,
            "A is saved again: in another precision, with another VAE, or without some of its tensors.",
            model_count=1,
            name_format="{a}",
            has_multiplier=False,
            converts_all=True,
        ),
        Recipe(
            WEIGHTED_SUM,
            "A * (1 - M) + B * M: the higher the multiplier, the more of B.",
            model_count=2,
            name_format="{rest}({a}) + {m}({b})",
        ),
        Recipe(
            ADD_DIFFERENCE,
            "A + (B - C) * M: what B has learned beyond C is added to A.",
            model_count=3,
            name_format="{a} + {m}({b} - {c})",
        ),
        Recipe(
            BAKE_LORA,
            "A with the LoRAs in its weights, so that prompts need no tags for them.",
            model_count=1,
            name_format="{a} + {loras}",
            has_multiplier=False,
            has_loras=True,
            converts_all=True,
        ),
    ],
)
