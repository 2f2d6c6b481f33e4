from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict

from modules.core.errors import UserError
from modules.params.param import Param, param, params_of, validate


class Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = param("", "Text", help="Text of the order.")
    count: int = param(1, "Count", help="How many.", ge=1, le=9, infotext="Number")
    side: int = param(8, "Side", help="How wide.", ge=8, multiple_of=8)
    weight: float = param(1.0, "Weight", help="How heavy.", ge=0, le=2.5)
    undeclared: int = 0


def error_of(**values: object) -> str:
    with pytest.raises(UserError) as caught:
        validate(Order, values)
    return str(caught.value)


def test_declared_fields_are_listed_in_order():
    assert list(params_of(Order)) == ["text", "count", "side", "weight"]
    assert params_of(Order)["count"] == Param("Count", "How many.", infotext="Number", ge=1, le=9)


def test_the_http_schema_carries_label_help_and_range():
    schema = Order.model_json_schema()["properties"]["count"]
    assert schema["title"] == "Count"
    assert schema["description"] == "How many."
    assert (schema["minimum"], schema["maximum"], schema["default"]) == (1, 9, 1)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("count", 0, "Count is 0; the smallest valid value is 1."),
        ("count", 10, "Count is 10; the largest valid value is 9."),
        ("count", 1.5, "Count is 1.5; a whole number is needed."),
        ("count", "many", "Count is 'many'; a number is needed."),
        ("count", None, "Count is None; a number is needed."),
        ("count", [1], "Count is [1]; a number is needed."),
        ("count", float("inf"), "Count is inf; the largest valid value is 9."),
        ("side", 13, "Side is 13, not a multiple of 8; use 8 or 16."),
        ("side", 0, "Side is 0; the smallest valid value is 8."),
        ("weight", 2.6, "Weight is 2.6; the largest valid value is 2.5."),
        ("weight", -0.1, "Weight is -0.1; the smallest valid value is 0."),
        ("weight", "heavy", "Weight is 'heavy'; a number is needed."),
        ("text", 3, "Text is 3; input should be a valid string."),
        ("colour", "red", "There is no field 'colour'."),
    ],
)
def test_an_invalid_value_gets_one_sentence_with_the_value(name: str, value: object, sentence: str):
    assert error_of(**{name: value}) == sentence


def test_nan_is_reported_as_not_a_number():
    assert error_of(weight=float("nan")) == "Weight is nan; a number is needed."


def test_several_invalid_values_get_one_sentence_each():
    assert error_of(count=0, colour="red") == (
        "Count is 0; the smallest valid value is 1. There is no field 'colour'."
    )


def test_a_lone_surrogate_is_refused():
    assert error_of(text="half a \ud83d") == "Text contains half a character; type it again."


def test_valid_values_make_an_instance():
    assert validate(Order, {"count": "3", "weight": 2}) == Order(count=3, weight=2.0)
