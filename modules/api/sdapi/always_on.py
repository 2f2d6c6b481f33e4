"""`alwayson_scripts` in A1111's API: the arguments of its built-in always-on scripts are fields of the request here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modules.api.sdapi.requests.control_units import read_control_args
from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.params.requests.img2img import SOFT_INPAINTING_TITLE, SoftInpaintingFields

BOTH_TABS = ("txt2img", "img2img")


@dataclass(frozen=True)
class AlwaysOnScript:
    """One row of ALWAYS_ON_SCRIPTS.

    Args:
        name: As A1111 lists it.
        fields: Of the request, in the order of its arguments.
        switch: Position of an argument that is no field: without it the later ones do not count; -1 for none.
        switch_label: Its label.
        tabs: Where A1111 has it.
        overrides: Whether arguments replace fields of the body; A1111's API reads the fields of its built-in parts alone.
        read: Returns the fields that the arguments set, where those are no fields in order.
    """

    name: str
    fields: tuple[str, ...]
    switch: int = -1
    switch_label: str = ""
    tabs: tuple[str, ...] = BOTH_TABS
    overrides: bool = False
    read: Callable[[Any], dict[str, Any]] | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the fields in the order of the arguments, "" for the switch."""
        if self.switch < 0:
            return self.fields
        return (*self.fields[: self.switch], "", *self.fields[self.switch :])


ALWAYS_ON_SCRIPTS = (
    # A1111's have no arguments either: they only show options.
    AlwaysOnScript("extra options", ()),
    AlwaysOnScript("Hypertile", ()),
    AlwaysOnScript("controlnet", ("control_units",), overrides=True, read=read_control_args),
    AlwaysOnScript(
        SOFT_INPAINTING_TITLE.lower(),
        tuple(SoftInpaintingFields.model_fields),
        tabs=("img2img",),
        overrides=True,
    ),
    AlwaysOnScript("refiner", ("refiner_checkpoint", "refiner_switch_at"), 0, "Refiner"),
    AlwaysOnScript("sampler", ("steps", "sampler_name", "scheduler")),
    AlwaysOnScript(
        "seed",
        ("seed", "subseed", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h"),
        1,
        "Extra",
    ),
)


def merge_always_on(
    body: Mapping[str, Any], tab: str, selectable: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a body with the arguments of its always-on scripts as fields.

    Args:
        body: JSON.
        tab: A1111's tab of the route.
        selectable: Names of the scripts that `script_name` chooses, for the error.

    Raises:
        UserError: there is no such always-on script, or it has other arguments.
    """
    scripts = body.get("alwayson_scripts")
    merged = {name: value for name, value in body.items() if name != "alwayson_scripts"}
    if not scripts:
        return merged
    if not isinstance(scripts, Mapping):
        raise UserError(
            f"alwayson_scripts is {scripts!r}; an object of names is needed.",
            'Such as {"seed": {"args": [5]}}.',
        )
    for title, script in cast("Mapping[Any, Any]", scripts).items():
        args: Any = _arguments(script)
        row = _find(str(title), tab, selectable)
        values = _read(row, args)
        merged = {**merged, **values} if row.overrides else {**values, **merged}
    return merged


def _arguments(script: Any) -> Any:  # JSON: anything
    return cast("Mapping[str, Any]", script).get("args") if isinstance(script, Mapping) else script


def _find(title: str, tab: str, selectable: Sequence[str]) -> AlwaysOnScript:
    rows = {row.name.casefold(): row for row in ALWAYS_ON_SCRIPTS if tab in row.tabs}
    row = rows.get(title.casefold())
    if row is not None:
        return row
    if title.casefold() in map(str.casefold, selectable):
        raise UserError(
            f"'{title}' is no always-on script.", "Choose it with script_name and script_args."
        )
    raise UserError(
        f"There is no always-on script named '{title}' for {tab}.", did_you_mean(title, rows)
    )


def _read(row: AlwaysOnScript, args: Any) -> dict[str, Any]:
    """Return the fields that the arguments of a script set: a list in A1111's order, or an object by name."""
    if row.read is not None:
        return row.read(args or [])
    names = row.arguments
    if not names:
        if args:
            raise UserError(
                f"{row.name} has no arguments, and these were sent: {args!r}.",
                "Set options in override_settings.",
            )
        return {}
    if isinstance(args, Mapping):
        values = dict(cast("Mapping[str, Any]", args))
        unknown = sorted(values.keys() - set(row.fields))
        if unknown:
            raise UserError(
                f"'{row.name}' has no argument '{unknown[0]}'.", f"It has {', '.join(row.fields)}."
            )
        return values
    if not isinstance(args, list) or len(cast("list[Any]", args)) > len(names):
        raise UserError(
            f"The arguments of {row.name} are {args!r}; a list of at most {len(names)} is needed."
        )
    values = cast("list[Any]", args)
    if row.switch >= 0 and not all(values[row.switch : row.switch + 1]):
        values = values[: row.switch]
    return {name: value for name, value in zip(names, values, strict=False) if name}
