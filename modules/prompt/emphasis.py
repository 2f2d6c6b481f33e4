"""Parses emphasis to weighted texts: `(a)`, `(a:1.3)`, `[a]`, BREAK. Knows nothing of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.core.registry import Registry

_ROUND_BRACKET, _SQUARE_BRACKET = 1.1, 1 / 1.1
# A bracket nested deeper than this is text: 1.1 to this power is beyond all sense.
_MAX_DEPTH = 200
_TOKENS = re.compile(
    r"\\(?P<escaped>[()\[\]\\]?)"
    r"|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<mark>[()\[\]])"
    r"|[^\\()\[\]:]+|:"
)
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Emphasis:
    """How brackets are parsed and weights applied: a value of A1111's option "emphasis".

    Args:
        name: The value of the option.
        parses_brackets: Whether brackets and BREAK are syntax; otherwise they are plain text.
        applies_weights: Whether the text encoder's output for a token is multiplied by its weight.
        restores_mean: Whether the weighted output is scaled back to its original mean.
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
    """A piece of text and its weight."""

    text: str
    weight: float = 1.0


@dataclass
class _Piece:
    text: str
    weight: float = 1.0
    ends_section: bool = False  # a BREAK follows it


def parse_emphasis(text: str) -> tuple[tuple[WeightedText, ...], ...]:
    """Return the weighted pieces of any text, in the sections between BREAKs.

    Weights multiply when brackets nest; neighbours of the same weight are merged. An unclosed bracket reaches to the
    end; an unopened one is text. A BREAK within brackets begins a section, too.
    """
    return _merge_pieces(_parse_pieces(text))


def has_break_in_brackets(text: str) -> bool:
    """Return whether a BREAK is inside weighted brackets, where A1111 1.10.1 treats it as text."""
    return any(piece.ends_section and piece.weight != 1 for piece in _parse_pieces(text))


def _parse_pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    open_brackets: dict[str, list[int]] = {"(": [], "[": []}
    for match in _TOKENS.finditer(text):
        escaped, weight, mark = match["escaped"], match["weight"], match["mark"]
        if escaped is not None:
            pieces.append(_Piece(escaped))
        elif weight is not None and open_brackets["("]:
            _multiply(pieces, open_brackets["("].pop(), float(weight))
        elif mark in open_brackets and len(open_brackets[mark]) < _MAX_DEPTH:
            open_brackets[mark].append(len(pieces))
        elif mark == ")" and open_brackets["("]:
            _multiply(pieces, open_brackets["("].pop(), _ROUND_BRACKET)
        elif mark == "]" and open_brackets["["]:
            _multiply(pieces, open_brackets["["].pop(), _SQUARE_BRACKET)
        else:
            pieces.extend(_split_at_break(match[0]))
    for start in open_brackets["("]:
        _multiply(pieces, start, _ROUND_BRACKET)
    for start in open_brackets["["]:
        _multiply(pieces, start, _SQUARE_BRACKET)
    return pieces


def _multiply(pieces: list[_Piece], start: int, factor: float) -> None:
    for piece in pieces[start:]:
        piece.weight *= factor


def _split_at_break(text: str) -> list[_Piece]:
    parts = _BREAK.split(text)
    if len(parts) == 1:
        return [_Piece(text)]
    return [_Piece(part.strip(), ends_section=True) for part in parts[:-1]] + [
        _Piece(parts[-1].lstrip())
    ]


def _merge_pieces(pieces: list[_Piece]) -> tuple[tuple[WeightedText, ...], ...]:
    """Return the sections, with neighbours of the same weight merged."""
    sections: list[list[WeightedText]] = [[]]
    for piece in pieces:
        section = sections[-1]
        if section and section[-1].weight == piece.weight:
            section[-1] = WeightedText(section[-1].text + piece.text, piece.weight)
        elif piece.text:
            section.append(WeightedText(piece.text, piece.weight))
        if piece.ends_section:
            sections.append([])
    return tuple(tuple(section) for section in sections)
