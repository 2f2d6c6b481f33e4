"""Scripts in A1111's API: `script_name` and `script_args` of a body, and the lists of scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modules.core.errors import NotFound, UserError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine
from modules.params.param import params_of
from modules.scripts.protocol import Script

_FIELDS = frozenset(("script_name", "script_args"))


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


def parse_script(
    engine: Engine, body: Mapping[str, Any], task: str
) -> tuple[ScriptCall | None, list[str]]:
    """Return the script that a body names, None without one, and a warning if there is no such script here.

    Raises:
        UserError: the arguments are not a list or an object, or there are too many.
    """
    name = body.get("script_name")
    if not name:
        return None, []
    try:
        script = _selectable_script(engine, str(name), task)
    except NotFound as error:
        return None, [f"{error.message} The pictures were made without it. {error.hint}".strip()]
    return ScriptCall(script.name, _read_args(script, body.get("script_args") or (), task)), []


def list_scripts(engine: Engine) -> dict[str, list[str]]:
    """Return the names of the scripts that can be chosen, by A1111's tab, in lower case as in A1111."""
    return {
        tab: [script.name.lower() for script in engine.registries.scripts if script.tasks & tasks]
        for tab, tasks in _tasks_by_tab(engine).items()
    }


def describe_scripts(engine: Engine) -> list[dict[str, Any]]:
    """Return the scripts that can be chosen, with their arguments in order, once for each of A1111's tabs."""
    return [
        {
            "name": script.name.lower(),
            "is_alwayson": False,
            "is_img2img": tab == "img2img",
            "args": _describe_args(script),
        }
        for tab, tasks in _tasks_by_tab(engine).items()
        for script in engine.registries.scripts
        if script.tasks & tasks
    ]


def _tasks_by_tab(engine: Engine) -> dict[str, frozenset[str]]:
    """Return the names of tasks by A1111's tabs: img2img has all that need an init image."""
    tasks = engine.registries.tasks
    repainting = frozenset(task.name for task in tasks if "init image" in task.needs)
    return {"txt2img": frozenset(tasks.names()) - repainting, "img2img": repainting}


def _selectable_script(engine: Engine, name: str, task: str) -> Script:
    selectable = [script for script in engine.registries.scripts if task in script.tasks]
    names = {key.casefold(): row for row in selectable for key in (row.name, *row.aliases)}
    script = names.get(name.strip().casefold())
    if script is None:
        hint = did_you_mean(name, [script.name for script in selectable])
        raise NotFound(f"There is no script named '{name}' for {task}.", hint)
    return script


def _read_args(script: Script, args: Any, task: str) -> Mapping[str, Any]:  # JSON: anything
    if isinstance(args, Mapping):
        return cast("Mapping[str, Any]", args)
    names = script.argument_order
    if not isinstance(args, list | tuple) or len(cast("list[Any]", args)) > len(names):
        raise UserError(
            f"The arguments of {script.name} are {args!r}; a list of at most {len(names)} is needed."
        )
    values = cast("Sequence[Any]", args)
    if script.read_list is not None and values:
        return script.read_list(values, task)
    pairs = zip(names, values, strict=False)
    return {name: value for name, value in pairs if name}


def _describe_args(script: Script) -> list[dict[str, Any]]:
    fields = script.args_type.model_fields
    return [
        {
            "label": param.label,
            "value": fields[name].get_default(call_default_factory=True),
            "minimum": param.ge,
            "maximum": param.le,
            "step": param.multiple_of,
            "choices": list(param.labels) or None,
        }
        for name, param in params_of(script.args_type).items()
    ]
