"""Describes a form to the browser, which builds it: every field as it is declared, and its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modules.params.field_schema import field_schema
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest
from modules.params.requests.job_request import JobRequest
from modules.params.settings import Settings
from modules.scripts.protocol import Script
from modules.ui.forms.layout import FormLayout, Row

# Fields that the page has once for all tabs, or in a place of their own.
_PAGE_WIDE = frozenset(("override_settings", "sd_model_checkpoint", "sd_vae"))
_PICTURES = ("init_image", "image")
_ELSEWHERE = _PAGE_WIDE | {"prompt", "negative_prompt", "styles"}


def form_schema(
    layout: FormLayout, request_type: type[JobRequest], settings_class: type[Settings]
) -> dict[str, Any]:
    """Return a form as JSON.

    Args:
        layout: Places of the fields. A field without a place goes to a last section, "More".
        request_type: Declares the fields.
        settings_class: Declares the settings among them.

    Returns:
        `prefix`, `task`, `board`, `picture` (the field of the picture that it works on, "" for none), `generates` (whether
        it makes pictures by a prompt), `rows` (lists of names), `sections` (`title`, `switch`, `rows`), and `fields` by name.
    """
    fields = {
        name: field_schema(param, request_type.model_fields[name])
        for name, param in params_of(request_type).items()
        if name not in _PAGE_WIDE and param.section not in layout.left_out
    }
    for name in layout.overrides:
        param = params_of(settings_class)[name]
        fields[name] = field_schema(param, settings_class.model_fields[name]) | {"override": True}
    sections = [
        {"title": section.title, "switch": section.switch, "rows": section.rows}
        for section in layout.sections
    ]
    rest = _rest(layout, request_type)
    if rest:
        sections.append({"title": "More", "switch": "", "rows": rest})
    return {
        "prefix": layout.prefix,
        "task": layout.task,
        "board": layout.board,
        "with_file_batch": layout.with_file_batch,
        "picture": next((name for name in _PICTURES if name in fields), ""),
        "generates": issubclass(request_type, GenerationRequest),
        "rows": layout.rows,
        "sections": sections,
        "fields": fields,
    }


def _rest(layout: FormLayout, request_type: type[JobRequest]) -> list[Row]:
    """Return a row for each field without a place, such as those of an extension."""
    placed = layout.placed_fields() | _ELSEWHERE
    return [
        (name,)
        for name, param in params_of(request_type).items()
        if name not in placed and param.section not in layout.left_out
    ]


def script_schemas(scripts: Iterable[Script], task: str) -> list[dict[str, Any]]:
    """Return the scripts that can be chosen for a task as JSON, each with its `name` and its `fields` by name."""
    return [
        {
            "name": script.name,
            "fields": {
                name: field_schema(param, script.args_type.model_fields[name])
                for name, param in params_of(script.args_type).items()
            },
        }
        for script in scripts
        if task in script.tasks
    ]
