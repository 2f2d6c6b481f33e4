"""Parses templates, `{a|b}`, `{2$$a|b}`, `__wildcard__` and `${x=a}`, to a tree. All else stays text.

The language is that of the package dynamicprompts, which A1111's extension of that name uses. Text from which nothing can be
drawn is not touched: braces without a partner, `{word}`, and underscores that name no wildcard. Within braces a `|` in
square brackets belongs to A1111's `[a|b]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Nested braces; deeper ones are text.
_MAX_DEPTH = 40
_MAX_PATH = 200
_WRAP = "__"
_ESCAPED = re.compile(r"\\[{}\[\]|\\]")
_MARK = re.compile(r"\\[{}\[\]|\\]|[{}\[\]|]")
_START = re.compile(r"\\[{}\[\]|\\]|\$?\{|__")
_TAG = re.compile(r"<\w+:[^<>]+>")
_BOUND = re.compile(
    r"\s*(?:(\d+)\s*-\s*(\d+)|-\s*(\d+)|(\d+)\s*-|(\d+))\s*\$\$(?:([^${}]+)\$\$)?\s*"
)
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*::")
_SAMPLING = re.compile(r"\s*([~!@])")
_ASSIGN = re.compile(r"\s*([A-Za-z_-][\w-]*)\s*(\?)?=(!)?\s*")
_ACCESS = re.compile(r"\s*([A-Za-z_-][\w-]*)\s*(:\s*)?")
# What is allowed between the underscores of a wildcard, and which of it is meant as a name.
_PATH = re.compile(r"[^\s,:<>|(){}$#][^\n,:<>|(){}$#]*")
_NAME = re.compile(r"(?=.*[^\W_])[\w\-./*]+")
_PARAMETERS = re.compile(r"\s*\(([^()\n]+)\)")


@dataclass(frozen=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True)
class Sequence:
    """Nodes one after another."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Option:
    """One of the options of a group; of two, that with twice the weight is drawn twice as often."""

    node: Node
    weight: float = 1.0


@dataclass(frozen=True)
class Group:
    """`{a|b}`: some of its options, without repetition, joined by the separator.

    Args:
        options: At least one.
        low: The least number of them to draw.
        high: The largest number.
        separator: Between them.
        by_seed: Whether the next seed takes the next option, `{@a|b}`.
    """

    options: tuple[Option, ...]
    low: int = 1
    high: int = 1
    separator: str = ","
    by_seed: bool = False


@dataclass(frozen=True)
class Wildcard:
    """`__name__`: a value of a file.

    Args:
        path: Name of the file, or a pattern; may itself contain something to draw.
        by_seed: Whether the next seed takes the next value, `__@name__`.
        variables: What variables mean in its values, `__name(x=a)__`.
    """

    path: Node
    by_seed: bool = False
    variables: Mapping[str, Node] = field(default_factory=dict[str, "Node"])


@dataclass(frozen=True)
class Assignment:
    """`${x=a}`: gives a variable its value, for the following nodes at its level.

    Args:
        name: Of the variable.
        value: Drawn at each use.
        at_once: Whether it is drawn once, for all uses, `${x=!a}`.
        keeps: Whether a value that it has already stays, `${x?=a}`.
    """

    name: str
    value: Node
    at_once: bool = False
    keeps: bool = False


@dataclass(frozen=True)
class Access:
    """`${x}`, or `${x:default}`: the value of a variable.

    Args:
        name: Of the variable.
        source: As written, which stays where the variable has no value.
        default: Used in place of a value.
    """

    name: str
    source: str
    default: Node | None = None


Node = Text | Sequence | Group | Wildcard | Assignment | Access


@dataclass(frozen=True)
class Template:
    """A parsed text.

    Args:
        node: The tree.
        missing: Names between underscores that are no wildcard, though somebody may have meant one.
        found: Names and patterns of wildcards.
    """

    node: Node
    missing: tuple[str, ...] = ()
    found: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Return whether there is nothing to draw."""
        return isinstance(self.node, Text)


def parse_template(text: str, is_wildcard: Callable[[str], bool]) -> Template:
    """Return the tree of a text.

    Args:
        text: A prompt, or a value of a wildcard.
        is_wildcard: Returns whether a name or pattern has values.
    """
    if "{" not in text and _WRAP not in text:
        return Template(Text(text))
    parser = _Parser(text, is_wildcard)
    node = parser.sequence(0, len(text), 0)
    missing, found = (tuple(dict.fromkeys(names)) for names in (parser.missing, parser.found))
    return Template(node, missing, found)


def wrap(name: str) -> str:
    """Return a wildcard as it is written in a prompt."""
    return f"{_WRAP}{name}{_WRAP}"


class _Parser:
    """Parses spans of one text.

    Args:
        text: The text.
        is_wildcard: Returns whether a name or pattern has values.

    Attributes:
        missing: See `Template`.
        found: See `Template`.
    """

    def __init__(self, text: str, is_wildcard: Callable[[str], bool]) -> None:
        self.missing: list[str] = []
        self.found: list[str] = []
        self._text = text
        self._is_wildcard = is_wildcard
        self._partner = _pair_brackets(text)
        self._tags = [match.span() for match in _TAG.finditer(text)]

    def sequence(self, start: int, end: int, depth: int) -> Node:
        """Return the tree of a span: Text where there is nothing to draw in it."""
        nodes: list[Node] = []
        position = copied = start
        while (match := _START.search(self._text, position, end)) is not None:
            begin, position = match.span()
            found = None if _ESCAPED.fullmatch(match[0]) else self._node(begin, end, depth)
            if found is None:
                continue
            node, position = found
            if isinstance(node, Text):
                continue
            if begin > copied:
                nodes.append(Text(self._text[copied:begin]))
            nodes.append(node)
            copied = position
        if not nodes or copied < end:
            nodes.append(Text(self._text[copied:end]))
        return nodes[0] if len(nodes) == 1 else Sequence(tuple(nodes))

    def _node(self, begin: int, end: int, depth: int) -> tuple[Node, int] | None:
        """Return what begins at a position and where it ends; None for text, Text for text that is to be skipped."""
        if self._text.startswith(_WRAP, begin):
            return self._wildcard(begin, end, depth)
        brace = self._text.index("{", begin)
        closing = self._partner.get(brace, end)
        if closing >= end:
            return None
        if depth >= _MAX_DEPTH:
            return Text(""), closing + 1
        read = self._group if brace == begin else self._variable
        node = read(brace + 1, closing, depth + 1)
        return None if node is None else (node, closing + 1)

    def _group(self, start: int, end: int, depth: int) -> Node:
        """Return the group between two braces; Text where there is nothing to draw."""
        mark = _SAMPLING.match(self._text, start, end)
        start = mark.end() if mark else start
        by_seed = mark is not None and mark[1] == "@"
        low = high = 1
        separator = ","
        bound = _BOUND.match(self._text, start, end)
        spans = self._split(bound.end() if bound else start, end)
        options = [self._option(*span, depth) for span in spans]
        if bound is not None:
            low, high = _read_bound(bound, len(options))
            separator = bound[6] or separator
        elif len(options) == 1 and isinstance(options[0].node, Text):
            return options[0].node
        return Group(tuple(options), low, high, separator, by_seed)

    def _option(self, start: int, end: int, depth: int) -> Option:
        weight = _WEIGHT.match(self._text, start, end)
        if weight is not None:
            start = weight.end()
        start = self._skip_spaces(start, end)
        return Option(self.sequence(start, end, depth), float(weight[1]) if weight else 1.0)

    def _split(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the spans between the `|` that are in no brackets of their own."""
        spans: list[tuple[int, int]] = []
        position = begin = start
        while (match := _MARK.search(self._text, position, end)) is not None:
            position = match.end()
            if match[0] == "|":
                spans.append((begin, match.start()))
                begin = position
            elif self._partner.get(match.start(), -1) > match.start():
                position = min(self._partner[match.start()] + 1, end)
        return [*spans, (begin, end)]

    def _variable(self, start: int, end: int, depth: int) -> Node | None:
        assign = _ASSIGN.match(self._text, start, end)
        if assign is not None:
            value = self.sequence(assign.end(), end, depth)
            return Assignment(assign[1], value, bool(assign[3]), bool(assign[2]))
        access = _ACCESS.match(self._text, start, end)
        if access is None or (not access[2] and access.end() != end):
            return None
        default = self.sequence(access.end(), end, depth) if access[2] else None
        return Access(access[1], self._text[start - 2 : end + 1], default)

    def _wildcard(self, begin: int, end: int, depth: int) -> tuple[Node, int] | None:
        """Return the wildcard that begins at a position; Text, and where to go on, for one that there is not."""
        start = begin + len(_WRAP)
        by_seed = self._text.startswith("@", start)
        start += self._text.startswith(("~", "!", "@"), start)
        closing = self._find_closing(start, end)
        if closing is None:
            return None
        parameters = _PARAMETERS.search(self._text, start, closing)
        stop = parameters.start() if parameters and parameters.end() == closing else closing
        after = closing + len(_WRAP)
        name = self._text[start:stop]
        if any(mark in name for mark in "{$"):
            if name != name.strip():
                return None
            path = self.sequence(start, stop, depth + 1)
        else:
            is_glued = self._is_glued(begin, after)
            if not _PATH.fullmatch(name) or (is_glued and self._is_in_tag(begin)):
                return None
            if not self._is_wildcard(name):
                if _NAME.fullmatch(name) and not is_glued:
                    self.missing.append(name)
                return Text(name), closing  # whose underscores may begin another one
            self.found.append(name)
            path = Text(name)
        variables = self._parameters(parameters[1]) if parameters and stop < closing else {}
        return Wildcard(path, by_seed, variables), after

    def _find_closing(self, start: int, end: int) -> int | None:
        """Return where the underscores behind a wildcard's name are; None if there are none."""
        position = start
        while position < end and position - start < _MAX_PATH:
            if self._text.startswith(_WRAP, position) and position > start:
                return position if position + len(_WRAP) <= end else None
            if self._text[position] in "\n,:<>|}#":
                parameter = self._text.rfind("(", start, position)
                if parameter < 0 or self._text[position] in "\n<>":
                    return None
            position = self._partner.get(position, position) + 1
        return None

    def _parameters(self, text: str) -> dict[str, Node]:
        pairs = (pair.partition("=") for pair in text.split(","))
        return {
            name.strip(): parse_template(value.strip(), self._is_wildcard).node
            for name, _, value in pairs
        }

    def _skip_spaces(self, start: int, end: int) -> int:
        while start < end and self._text[start].isspace():
            start += 1
        return start

    def _is_glued(self, begin: int, after: int) -> bool:
        """Return whether a letter is adjacent to a span, as in `my__style__v2`."""
        before, behind = self._text[max(0, begin - 1) : begin], self._text[after : after + 1]
        return before.isalnum() or behind.isalnum()

    def _is_in_tag(self, position: int) -> bool:
        return any(start <= position < end for start, end in self._tags)


def _read_bound(match: re.Match[str], count: int) -> tuple[int, int]:
    both_low, both_high, only_high, only_low, exact = match.groups()[:5]
    if exact:
        return int(exact), int(exact)
    low, high = int(both_low or only_low or 1), int(both_high or only_high or count)
    return min(low, high), max(low, high)


def _pair_brackets(text: str) -> dict[int, int]:
    """Return the positions of brackets by those of their partners; curly ones end square ones that are still open."""
    partner: dict[int, int] = {}
    open_brackets: list[int] = []
    curly_count = 0
    for match in _MARK.finditer(text):
        mark, position = match[0], match.start()
        if mark in ("{", "["):
            open_brackets.append(position)
            curly_count += mark == "{"
        elif mark == "]" and open_brackets and text[open_brackets[-1]] == "[":
            partner[open_brackets.pop()] = position
        elif mark == "}" and curly_count:
            while text[opened := open_brackets.pop()] != "{":
                pass
            partner[opened] = position
            curly_count -= 1
    return partner
