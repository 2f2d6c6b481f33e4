"""Scripts in A1111's API: `script_name` and `script_args` of a body, and the lists of scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from modules.api.sdapi.always_on import ALWAYS_ON_SCRIPTS, BOTH_TABS
from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine
from modules.params.field_schema import field_schema
from modules.params.param import params_of
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.protocol import Script

_FIELDS = frozenset(("script_name", "script_args"))
_LIMITS = ("minimum", "maximum", "step", "choices")


@dataclass(frozen=True)
class ScriptCall:
    """A script that a body names, with its arguments by name."""

    name: str
    args: Mapping[str, Any]


def without_script(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body without the fields that name a script, if it names one."""
    if not body.get("script_name"):
        return body
    return {name: value for name, value in body.items() if name not in _FIELDS}


def parse_script(engine: Engine, body: Mapping[str, Any], task: str) -> ScriptCall | None:
    """Return the script that a body names, None without one.

    Raises:
        UserError: there is no such script for the task, or the arguments are not a list or an object, or are too many.
    """
    name = body.get("script_name")
    if not name:
        return None
    script = _selectable_script(engine, str(name), task)
    return ScriptCall(script.name, _read_args(script, body.get("script_args") or (), task))


def selectable_names(engine: Engine, tab: str) -> list[str]:
    """Return the names of the scripts that can be chosen in one of A1111's tabs, in lower case and sorted as in A1111."""
    return [script.name.lower() for script in _selectable(engine, tab)]


def list_scripts(engine: Engine) -> dict[str, list[str]]:
    """Return the names of all scripts by A1111's tab: those that can be chosen, then those that are always on."""
    return {
        tab: [
            *selectable_names(engine, tab),
            *(row.name for row in ALWAYS_ON_SCRIPTS if tab in row.tabs),
        ]
        for tab in BOTH_TABS
    }


def describe_scripts(engine: Engine) -> list[dict[str, Any]]:
    """Return all scripts with their arguments in order, once for each of A1111's tabs."""
    request_types = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}
    described: list[dict[str, Any]] = []
    for tab in BOTH_TABS:
        for script in _selectable(engine, tab):
            args = [_describe(engine, script.args_type, name) for name in script.argument_order]
            if script.list_choices is not None:
                for name, arg in zip(script.argument_order, args, strict=True):
                    arg["choices"] = [*script.list_choices(name, tab)] or arg["choices"]
            described.append(_entry(script.name, tab, args))
        for row in ALWAYS_ON_SCRIPTS:
            if tab in row.tabs:
                args = [_describe(engine, request_types[tab], name) for name in row.arguments]
                if row.switch >= 0:
                    args[row.switch] |= {"label": row.switch_label, "value": False}
                described.append(_entry(row.name, tab, args, is_always_on=True))
    return described


def _entry(
    name: str, tab: str, args: list[dict[str, Any]], is_always_on: bool = False
) -> dict[str, Any]:
    return {
        "name": name.lower(),
        "is_alwayson": is_always_on,
        "is_img2img": tab == "img2img",
        "args": args,
    }


def _selectable(engine: Engine, tab: str) -> list[Script]:
    """Return the scripts of a tab by name; img2img has all tasks that need an init image."""
    tasks = engine.registries.tasks
    repainting = frozenset(task.name for task in tasks if "init image" in task.needs)
    of_tab = repainting if tab == "img2img" else frozenset(tasks.names()) - repainting
    scripts = [script for script in engine.registries.scripts if script.tasks & of_tab]
    return sorted(scripts, key=lambda script: script.name.lower())


def _selectable_script(engine: Engine, name: str, task: str) -> Script:
    selectable = [script for script in engine.registries.scripts if script.tasks]
    names = {key.casefold(): row for row in selectable for key in (row.name, *row.aliases)}
    script = names.get(name.strip().casefold())
    of_task = [row.name for row in selectable if task in row.tasks]
    if script is None:
        raise UserError(f"There is no script named '{name}'.", did_you_mean(name, of_task))
    if task not in script.tasks:
        tasks = " and ".join(
            row.name for row in engine.registries.tasks if row.name in script.tasks
        )
        raise UserError(f"The script '{script.name}' is for {tasks}, not for {task}.")
    return script


def _read_args(script: Script, args: Any, task: str) -> Mapping[str, Any]:  # JSON: anything
    if isinstance(args, Mapping):
        return cast("Mapping[str, Any]", args)
    names = script.argument_order
    is_list = isinstance(args, list | tuple)
    most = len(names) if script.read_list is None or script.list_fields else None
    if not is_list or (most is not None and len(cast("Sequence[Any]", args)) > most):
        raise UserError(
            f"The arguments of {script.name} are {args!r}; a list of at most {len(names)} is needed."
        )
    values = cast("Sequence[Any]", args)
    if script.read_list is not None and values:
        return script.read_list(values, task)
    return {name: value for name, value in zip(names, values, strict=False) if name}


def _describe(engine: Engine, model: type[BaseModel], name: str) -> dict[str, Any]:
    """Return an argument in A1111's shape; an empty one for a place without a field."""
    if not name:
        return {"label": "", "value": "", **dict.fromkeys(_LIMITS)}
    schema = field_schema(params_of(model)[name], model.model_fields[name])
    choices = [label for label, _ in schema.get("choices", ())]
    if "list" in schema:
        choices = engine.choices(schema["list"])
    return {
        "label": schema["label"],
        "value": schema.get("default"),
        "minimum": schema.get("min"),
        "maximum": schema.get("max"),
        "step": schema.get("step"),
        "choices": choices or None,
    }
