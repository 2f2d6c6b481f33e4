"""Text to a tree of what changes while a picture is made: `[a:b:N]` and `[a|b]`. All else stays text.

The language is A1111's, whose own grammar it follows to the letter, oddities included: brackets without a partner
are text, a `|` without one makes the whole prompt text. Parentheses stay in the text; `emphasis` reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Runs of plain text, in which a backslash takes the next character along, or one mark.
_PIECES = re.compile(r"(?P<plain>(?:[^\\\[\]():|]|\\.)+)|(?P<mark>[\[\]():|])")
# Brackets within brackets; a prompt with more is text. Nobody writes them, and time would grow with their square.
_DEEPEST = 500
_WHEN = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True)
class Edit:
    """`[before:after:when]`: one text up to a step, another from there on."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]
    when: str  # as written: a point in it makes it a fraction


@dataclass(frozen=True)
class Alternation:
    """`[a|b|c]`: one text after the other, again and again."""

    options: tuple[tuple[Node, ...], ...]


Node = str | Edit | Alternation


@dataclass(frozen=True)
class Tree:
    """A parsed prompt.

    Args:
        nodes: Text and changes in order.
        changes: Every change, however deep within another.
    """

    nodes: tuple[Node, ...]
    changes: tuple[Edit | Alternation, ...] = ()


@dataclass
class _Frame:
    """A bracket that is open, with what has come since; the root has none."""

    bracket: str
    parts: list[list[Node]] = field(default_factory=lambda: [[]])
    marks: list[str] = field(default_factory=list[str])  # what stands between the parts

    def as_text(self, closing: str = "") -> list[Node]:
        """Return what the frame is when it is no change: brackets, parts and marks in order."""
        nodes: list[Node] = [self.bracket]
        for mark, part in zip(["", *self.marks], self.parts, strict=True):
            nodes += [mark, *part]
        return [node for node in [*nodes, closing] if node != ""]


class _Parser:
    """Reads the pieces once, from left to right, with a stack of open brackets."""

    def __init__(self) -> None:
        self.frames = [_Frame("")]
        self.changes: list[Edit | Alternation] = []
        self.is_text = False

    def add(self, nodes: list[Node]) -> None:
        self.frames[-1].parts[-1].extend(nodes)

    def mark(self, mark: str) -> None:
        """Take one of the marks."""
        top = self.frames[-1]
        if mark in "([":
            self.frames.append(_Frame(mark))
            self.is_text |= len(self.frames) > _DEEPEST
        elif mark in ":|":
            top.marks.append(mark)
            top.parts.append([])
        else:
            self.close(mark)

    def close(self, mark: str) -> None:
        top = self.frames[-1]
        closed = self._change(top) if (top.bracket, mark) == ("[", "]") else None
        if closed is not None:
            self.changes.append(closed)
            self.frames.pop()
            self.add([closed])
        elif (top.bracket, mark, top.marks) in _PLAIN_GROUPS:
            self.frames.pop()
            self.add(top.as_text(mark))
        else:  # without a partner, and so are all brackets that are still open around it
            self.flatten()
            self.add([mark])

    def flatten(self) -> None:
        """Make every open bracket a piece of text."""
        root, *opened = self.frames
        self.frames = [root]
        for frame in opened:
            self.is_text |= "|" in frame.marks
            self.add(frame.as_text())

    def _change(self, frame: _Frame) -> Edit | Alternation | None:
        if frame.marks and set(frame.marks) == {"|"}:
            return Alternation(tuple(tuple(part) for part in frame.parts))
        if frame.marks not in ([":"], [":", ":"]):
            return None
        *texts, last = frame.parts
        when = _WHEN.fullmatch(last[0]) if len(last) == 1 and isinstance(last[0], str) else None
        if when is None:
            return None
        before, after = texts if len(texts) == 2 else ([], *texts)
        return Edit(tuple(before), tuple(after), when[1])


_PLAIN_GROUPS: tuple[tuple[str, str, list[str]], ...] = (
    ("(", ")", []),
    ("(", ")", [":"]),
    ("[", "]", []),
)


def parse(text: str) -> Tree:
    """Return the tree of any text; what cannot be read as a change is text."""
    parser = _Parser()
    end = 0
    while end < len(text) and not parser.is_text:
        piece = _PIECES.match(text, end)
        if piece is None:  # a backslash with nothing after it
            return Tree((text,))
        end = piece.end()
        if piece["plain"]:
            parser.add([piece["plain"]])
        else:
            parser.mark(piece["mark"])
    parser.flatten()
    root = parser.frames[0]
    if parser.is_text or "|" in root.marks:
        return Tree((text,))
    return Tree(tuple(root.as_text()), tuple(parser.changes))
