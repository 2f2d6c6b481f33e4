"""RECIPES: the ways of making one checkpoint of others, one row each. Their formulas are in `backend/merging`."""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.registry import Registry


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
    """

    name: str
    summary: str
    model_count: int
    name_format: str
    has_multiplier: bool = True
    has_loras: bool = False
    converts_all: bool = False
    aliases: tuple[str, ...] = ()


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
