"""Parses prompt editing, `[a:b:N]`, and alternation, `[a|b]`, to a tree. All else stays text.

The language is A1111's, whose grammar it follows to the letter, oddities included: unmatched brackets are text, a `|`
that is in no alternation makes the whole prompt text. Parentheses stay in the text; `emphasis` parses them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# A run of plain text, in which a backslash escapes the next character, or one mark.
_TOKENS = re.compile(r"(?P<plain>(?:[^\\\[\]():|]|\\.)+)|(?P<mark>[\[\]():|])")
# Nested brackets; a prompt with more is text. Nobody writes them, and parse time would grow with their square.
_MAX_DEPTH = 500
_WHEN = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True)
class Edit:
    """`[before:after:when]`: one text up to a step, another after it."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]
    when: str  # as written: with a decimal point it is a fraction


@dataclass(frozen=True)
class Alternation:
    """`[a|b|c]`: the next text at each step, cyclically."""

    options: tuple[tuple[Node, ...], ...]


Node = str | Edit | Alternation


@dataclass(frozen=True)
class Tree:
    """A parsed prompt.

    Args:
        nodes: Text and changes in order.
        changes: Every change, nested ones included.
    """

    nodes: tuple[Node, ...]
    changes: tuple[Edit | Alternation, ...] = ()


@dataclass
class _Frame:
    """An open bracket and the nodes after it; the root has no bracket."""

    bracket: str
    parts: list[list[Node]] = field(default_factory=lambda: [[]])
    marks: list[str] = field(default_factory=list[str])  # between the parts

    def as_text(self, closing: str = "") -> list[Node]:
        """Return the frame as text: brackets, parts and marks in order."""
        nodes: list[Node] = [self.bracket]
        for mark, part in zip(["", *self.marks], self.parts, strict=True):
            nodes += [mark, *part]
        return [node for node in [*nodes, closing] if node != ""]


class _Parser:
    """Consumes tokens from left to right, with a stack of open brackets."""

    def __init__(self) -> None:
        self.frames = [_Frame("")]
        self.changes: list[Edit | Alternation] = []
        self.is_text = False

    def add(self, nodes: list[Node]) -> None:
        self.frames[-1].parts[-1].extend(nodes)

    def add_mark(self, mark: str) -> None:
        """Consume a mark."""
        top = self.frames[-1]
        if mark in "([":
            self.frames.append(_Frame(mark))
            self.is_text |= len(self.frames) > _MAX_DEPTH
        elif mark in ":|":
            top.marks.append(mark)
            top.parts.append([])
        else:
            self.close(mark)

    def close(self, mark: str) -> None:
        top = self.frames[-1]
        change = self._change(top) if (top.bracket, mark) == ("[", "]") else None
        if change is not None:
            self.changes.append(change)
            self.frames.pop()
            self.add([change])
        elif (top.bracket, mark, top.marks) in _PLAIN_GROUPS:
            self.frames.pop()
            self.add(top.as_text(mark))
        else:  # unmatched, and so are all brackets that are still open around it
            self.flatten()
            self.add([mark])

    def flatten(self) -> None:
        """Turn every open bracket into text."""
        root, *open_frames = self.frames
        self.frames = [root]
        for frame in open_frames:
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
    """Return the tree of any text; what is not a valid change is text."""
    parser = _Parser()
    end = 0
    while end < len(text) and not parser.is_text:
        token = _TOKENS.match(text, end)
        if token is None:  # a backslash at the end
            return Tree((text,))
        end = token.end()
        if token["plain"]:
            parser.add([token["plain"]])
        else:
            parser.add_mark(token["mark"])
    parser.flatten()
    root = parser.frames[0]
    if parser.is_text or "|" in root.marks:
        return Tree((text,))
    return Tree(tuple(root.as_text()), tuple(parser.changes))
