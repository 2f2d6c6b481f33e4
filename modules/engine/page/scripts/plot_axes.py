"""The axes of an X/Y/Z plot as the page offers them."""

from __future__ import annotations

from typing import Any

from modules.engine.engine import Engine
from modules.scripts.xyz_plot.axes import NETWORK_AXES, Axis, axes_of


def list_axes(engine: Engine, task: str) -> list[dict[str, Any]]:
    """Return the axes of a task, each with its `name` and the `choices` of its values, [] where they are written.

    The last ones are those of the networks that are there.

    Raises:
        NotFound: there is no such task.
    """
    request_type = engine.registries.tasks.get(task).request.with_settings(type(engine.settings))
    axes = axes_of(request_type).values()
    rows: list[dict[str, Any]] = [
        {"name": axis.name, "choices": _choices(engine, axis)} for axis in axes
    ]
    for prefix, (list_name, _) in NETWORK_AXES.items():
        names = engine.choices(list_name)
        rows += [{"name": prefix + name, "choices": []} for name in names if name != "None"]
    return rows


def _choices(engine: Engine, axis: Axis) -> list[str]:
    if isinstance(axis.choices, tuple):
        return list(axis.choices)
    return list(engine.choices(axis.choices)) if axis.choices else []
