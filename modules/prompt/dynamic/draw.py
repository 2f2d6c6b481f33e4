"""Draws a prompt from a template, with the random numbers of one seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from modules.prompt.dynamic.syntax import (
    Access,
    Assignment,
    Group,
    Node,
    Sequence,
    Template,
    Text,
    Wildcard,
    parse_template,
    wrap,
)
from modules.prompt.dynamic.wildcards import Wildcards, WildcardValues

# Wildcards within values of wildcards, and everything that is drawn for one prompt. More of it is a file that leads back to
# itself, whose text stays.
_MAX_LEVELS = 40
_MAX_DRAWS = 10_000
_MAX_LENGTH = 200_000
_MAX_NOTES = 5
# The package dynamicprompts takes the first of ten at a time, where values have weights.
_DRAWN_AT_ONCE = 10


@dataclass(frozen=True)
class DrawnText:
    """What was drawn from a template.

    Args:
        text: The prompt.
        notes: Sentences for the user.
        is_drawn: Whether it differs from the template.
    """

    text: str
    notes: tuple[str, ...]
    is_drawn: bool


class PromptTemplate:
    """A prompt from which others may be drawn.

    Args:
        text: As it was typed.
        wildcards: The files.
    """

    def __init__(self, text: str, wildcards: Wildcards) -> None:
        self.text = text
        self._wildcards = wildcards
        self._template = parse_template(text, wildcards.__contains__)

    @property
    def wildcard_names(self) -> tuple[str, ...]:
        """Return the names and patterns of its wildcards, in order."""
        return self._template.found

    @property
    def is_text(self) -> bool:
        """Return whether there is nothing to draw."""
        return self._template.is_text

    def draw(self, seed: int) -> DrawnText:
        """Return what a seed draws: the same as in the package dynamicprompts 0.31. Text stays as it is.

        Args:
            seed: Of the image; neighbours draw independently of each other.
        """
        drawer = _Drawer(seed, self._wildcards)
        text = drawer.draw_template(self._template, {})
        return DrawnText(text, drawer.notes(), text != self.text)


_Variables = Mapping[str, Node]


class _Drawer:
    """Draws once.

    Args:
        seed: Seeds the random numbers.
        wildcards: The files.

    Attributes:
        missing: Names of wildcards that there are not, in order.
    """

    def __init__(self, seed: int, wildcards: Wildcards) -> None:
        self.missing: dict[str, None] = {}
        self._seed = seed
        self._random = random.Random(seed)
        self._wildcards = wildcards
        self._levels = 0
        self._draws = 0
        self._length = 0
        self._endless: dict[str, None] = {}
        self._open_variables: set[str] = set()

    def notes(self) -> tuple[str, ...]:
        """Return what a user should know."""
        missing = islice(self.missing, _MAX_NOTES)
        notes = [missing_note(name, self._wildcards) for name in missing]
        return (*notes, *(endless_note(name) for name in self._endless))

    def draw_template(self, template: Template, variables: _Variables) -> str:
        """Return what is drawn from a parsed text."""
        self.missing.update(dict.fromkeys(template.missing))
        return self._draw(template.node, variables)

    def _draw(self, node: Node, variables: _Variables) -> str:
        match node:
            case Text(text):
                return text
            case Sequence(nodes):
                return self._draw_sequence(nodes, variables)
            case Group():
                return self._draw_group(node, variables)
            case Wildcard():
                return self._draw_wildcard(node, variables)
            case Access():
                return self._draw_variable(node, variables)
            case Assignment():
                return ""

    def _draw_sequence(self, nodes: tuple[Node, ...], variables: _Variables) -> str:
        variables = dict(variables)
        for node in nodes:
            if isinstance(node, Assignment) and not (node.keeps and node.name in variables):
                value = node.value
                variables[node.name] = Text(self._draw(value, variables)) if node.at_once else value
        return "".join([self._draw(node, variables) for node in nodes])

    def _draw_group(self, group: Group, variables: _Variables) -> str:
        options = group.options
        if len(options) == 1:
            node = options[0].node
            is_wildcard = isinstance(node, Wildcard)
            return (
                self._draw_values(group, node, variables)
                if is_wildcard
                else self._draw(node, variables)
            )
        weights = [option.weight for option in options]
        self._levels += 1
        parts = [
            self._draw(options[index].node, variables) for index in self._choose(group, weights)
        ]
        self._levels -= 1
        return group.separator.join(parts)

    def _draw_values(self, group: Group, node: Wildcard, variables: _Variables) -> str:
        """Return what is drawn from `{2$$__name__}`: the values of the wildcard are the options of the group."""
        name = self._draw(node.path, variables)
        values = self._wildcards.find(name)
        if not values.texts:
            return self._keep_missing(name)
        variables = {**variables, **node.variables}
        texts = [values.texts[index] for index in self._choose(group, values.weights)]
        return group.separator.join([self._draw_value(name, text, variables) for text in texts])

    def _choose(self, group: Group, option_weights: Iterable[float]) -> list[int]:
        """Return the numbers of some of the options, without repetition."""
        weights = list(option_weights)
        left = [index for index, weight in enumerate(weights) if weight > 0] or list(
            range(len(weights))
        )
        weights = [weights[index] or 1.0 for index in left]
        low, high = (min(bound, len(left), _MAX_DRAWS) for bound in (group.low, group.high))
        chosen: list[int] = []
        for _ in range(self._random.randint(low, high)):
            if group.by_seed:
                place = self._seed % len(left)
            else:
                place = self._random.choices(range(len(left)), weights=weights)[0]
            chosen.append(left.pop(place))
            del weights[place]
        return chosen

    def _draw_wildcard(self, node: Wildcard, variables: _Variables) -> str:
        name = self._draw(node.path, variables)
        values = self._wildcards.find(name)
        if not values.texts:
            return self._keep_missing(name)
        text = self._choose_value(values, node.by_seed)
        return self._draw_value(name, text, {**variables, **node.variables})

    def _choose_value(self, values: WildcardValues, by_seed: bool) -> str:
        sums = values.cumulative_weights
        if by_seed:
            return values.texts[self._seed % len(values.texts)]
        if sums is None or not sums[-1]:
            return self._random.choice(values.texts)
        return self._random.choices(values.texts, cum_weights=sums, k=_DRAWN_AT_ONCE)[0]

    def _draw_value(self, name: str, text: str, variables: _Variables) -> str:
        """Return what is drawn from a value of a wildcard; the wildcard's name where there is no end to it."""
        self._draws += 1
        self._length += len(text)
        is_too_much = self._draws > _MAX_DRAWS or self._length > _MAX_LENGTH
        if self._levels >= _MAX_LEVELS or is_too_much:
            self._endless[name] = None
            return wrap(name)
        self._levels += 1
        try:
            return self.draw_template(parse_template(text, self._wildcards.__contains__), variables)
        finally:
            self._levels -= 1

    def _draw_variable(self, node: Access, variables: _Variables) -> str:
        value = variables.get(node.name, node.default)
        if value is None or node.name in self._open_variables:
            return node.source
        self._open_variables.add(node.name)
        try:
            return self._draw(value, variables)
        finally:
            self._open_variables.discard(node.name)

    def _keep_missing(self, name: str) -> str:
        self.missing[name] = None
        return wrap(name)


def missing_note(name: str, wildcards: Wildcards) -> str:
    """Return the note on a wildcard that there is not."""
    return (
        f"There is no wildcard '{name}'; it stays in the prompt as text. {wildcards.suggest(name)}"
    )


def endless_note(name: str) -> str:
    """Return the note on a wildcard that leads back to itself."""
    return f"The wildcard '{name}' leads back to itself without an end; where it was cut off, its name stays in the prompt."
