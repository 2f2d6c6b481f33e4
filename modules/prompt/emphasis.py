"""Text with brackets to pieces of text with weights: `(a)`, `(a:1.3)`, `[a]`, BREAK. Knows nothing of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.core.registry import Registry

_ROUND, _SQUARE = 1.1, 1 / 1.1
# A bracket within more brackets than these is text: 1.1 to this power is beyond all sense.
_DEEPEST = 200
_PIECES = re.compile(
    r"\\(?P<escaped>[()\[\]\\]?)"
    r"|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<mark>[()\[\]])"
    r"|[^\\()\[\]:]+|:"
)
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Emphasis:
    """One way to read brackets and to apply their weights; A1111's option "emphasis" names it.

    Args:
        name: What the option says.
        parses_brackets: Whether brackets and BREAK are marks; otherwise they are words.
        applies_weights: Whether what the text encoder says of a token is multiplied with its weight.
        restores_mean: Whether the multiplied numbers are scaled back to the mean they had.
    """

    name: str
    parses_brackets: bool = True
    applies_weights: bool = True
    restores_mean: bool = False
    aliases: tuple[str, ...] = ()


EMPHASES: Registry[Emphasis] = Registry(
    "emphasis mode",
    [
        Emphasis("None", parses_brackets=False, applies_weights=False),
        Emphasis("Ignore", applies_weights=False),
        Emphasis("Original", restores_mean=True),
        Emphasis("No norm"),
    ],
)


@dataclass(frozen=True)
class WeightedText:
    """A piece of text and how much it weighs."""

    text: str
    weight: float = 1.0


@dataclass
class _Piece:
    text: str
    weight: float = 1.0
    ends_section: bool = False  # a BREAK stands behind it


def parse_emphasis(text: str) -> tuple[tuple[WeightedText, ...], ...]:
    """Return the pieces of any text, in the sections that BREAK divides it into.

    Weights multiply when brackets nest; neighbours of the same weight are one piece. A bracket that is not closed
    reaches to the end; one that was not opened is text. A BREAK within brackets divides, too.
    """
    return _joined(_pieces(text))


def has_break_in_brackets(text: str) -> bool:
    """Return whether a BREAK stands where A1111 1.10.1 takes it for a word: where brackets weigh it."""
    return any(piece.ends_section and piece.weight != 1 for piece in _pieces(text))


def _pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in _PIECES.finditer(text):
        escaped, weight, mark = match["escaped"], match["weight"], match["mark"]
        if escaped is not None:
            pieces.append(_Piece(escaped))
        elif weight is not None and opened["("]:
            _multiply(pieces, opened["("].pop(), float(weight))
        elif mark in opened and len(opened[mark]) < _DEEPEST:
            opened[mark].append(len(pieces))
        elif mark == ")" and opened["("]:
            _multiply(pieces, opened["("].pop(), _ROUND)
        elif mark == "]" and opened["["]:
            _multiply(pieces, opened["["].pop(), _SQUARE)
        else:
            pieces.extend(_broken(match[0]))
    for start in opened["("]:
        _multiply(pieces, start, _ROUND)
    for start in opened["["]:
        _multiply(pieces, start, _SQUARE)
    return pieces


def _multiply(pieces: list[_Piece], start: int, factor: float) -> None:
    for piece in pieces[start:]:
        piece.weight *= factor


def _broken(text: str) -> list[_Piece]:
    parts = _BREAK.split(text)
    if len(parts) == 1:
        return [_Piece(text)]
    return [_Piece(part.strip(), ends_section=True) for part in parts[:-1]] + [
        _Piece(parts[-1].lstrip())
    ]


def _joined(pieces: list[_Piece]) -> tuple[tuple[WeightedText, ...], ...]:
    """Return the sections, neighbours of the same weight as one."""
    done: list[list[WeightedText]] = [[]]
    for piece in pieces:
        section = done[-1]
        if section and section[-1].weight == piece.weight:
            section[-1] = WeightedText(section[-1].text + piece.text, piece.weight)
        elif piece.text:
            section.append(WeightedText(piece.text, piece.weight))
        if piece.ends_section:
            done.append([])
    return tuple(tuple(section) for section in done)
