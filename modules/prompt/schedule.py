"""The text in force at each evaluation of the network. Knows nothing of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.prompt.grammar import Edit, Node, Tree, parse


@dataclass(frozen=True)
class ScheduledText:
    """A text and the last step that it holds for, counted from 1."""

    until: int
    text: str


@dataclass(frozen=True)
class StepTimeline:
    """How many evaluations a run is planned to have, and where it stands among two passes.

    Args:
        steps: Evaluations of this pass: a sampler that asks the network twice a step counts twice its steps.
        first_pass_steps: Those of the first pass when this is the hires pass, else None. Whole numbers in a prompt then count
            from the first pass on, and fractions from 1 to 2.
        old_scheduling: A1111's "use_old_scheduling": numbers below 1 are fractions, the hires pass repeats the first one's plan.
    """

    steps: int
    first_pass_steps: int | None = None
    old_scheduling: bool = False

    @property
    def length(self) -> int:
        """Return the evaluations that the plan is made for."""
        return (
            self.first_pass_steps
            if self.old_scheduling and self.first_pass_steps is not None
            else self.steps
        )

    def last_step_before(self, when: str) -> int:
        """Return the last step before the change; below 1 the change is there from the beginning."""
        number = float(when)
        if self.old_scheduling:
            number = number * self.length if number < 1 else number
        elif "." in when:
            number = (number - (0 if self.first_pass_steps is None else 1)) * self.length
        else:
            number -= self.first_pass_steps or 0
        return int(max(min(number, self.length), 0))


def schedule_texts(text: str, timeline: StepTimeline) -> tuple[ScheduledText, ...]:
    """Return the texts of one prompt in order; the last one ends with the run.

    `[a:b:0.5]` in 10 steps is "a" until 5 and "b" until 10; `[a|b]` gives each step a span of its own.
    """
    tree = parse(text)
    ends = {max(1, timeline.length)}
    for change in tree.changes:
        if isinstance(change, Edit):
            ends.add(timeline.last_step_before(change.when))
        else:
            ends.update(range(1, timeline.length + 1))
    return tuple(
        ScheduledText(end, _text_at(tree, end, timeline)) for end in sorted(ends) if end > 0
    )


def active_text_index(until: Sequence[int], step_index: int) -> int:
    """Return which of the spans holds at an evaluation, counted from 0.

    As A1111 looks it up, the first span lasts one evaluation longer than it says, every later one begins one later,
    and past the end it is the first again.
    """
    return next((index for index, end in enumerate(until) if step_index <= end), 0)


def _text_at(tree: Tree, step: int, timeline: StepTimeline) -> str:
    pieces: list[str] = []
    ahead: list[Node] = list(reversed(tree.nodes))
    while ahead:  # not by recursion: nothing limits how deep brackets stand
        node = ahead.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, Edit):
            chosen = node.before if step <= timeline.last_step_before(node.when) else node.after
            ahead.extend(reversed(chosen))
        else:
            ahead.extend(reversed(node.options[(step - 1) % len(node.options)]))
    return "".join(pieces)
