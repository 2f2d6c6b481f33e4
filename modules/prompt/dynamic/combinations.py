"""Every prompt of a template, one after another, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import overload

from modules.prompt.dynamic.syntax import (
    Access,
    Assignment,
    Group,
    Node,
    Text,
    Wildcard,
    parse_template,
    wrap,
)
from modules.prompt.dynamic.syntax import Sequence as SequenceNode
from modules.prompt.dynamic.wildcards import Wildcards

# So many parts of templates are counted; what is larger has more prompts than anybody makes.
_MAX_COUNTED = 50_000


@dataclass(frozen=True)
class CombinationCount:
    """How many prompts a template has.

    Args:
        count: The number; prompts that come out the same count each.
        is_exact: Whether there are no more of them.
    """

    count: int
    is_exact: bool = True

    def __str__(self) -> str:
        return f"{self.count:,}" if self.is_exact else f"more than {self.count:,}"


def count_combinations(text: str, wildcards: Wildcards) -> CombinationCount:
    """Return how many prompts `list_combinations` yields at most."""
    walk = _Walk(wildcards)
    try:
        return CombinationCount(
            walk.count(parse_template(text, wildcards.__contains__).node, _NO_SCOPE)
        )
    except _TooMany:
        return CombinationCount(_MAX_COUNTED, is_exact=False)


def list_combinations(text: str, wildcards: Wildcards) -> Iterator[str]:
    """Yield every prompt of a template; the last part changes first. Text with nothing to draw is yielded once.

    Of groups such as `{2$$a|b|c}` every order counts, weights do not. A wildcard within its own values stays as text.
    """
    walk = _Walk(wildcards)
    yield from walk.texts(parse_template(text, wildcards.__contains__).node, _NO_SCOPE)


class _TooMany(Exception):
    """Counting takes too long."""


@dataclass(frozen=True)
class _Scope:
    """What counts in a part of a template.

    Args:
        variables: Their values.
        open_names: Wildcards and variables that are being drawn, which are text within themselves.
    """

    variables: Mapping[str, Node]
    open_names: frozenset[str] = frozenset()

    def inside(self, name: str, variables: Mapping[str, Node]) -> _Scope:
        """Return the scope within a wildcard or a variable."""
        return _Scope({**self.variables, **variables}, self.open_names | {name})


_NO_SCOPE = _Scope({})


class _Walk:
    """Walks through the tree of a template.

    Args:
        wildcards: The files.
    """

    def __init__(self, wildcards: Wildcards) -> None:
        self._wildcards = wildcards
        self._counted = 0

    def texts(self, node: Node, scope: _Scope) -> Iterator[str]:
        """Yield what a node can become."""
        match node:
            case Text(text):
                yield text
            case SequenceNode(nodes):
                yield from self._sequence_texts(nodes, scope)
            case Group():
                yield from self._group_texts(node, scope)
            case Wildcard() | Access():
                inner, options, source = self._options(node, scope)
                if not options:
                    yield source
                for option in options:
                    yield from self.texts(option, inner)
            case Assignment():
                yield ""

    def count(self, node: Node, scope: _Scope) -> int:
        """Return how many texts a node can become.

        Raises:
            _TooMany: it would take too long.
        """
        if isinstance(node, Text):
            return 1
        self._counted += 1
        if self._counted > _MAX_COUNTED:
            raise _TooMany
        match node:
            case SequenceNode(nodes):
                return self._sequence_count(nodes, scope)
            case Group():
                inner, options = self._group_options(node, scope)
                counts = [self.count(option, inner) for option in options]
                bounds = _bounds(node, len(counts))
                return sum(_count_ordered(counts, size) for size in bounds)
            case Wildcard() | Access():
                inner, options, _ = self._options(node, scope)
                return sum(self.count(option, inner) for option in options) or 1
            case _:
                return 1

    def _sequence_texts(self, nodes: Sequence[Node], scope: _Scope) -> Iterator[str]:
        first = next((node for node in nodes if isinstance(node, Assignment)), None)
        if first is not None:
            rest = [node for node in nodes if node is not first]
            for assigned in self._assign(first, scope):
                yield from self._sequence_texts(rest, assigned)
            return
        if not nodes:
            yield ""
            return
        for text in self.texts(nodes[0], scope):
            for rest_text in self._sequence_texts(nodes[1:], scope):
                yield text + rest_text

    def _sequence_count(self, nodes: Sequence[Node], scope: _Scope) -> int:
        first = next((node for node in nodes if isinstance(node, Assignment)), None)
        if first is not None:
            rest = [node for node in nodes if node is not first]
            return sum(
                self._sequence_count(rest, assigned) for assigned in self._assign(first, scope)
            )
        product = 1
        for node in nodes:
            product *= self.count(node, scope)
        return product

    def _assign(self, node: Assignment, scope: _Scope) -> Iterator[_Scope]:
        """Yield the scopes behind an assignment: one for each value of a variable that is drawn at once."""
        if node.keeps and node.name in scope.variables:
            yield scope
            return
        values: Iterator[Node] = iter([node.value])
        if node.at_once:
            values = (Text(text) for text in self.texts(node.value, scope))
        for value in values:
            yield _Scope({**scope.variables, node.name: value}, scope.open_names)

    def _group_texts(self, group: Group, scope: _Scope) -> Iterator[str]:
        scope, options = self._group_options(group, scope)
        for size in _bounds(group, len(options)):
            for chosen in permutations(options, size):
                parts = [
                    part
                    for index, option in enumerate(chosen)
                    for part in ((Text(group.separator), option) if index else (option,))
                ]
                yield from self._sequence_texts(parts, scope)

    def _group_options(self, group: Group, scope: _Scope) -> tuple[_Scope, Sequence[Node]]:
        options = [option.node for option in group.options]
        if len(options) == 1 and isinstance(options[0], Wildcard):
            inner, values, source = self._options(options[0], scope)
            return inner, values or [Text(source)]
        return scope, options

    def _options(
        self, node: Wildcard | Access, scope: _Scope
    ) -> tuple[_Scope, Sequence[Node], str]:
        """Return the values of a wildcard or a variable with their scope, and the text that stays where there are none."""
        if isinstance(node, Access):
            value, key = scope.variables.get(node.name, node.default), f"${node.name}"
            is_open = value is None or key in scope.open_names
            return scope.inside(key, {}), [] if is_open or value is None else [value], node.source
        name = next(self.texts(node.path, scope), "")
        if name in scope.open_names:
            return scope, [], wrap(name)
        values = self._wildcards.find(name).texts
        parsed = _ParsedValues(values, self._wildcards)
        return scope.inside(name, node.variables), parsed, wrap(name)


class _ParsedValues(Sequence[Node]):
    """The values of a wildcard, parsed when they are used.

    Args:
        values: The values.
        wildcards: The files.
    """

    def __init__(self, values: Sequence[str], wildcards: Wildcards) -> None:
        self._values = values
        self._wildcards = wildcards

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Node]: ...
    def __getitem__(self, index: int | slice) -> Node | Sequence[Node]:
        if isinstance(index, slice):
            return _ParsedValues(self._values[index], self._wildcards)
        return parse_template(self._values[index], self._wildcards.__contains__).node


def _bounds(group: Group, count: int) -> range:
    if len(group.options) == 1 and count == 1:
        return range(1, 2)
    return range(min(group.low, count), min(group.high, count) + 1)


def _count_ordered(counts: Sequence[int], size: int) -> int:
    """Return the number of ordered selections of options, of which each can become several texts."""
    sums = [1, *[0] * size]  # elementary symmetric polynomials
    for count in counts:
        for degree in range(size, 0, -1):
            sums[degree] += count * sums[degree - 1]
    return sums[size] * factorial(size)
