"""Two runs go on in turn, and what each of them takes is told step by step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.paired_steps import Run, Turns, compare_steps, median_interval


class Clock:
    """Stands still but for what the runs let pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_run(
    name: str, seconds: Iterator[float], end: float, clock: Clock, order: list[str]
) -> Run:
    def run(turns: Turns) -> None:
        for number, passed in enumerate(seconds):
            order.append(name)
            clock.now += passed / 2
            if name == "a" and number:  # a part more
                order.append("A")
                turns.after_part()
            clock.now += passed / 2
            turns.after_step()
        clock.now += end

    return run


def test_steps_are_compared_in_turn_and_the_start_is_told_apart():
    clock, order = Clock(), list[str]()
    ours = make_run("a", iter([5.0, 1.0, 2.0, 1.0]), 0.5, clock, order)
    bare = make_run("b", iter([3.0, 2.0, 2.0, 2.0]), 0.25, clock, order)
    compared = compare_steps(ours, bare, clock)
    assert "".join(order) == "abbaAaAbbaA"
    assert (list(compared.ours), list(compared.bare)) == ([1, 2, 1], [2, 2, 2])
    assert compared.ratios == [0.5, 1, 0.5]
    assert (compared.our_start, compared.bare_start) == (5, 1.25)
    assert compared.describe() == (
        "1.000 s and 2.000 s; ratio, median of 3 pairs: 0.5000 (from 0.5000 to 1.0000 with 90% confidence), of the fastest parts: 0.5000;"
        " besides its steps a run takes 5000 ms and 1250 ms"
    )


def test_runs_of_other_lengths_and_failures_end_the_comparison():
    clock = Clock()
    for count, message in ((3, "more steps"), (2, "fewer than three")):
        sides = [
            make_run("", iter([1.0] * steps), 0, clock, [])
            for steps in (count, 2 if count == 2 else 4)
        ]
        with pytest.raises(ValueError, match=message):
            compare_steps(*sides, clock)

    def fail(_: Turns) -> None:
        raise OSError("no model")

    with pytest.raises(OSError, match="no model"):
        compare_steps(fail, make_run("", iter([1.0] * 4), 0, clock, []), clock)


@pytest.mark.parametrize(
    ("count", "interval"), [(1, (1, 1)), (4, (1, 4)), (5, (1, 5)), (14, (4, 11)), (21, (7, 15))]
)
def test_the_median_lies_in_an_interval_of_the_values(count: int, interval: tuple[int, int]):
    assert median_interval(range(1, count + 1)) == interval
