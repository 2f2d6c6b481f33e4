"""Values for a form from an infotext: pasted, of an image that was put into the page, or of the last one that was made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.engine.page.override_chips import format_overrides
from modules.images.metadata import read_metadata
from modules.infotext import Infotext, InfotextResult, extract_infotext, interpret_infotext
from modules.infotext.text_format import parse_infotext
from modules.params.field_schema import MAX_JAVASCRIPT_INTEGER
from modules.params.requests.control_unit import UNIT_IMAGES, ControlUnit

_NOTHING_MADE = "No picture has been made yet. Put an infotext into the prompt box, then press ↙."
_ONLY_A_PROMPT = "The prompt box holds no infotext, only a prompt: nothing was changed."
# Fields that the form has a list of checkpoints for.
_CHECKPOINT_FIELDS = frozenset(("refiner_checkpoint", "hr_checkpoint_name"))
_NO_PARAMETERS = (
    "The picture holds no parameters that are understood; programs and sites often remove them."
)


@dataclass(frozen=True)
class FormFilling:
    """What an infotext puts into a form.

    Args:
        values: By field name, as JSON; `override_settings` holds the settings that the form has a control for.
        chips: All other settings of the infotext that differ from the current ones; None leaves the form's as they are.
        messages: What could not be applied, each as a sentence.
    """

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    chips: tuple[str, ...] | None = None
    messages: tuple[str, ...] = ()


def fill_from_text(
    engine: Engine, task_name: str, text: str, controls: Collection[str] = ()
) -> FormFilling:
    """Return what an infotext puts into a form.

    Args:
        engine: Has the tables that names are looked up in, and the last image.
        task_name: The form's row of TASKS.
        text: The infotext; the last image's if it is blank.
        controls: Settings that the form has a control for.

    Raises:
        NotFound: there is no such task.
    """
    infotext = text.strip() or _last_infotext(engine)
    if not infotext:
        return FormFilling(messages=(_NOTHING_MADE,))
    result = _interpret(engine, task_name, parse_infotext(infotext))
    if not result.infotext.pairs and not result.infotext.negative_prompt:
        return FormFilling(messages=(_ONLY_A_PROMPT,))
    return _fill(engine, result, controls)


def fill_from_image(
    engine: Engine, task_name: str, data: bytes, controls: Collection[str] = ()
) -> FormFilling:
    """Return what an image's metadata put into a form; see `fill_from_text`.

    Args:
        engine: Has the tables that names are looked up in.
        task_name: The form's row of TASKS.
        data: The image's file.
        controls: Settings that the form has a control for.

    Raises:
        UserError: the file is no image.
        NotFound: there is no such task.
    """
    infotext = extract_infotext(read_metadata(data), engine.registries.json_formats)
    if not infotext.prompt and not infotext.pairs:
        return FormFilling(messages=(_NO_PARAMETERS,))
    return _fill(engine, _interpret(engine, task_name, infotext), controls)


def _interpret(engine: Engine, task_name: str, infotext: Infotext) -> InfotextResult:
    request_type = engine.registries.tasks.get(task_name).request
    return interpret_infotext(infotext, make_infotext_context(engine), request_type)


def _fill(engine: Engine, result: InfotextResult, controls: Collection[str]) -> FormFilling:
    values = {name: _as_json(value) for name, value in result.values.items()}
    messages = tuple(result.report.messages())
    if not result.infotext.pairs:  # two prompts, or one: it states no setting
        negative = result.infotext.negative_prompt
        prompts = {**values, "negative_prompt": negative} if negative else values
        return FormFilling(prompts, messages=messages)
    overrides = dict(result.override_settings)
    values["override_settings"] = {
        name: overrides.pop(name, getattr(engine.settings, name)) for name in controls
    }
    chips = tuple(format_overrides(engine, values, overrides))
    for name in ("sd_model_checkpoint", "sd_vae"):  # the chips name them
        values.pop(name, None)
    for name in _CHECKPOINT_FIELDS & values.keys():
        values[name] = _find_title(engine, values[name])
    return FormFilling(values, chips, messages)


def _find_title(engine: Engine, name: str) -> str:
    """Return the title of a checkpoint, by which the lists of the form have it; a name without a file stays."""
    try:
        return engine.models.find_checkpoint(name).title if name else name
    except WebUIError:
        return name


def _as_json(value: Any) -> Any:
    """Return a value as the browser can hold it: an integer that it would round as text, units without images."""
    if isinstance(value, ControlUnit):
        return value.model_dump(mode="json", exclude=set(UNIT_IMAGES))
    if isinstance(value, tuple):
        return [_as_json(item) for item in cast("tuple[Any, ...]", value)]
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_integer and abs(value) > MAX_JAVASCRIPT_INTEGER else value


def _last_infotext(engine: Engine) -> str:
    """Return the infotext of the newest image; "" if there is none."""
    for job in reversed(engine.jobs()):
        images = job.status().images
        if images:
            return images[-1].infotext
    return ""
