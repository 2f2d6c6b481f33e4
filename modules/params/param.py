"""Declares a field once: page, HTTP schema, infotext and messages are derived from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from modules.core.errors import UserError

_MAX_NUMBER_LENGTH = 400  # Python refuses to read longer ones


def _always(request: object) -> bool:
    del request
    return True


@dataclass(frozen=True)
class Param:
    """Metadata of a field beyond its type and default.

    Args:
        label: The field's name on the page and in messages.
        help: One sentence saying what a larger or another value does.
        infotext: Its key in the infotext; None when it is not written as a pair.
        when: The pair is written only if this returns True for the request.
        omit_default: The pair is written only when the value is not the default.
        labels: Names of the values on the page and in the infotext, starting with that of False or 0; empty for a value
            that is shown as it is.
        ge: Smallest valid value.
        le: Largest valid value.
        multiple_of: Valid values are multiples of this.
        slider: Smallest value, largest value and step on the page.
        choices: Name of the engine's list that the page offers, such as "samplers".
        section: Its group on the page.
        lines: Height of the text box in lines.
        from_file: Whether the page offers to fill the text box from a file.
    """

    label: str
    help: str
    infotext: str | None = None
    when: Callable[[Any], bool] = _always
    omit_default: bool = False
    labels: tuple[str, ...] = ()
    ge: float | None = None
    le: float | None = None
    multiple_of: int | None = None
    slider: tuple[float, float, float] | None = None
    choices: str | None = None
    section: str = "main"
    lines: int = 1
    from_file: bool = False

    @property
    def may_be_omitted(self) -> bool:
        """Return whether an infotext may lack its key because the field has no effect or its default."""
        return self.omit_default or self.when is not _always

    def infotext_value(self, request: BaseModel, name: str) -> object:
        """Return a request's value as written in the infotext; None when it is not written."""
        value = getattr(request, name)
        if self.infotext is None or not self.when(request):
            return None
        if self.omit_default and value == type(request).model_fields[name].default:
            return None
        return self.labels[int(value)] if self.labels else value

    def error_message(self, value: object) -> str:
        """Return one sentence on why the value is not valid and which values are."""
        subject = f"{self.label} is {value!r}"
        value = read_number(value)  # pydantic accepts numbers as text
        # Only NaN is not itself; math.isnan would turn an int into a float, which a long one is too large for.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return f"{subject}; a number is needed."
        if self.ge is not None and value < self.ge:
            return f"{subject}; the smallest valid value is {self.ge:g}."
        if self.le is not None and value > self.le:
            return f"{subject}; the largest valid value is {_format_number(self.le)}."
        if self.multiple_of and value % self.multiple_of:
            below = int(value // self.multiple_of) * self.multiple_of
            return f"{subject}, not a multiple of {self.multiple_of}; use {below} or {below + self.multiple_of}."
        return f"{subject}; a whole number is needed."


def read_number(value: object) -> object:
    """Return text as the number it spells; any other value unchanged."""
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_LENGTH:
        for number_type in (int, float):
            with suppress(ValueError):
                return number_type(value)
    return value


def param(default: Any, label: str, **metadata: Any) -> Any:
    """Declare a field of a request or of the settings; see Param for the keywords."""
    row = Param(label, **metadata)
    bounds: dict[str, Any] = {"ge": row.ge, "le": row.le, "multiple_of": row.multiple_of}
    if isinstance(default, str):
        # Any bound makes pydantic refuse lone surrogates, which no file can hold.
        bounds["min_length"] = 0
    field = Field(
        default,
        title=label,
        description=row.help,
        **{key: value for key, value in bounds.items() if value is not None},
    )
    field.metadata.append(row)
    return field


def params_of(model: type[BaseModel]) -> Mapping[str, Param]:
    """Return the declared fields of a model by name, in order."""
    return {
        name: item
        for name, field in model.model_fields.items()
        for item in field.metadata
        if isinstance(item, Param)
    }


def unit_model(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of the units of a field that is a list of them, such as ControlNet's; None for any other field."""
    arguments = get_args(field.annotation)
    inner: object = arguments[0] if isinstance(field.default, tuple) and arguments else None
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def round_multiples(
    model: type[BaseModel], values: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return values with each number rounded down to the multiple that its field needs, and the names of those changed.

    What is no number, or out of range, is left for the model to refuse.
    """
    rounded = dict(values)
    changed: list[str] = []
    for name, row in params_of(model).items():
        number = read_number(values.get(name))
        if row.multiple_of is None or isinstance(number, bool):
            continue
        if not isinstance(number, int | float):
            continue
        # NaN is in no range; math.isfinite would turn an int into a float, which a long one is too large for.
        if (row.ge or -math.inf) <= number <= (row.le or math.inf) and abs(number) != math.inf:
            rounded[name] = int(number // row.multiple_of) * row.multiple_of
            changed += [name] if rounded[name] != number else []
    return rounded, tuple(changed)


M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], values: Mapping[str, Any]) -> M:
    """Return an instance of the model.

    Raises:
        UserError: a field is unknown or its value is not valid; the message names each.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(describe_validation_error(model, error)) from None


def describe_validation_error(model: type[BaseModel], error: ValidationError) -> str:
    """Return pydantic's errors as sentences for a user."""
    params = params_of(model)
    sentences: list[str] = []
    for details in error.errors():
        name = str(details["loc"][0]) if details["loc"] else ""
        row = params.get(name)
        if row is None:
            sentences.append(f"There is no field '{name}'.")
        elif details["type"] == "value_error":  # the field's validator raised a whole sentence
            sentences.append(f"{row.label}: {details.get('ctx', {}).get('error')}")
        elif details["type"] == "string_unicode":
            sentences.append(f"{row.label} contains half a character; type it again.")
        elif details["type"] == "literal_error":
            sentences.append(
                f"{row.label} is {details['input']!r}; use {details['ctx']['expected']}."  # pyright: ignore[reportTypedDictNotRequiredAccess]
            )
        elif details["type"].startswith(("string", "bool", "model", "list", "tuple")):
            sentences.append(f"{row.label} is {details['input']!r}; {details['msg'].lower()}.")
        else:
            sentences.append(row.error_message(details["input"]))
    return " ".join(sentences)


def _format_number(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
