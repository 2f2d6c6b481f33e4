"""Describes preprocessors and control types to the browser, which builds the form of a ControlNet unit with them."""

from __future__ import annotations

from typing import Any

from modules.images.preprocessors.row import Preprocessor, Slider
from modules.plan.units.control_types import UNION_TYPES, list_control_types

_NO_MODELS = (
    "SparseCtrl",
)  # types whose models are for videos; their preprocessors are those of other types, too


def control_schema() -> dict[str, Any]:
    """Return what a unit's form depends on as JSON.

    Returns:
        `modules`: of each preprocessor by name its `label`, the `sliders` of resolution and thresholds (null for one that it
        has not), whether it `makes_image`, `needs_model` and `needs_mask`. `types`: of each control type by name its
        `modules`, the `module` that it begins with, and its `union_type`, "" for none.
    """
    types = [row for row in list_control_types(()) if row.name not in _NO_MODELS]
    return {
        "modules": {row.name: _module(row) for row in types[0].modules},
        "types": {
            row.name: {
                "modules": [module.name for module in row.modules],
                "module": row.ready_module.name,
                "union_type": UNION_TYPES.get(row.name, ""),
            }
            for row in types
        },
    }


def _module(row: Preprocessor) -> dict[str, Any]:
    return {
        "label": row.label,
        "sliders": {
            "processor_res": _slider(row.resolution),
            "threshold_a": _slider(row.a),
            "threshold_b": _slider(row.b),
        },
        "makes_image": row.makes_image,
        "needs_model": row.needs_model,
        "needs_mask": row.needs_mask,
    }


def _slider(slider: Slider | None) -> dict[str, Any] | None:
    if slider is None:
        return None
    return {
        "label": slider.label,
        "default": slider.value,
        "min": slider.minimum,
        "max": slider.maximum,
        "least": slider.minimum,
        "most": slider.maximum,
        "step": slider.step,
    }
