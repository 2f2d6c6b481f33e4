"""Reads the values of an axis as A1111 writes them: lists, ranges such as `1-9 (+2)` and counts such as `0-1 [5]`."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable

from modules.core.errors import UserError

# A value in JSON; those of "Prompt order" are orders of words.
AxisValue = bool | int | float | str | tuple[str, ...]

MAX_VALUES = 10_000  # of one axis
_DIGITS = 10  # without those in which sums of 0.1 differ from what somebody wrote
_MAX_PERMUTED = 7  # 5040 orders
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(
    rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d{{1,9}})\s*\])?"
)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def split_values(text: str) -> list[str]:
    """Return the parts of a text separated by commas or lines, without outer spaces; quotes keep a comma.

    Raises:
        UserError: a part is too long, or there are too many.
    """
    try:
        rows = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"the list cannot be read: {error}.") from None
    parts = [part.strip() for row in rows for part in row]
    _check_count(len(parts))
    return parts


def join_values(values: Iterable[str]) -> str:
    """Return the text that `split_values` reads as these values."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(list(values))
    return buffer.getvalue()


def read_texts(text: str) -> list[AxisValue]:
    """Return the parts as they are.

    Raises:
        UserError: there are too many.
    """
    return list(split_values(text))


def read_integers(text: str) -> list[AxisValue]:
    """Return whole numbers.

    Raises:
        UserError: a part is neither a whole number nor a range of them.
    """
    values: list[AxisValue] = []
    for part in filter(None, split_values(text)):
        try:
            values += _read_integers(part)
        except ValueError:
            raise UserError(
                f"'{part}' is no whole number and no range.",
                "Write 10, 20, 10-30 (+5) or 10-30 [5].",
            ) from None
        _check_count(len(values))
    return values


def read_floats(text: str) -> list[AxisValue]:
    """Return numbers. A range may exceed its end by less than a step, as in A1111.

    Raises:
        UserError: a part is neither a number nor a range of numbers.
    """
    values: list[AxisValue] = []
    for part in filter(None, split_values(text)):
        try:
            values += _read_floats(part)
        except ValueError:
            raise UserError(
                f"'{part}' is no number and no range.", "Write 0.5, 1, 0-1 (+0.2) or 0-1 [5]."
            ) from None
        _check_count(len(values))
    return values


def read_booleans(text: str) -> list[AxisValue]:
    """Return the value of `true` or `false`, in any case.

    Raises:
        UserError: a part is neither.
    """
    values: list[AxisValue] = []
    for part in filter(None, split_values(text)):
        if part.casefold() not in (*_TRUE, *_FALSE):
            raise UserError(f"'{part}' is neither true nor false.", "Write true, false.")
        values.append(part.casefold() in _TRUE)
    return values


def read_permutations(text: str) -> list[AxisValue]:
    """Return all orders of the parts.

    Raises:
        UserError: there are too many.
    """
    parts = split_values(text)
    if len(parts) > _MAX_PERMUTED:
        count = math.factorial(len(parts))
        raise UserError(
            f"{len(parts)} words have {count} orders.", f"Use at most {_MAX_PERMUTED} words."
        )
    return list(itertools.permutations(parts))


def _read_integers(part: str) -> list[int]:
    match = _RANGE.fullmatch(part)
    if match is None:
        return [int(part)]
    start, end = int(match[1]), int(match[2])
    if match[4] is not None:  # cut, not rounded, as in A1111
        return [int(number) for number in _count(start, end, int(match[4]))]
    step = int(match[3] or 1)
    numbers = range(start, end + 1, step)  # a step of 0 is a ValueError
    _check_count((end + 1 - start) // step)  # len() of a long range overflows
    return list(numbers)


def _read_floats(part: str) -> list[float]:
    match = _RANGE.fullmatch(part)
    if match is None:
        number = float(part)
        if not math.isfinite(number):
            raise ValueError
        return [number]
    start, end = float(match[1]), float(match[2])
    if match[4] is not None:
        return [round(number, _DIGITS) for number in _count(start, end, int(match[4]))]
    step = float(match[3] or 1)
    if not step:
        raise ValueError
    ratio = (end + step - start) / step  # numpy's arange(start, end + step, step)
    _check_count(ratio)
    return [round(start + step * index, _DIGITS) for index in range(max(0, math.ceil(ratio)))]


def _count(start: float, end: float, count: int) -> list[float]:
    """Return so many numbers at equal distances, both ends included."""
    _check_count(count)
    step = (end - start) / max(1, count - 1)
    numbers = [float(start + step * index) for index in range(count)]
    return [*numbers[:-1], float(end)] if count > 1 else numbers


def _check_count(count: float) -> None:
    if count > MAX_VALUES:
        raise UserError(
            f"it has {int(count)} values.", f"An axis can have at most {MAX_VALUES} values."
        )
