"""The active text at each network evaluation, for prompt editing. Knows nothing of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.prompt.grammar import Edit, Node, Tree, parse


@dataclass(frozen=True)
class ScheduledText:
    """A text and the last step at which it is active, counted from 1."""

    until: int
    text: str


@dataclass(frozen=True)
class StepTimeline:
    """Planned evaluations of a run, and of the pass before it.

    Args:
        steps: Evaluations of this pass: twice the steps for a sampler with two evaluations per step.
        first_pass_steps: Evaluations of the first pass when this is the hires pass, else None. Integers in a prompt
            then count from the start of the first pass, and fractions go from 1 to 2.
        old_scheduling: A1111's "use_old_scheduling": numbers below 1 are fractions, and the hires pass repeats the
            schedule of the first pass.
    """

    steps: int
    first_pass_steps: int | None = None
    old_scheduling: bool = False

    @property
    def length(self) -> int:
        """Return the evaluations that the schedule covers."""
        return (
            self.first_pass_steps
            if self.old_scheduling and self.first_pass_steps is not None
            else self.steps
        )

    def last_step_before(self, when: str) -> int:
        """Return the last step before the change; at 0 the change applies from the first step."""
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

    `[a:b:0.5]` in 10 steps is "a" until 5 and "b" until 10; `[a|b]` changes at every step.
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
    """Return the index of the text that is active at an evaluation, counted from 0.

    As in A1111, the first text lasts one evaluation longer than its `until`, every later one begins one later, and past
    the end the first is active again.
    """
    return next((index for index, end in enumerate(until) if step_index <= end), 0)


def _text_at(tree: Tree, step: int, timeline: StepTimeline) -> str:
    pieces: list[str] = []
    stack: list[Node] = list(reversed(tree.nodes))
    while stack:  # no recursion: brackets may nest deeply
        node = stack.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, Edit):
            active = node.before if step <= timeline.last_step_before(node.when) else node.after
            stack.extend(reversed(active))
        else:
            stack.extend(reversed(node.options[(step - 1) % len(node.options)]))
    return "".join(pieces)
