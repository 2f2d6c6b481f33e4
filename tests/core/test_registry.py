from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from modules.core.errors import NotFound
from modules.core.registry import Registry, did_you_mean


@dataclass(frozen=True)
class Colour:
    name: str
    aliases: tuple[str, ...] = ()


def colours() -> Registry[Colour]:
    return Registry("colour", [Colour("Red", ("rouge",)), Colour("Blue"), Colour("Dark green")])


def test_rows_keep_their_order():
    assert colours().names() == ["Red", "Blue", "Dark green"]
    assert [row.name for row in colours()] == colours().names()
    assert len(colours()) == 3


@pytest.mark.parametrize("name", ["Red", "red", " RED ", "rouge", "Rouge"])
def test_a_row_is_found_by_name_or_alias_in_any_case(name: str):
    assert colours().get(name).name == "Red"


def test_the_error_on_an_unknown_name_suggests_the_closest():
    with pytest.raises(NotFound) as caught:
        colours().get("Dark gren")
    assert str(caught.value) == "There is no colour named 'Dark gren'. Did you mean 'Dark green'?"


def test_the_error_on_an_unknown_name_without_close_matches_lists_the_names():
    with pytest.raises(NotFound) as caught:
        colours().get("zzz")
    assert caught.value.hint == "Available: 'Red', 'Blue', 'Dark green'."


def test_an_empty_registry_has_nothing_to_suggest():
    with pytest.raises(NotFound) as caught:
        Registry[Colour]("colour").get("Red")
    assert str(caught.value) == "There is no colour named 'Red'."


@pytest.mark.parametrize("row", [Colour("RED"), Colour("rouge"), Colour("Pink", ("blue",))])
def test_a_taken_name_or_alias_is_refused(row: Colour):
    table = colours()
    with pytest.raises(ValueError, match="taken"):
        table.add(row)
    assert table.names() == ["Red", "Blue", "Dark green"]


def test_a_copy_is_independent():
    table = colours()
    copied = table.copy()
    copied.add(Colour("Pink"))
    assert "Pink" not in table.names()
    assert copied.get("rouge") is table.get("Red")


def test_a_long_list_of_names_is_truncated():
    known = [f"row{number}" for number in range(9)]
    assert did_you_mean("zzz", known).endswith("'row5' and others.")


def test_a_row_is_inserted_before_another_one():
    table = colours()
    table.add(Colour("Pink"), before="rouge")
    table.add(Colour("Black"), before="dark green")
    assert table.names() == ["Pink", "Red", "Blue", "Black", "Dark green"]
    assert table.get("Pink").name == "Pink"


def test_a_row_is_not_added_before_an_unknown_one():
    table = colours()
    with pytest.raises(NotFound, match="There is no colour named 'Grey'"):
        table.add(Colour("Pink"), before="Grey")
    assert table.names() == ["Red", "Blue", "Dark green"]


def test_a_row_needs_no_aliases():
    table = Registry("tree", [SimpleNamespace(name="Oak")])
    assert table.get("oak").name == "Oak"
