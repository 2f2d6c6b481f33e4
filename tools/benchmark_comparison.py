"""Compares what a benchmark prints with what it printed before, figure by figure.

An earlier output is a file of text, of any commit: lines are matched by their words, and figures by their places in them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

# What a repetition on a quiet machine may differ by.
TOLERANCE = 0.02
# Not those within words, such as "DPM++ 2M", "512x512" and "img2img".
_FIGURE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")
_RANGE = re.compile(r" \(from [^)]*\)")


@dataclass(frozen=True)
class Figure:
    """A figure that both outputs have.

    Args:
        line: The words around it; "#" replaces the figures.
        before: Of the earlier output.
        now: Of this one.
    """

    line: str
    before: float
    now: float

    @property
    def change(self) -> float:
        """Return by which share it has grown; infinity from 0."""
        if self.before == self.now:
            return 0.0
        return self.now / self.before - 1 if self.before else float("inf")


class _Tee(StringIO):
    """Keeps what is written, and passes it on."""

    def write(self, text: str) -> int:
        """Write a text."""
        sys.__stdout__.write(text)  # pyright: ignore[reportOptionalMemberAccess] - a program with a console has one
        return super().write(text)

    def flush(self) -> None:
        """Let the user see it now."""
        sys.__stdout__.flush()  # pyright: ignore[reportOptionalMemberAccess] - likewise


@contextmanager
def comparison(earlier: Path | None) -> Iterator[None]:
    """Print, after all that is printed meanwhile, how it compares with an earlier output; nothing without one."""
    if earlier is None:
        yield
        return
    before = earlier.read_text(encoding="utf-8")
    kept = _Tee()
    with redirect_stdout(kept):
        yield
    print("\n".join(report(find_figures(before, kept.getvalue()))))


def find_figures(before: str, now: str) -> list[Figure]:
    """Return the figures of all lines that have the same words; of a line that is repeated, each with its own."""
    waiting: dict[str, list[list[float]]] = {}
    for words, figures in _read(before):
        waiting.setdefault(words, []).append(figures)
    found: list[Figure] = []
    for words, figures in _read(now):
        if waiting.get(words):
            pairs = zip(waiting[words].pop(0), figures, strict=True)
            found += [Figure(words, *pair) for pair in pairs]
    return found


def report(figures: list[Figure]) -> list[str]:
    """Return lines about the figures that differ by more than TOLERANCE, those that have grown first."""
    grown = [figure for figure in figures if figure.change > TOLERANCE]
    fallen = [figure for figure in figures if figure.change < -TOLERANCE]
    return [
        f"{len(figures)} figures that the earlier output has, too: {len(grown)} are more than {TOLERANCE:.0%} above it,"
        f" {len(fallen)} more than {TOLERANCE:.0%} below.",
        *(
            f"{figure.change:+8.1%}  {figure.before:g} -> {figure.now:g}  {figure.line}"
            for figure in [*sorted(grown, key=lambda one: -one.change), *fallen]
        ),
    ]


def _read(text: str) -> Iterator[tuple[str, list[float]]]:
    """Yield the words of each line with figures, and the figures; what is a range of repetitions is left out."""
    for line in text.splitlines():
        line = _RANGE.sub("", line)
        figures = [float(found) for found in _FIGURE.findall(line)]
        if figures:
            yield " ".join(_FIGURE.sub("#", line).split()), figures
