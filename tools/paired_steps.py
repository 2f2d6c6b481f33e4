"""Measures two runs against each other step by step: both wait in one process, and each goes on by a part of a step in its turn.

A machine that has other work slows whole runs by more than they differ, and changes while they run. Parts that follow each other
have the same neighbours, on the same core; the time that counts is that of the run's own thread on the processor, which waits for
nobody; and the order alternates. What is left is told by the interval in which the median lies.
"""

from __future__ import annotations

import ctypes
import math
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass


class Turns:
    """What a run is given: it waits there for its turn. This one lets it go on at once."""

    def after_part(self) -> None:
        """Wait after a part of a step, such as a block of a network."""

    def after_step(self) -> None:
        """Wait after a step."""


Run = Callable[[Turns], None]
Clock = Callable[[], float]
_CONFIDENCE = 0.9
_ARENA_MAX = -8  # of glibc's mallopt


def share_heap() -> None:
    """Let threads allocate from one heap, as far as none has another one: with a heap each, the same code differed by a tenth."""
    with suppress(AttributeError, OSError):  # other systems have no such function
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


@dataclass(frozen=True)
class Comparison:
    """What two runs took.

    Args:
        ours: Seconds of each step of ours but the first.
        bare: Likewise of the other run; the steps of one place are a pair.
        our_start: Seconds of ours before its first step, and after its last one.
        bare_start: Likewise of the other run.
        our_fastest: Seconds of a step of ours whose parts take as long as each did at its fastest: other work only ever adds to them.
        bare_fastest: Likewise of the other run.
    """

    ours: Sequence[float]
    bare: Sequence[float]
    our_start: float
    bare_start: float
    our_fastest: float
    bare_fastest: float

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each pair."""
        return [one / other for one, other in zip(self.ours, self.bare, strict=True)]

    def describe(self) -> str:
        """Return the figures as the end of a sentence."""
        ratios = self.ratios
        low, high = median_interval(ratios)
        return (
            f"{statistics.median(self.ours):.3f} s and {statistics.median(self.bare):.3f} s; ratio, median of"
            f" {len(ratios)} pairs: {statistics.median(ratios):.4f} (from {low:.4f} to {high:.4f} with"
            f" {_CONFIDENCE:.0%} confidence), of the fastest parts: {self.our_fastest / self.bare_fastest:.4f}; besides its steps a run takes {1000 * self.our_start:.0f} ms and"
            f" {1000 * self.bare_start:.0f} ms"
        )


def compare_steps(ours: Run, bare: Run, clock: Clock = time.thread_time) -> Comparison:
    """Return what the steps of two runs take.

    Args:
        ours: A run.
        bare: Another one with as many steps, which must not change what the first one works with.
        clock: Tells the time within a run's thread, in seconds.

    Raises:
        ValueError: one of them has more steps, or fewer than three, or steps of other parts.
    """
    sides = _SteppedRun(ours, clock), _SteppedRun(bare, clock)
    times: tuple[list[list[float]], list[list[float]]] = (
        [],
        [],
    )  # of each side the parts of its steps
    turn = 0
    while not all(side.is_finished for side in sides):
        for one, parts in zip(times, _step(sides, turn), strict=True):
            one.append(parts)
        turn += 1
        if sides[0].is_finished != sides[1].is_finished:
            raise ValueError("One of the two runs has more steps than the other.")
    if turn < 4:
        raise ValueError("The runs have fewer than three steps.")
    ours_s, bare_s = ([sum(parts) for parts in steps[1:-1]] for steps in times)
    starts = map(_seconds_besides, times)
    fastest = (sum(map(min, zip(*steps[1:-1], strict=True))) for steps in times)
    return Comparison(ours_s, bare_s, *starts, *fastest)


def _seconds_besides(steps: Sequence[Sequence[float]]) -> float:
    """Return how much longer the first part of a run takes than that of its other steps, with what comes after the last step."""
    first, *others, end = steps
    usual = statistics.median(parts[0] for parts in others)
    return max(0.0, first[0] - usual) + sum(end)


def median_interval(
    values: Sequence[float], confidence: float = _CONFIDENCE
) -> tuple[float, float]:
    """Return between which of the values the median of what they are drawn from lies, whatever its distribution.

    Args:
        values: At least one.
        confidence: With what probability, as far as there are enough values for it.
    """
    ordered, count = sorted(values), len(values)
    # How many values lie below the median is binomially distributed, with a probability of a half for each.
    left, outside = 0, 0.0
    while 2 * left < count - 1:
        outside += math.comb(count, left) / 2**count
        if 2 * outside > 1 - confidence:
            break
        left += 1
    at = max(0, left - 1)
    return ordered[at], ordered[count - 1 - at]


def _step(sides: Sequence[_SteppedRun], turn: int) -> tuple[list[float], list[float]]:
    """Let both sides make a step, part by part, and return the seconds of the parts of each."""
    seconds: tuple[list[float], list[float]] = [], []
    are_done = [False, False]
    while not all(are_done):
        for number in (0, 1) if turn % 2 == 0 else (1, 0):
            if not are_done[number]:
                seconds[number].append(sides[number].go_on())
                are_done[number] = sides[number].is_between_steps
        turn += 1
    return seconds


class _SteppedRun(Turns):
    """A run in a thread of its own, which waits after each part of a step.

    Args:
        run: The run.
        clock: Tells the time within its thread.
    """

    def __init__(self, run: Run, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._may_go, self._has_stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._started_at = self._seconds = 0.0
        self._error: Exception | None = None
        self.is_finished = self.is_between_steps = False
        threading.Thread(target=self._main, daemon=True).start()

    def go_on(self) -> float:
        """Let it go on to the end of the next part or step, or to its own end, and return the seconds that this took."""
        self.is_between_steps = False
        self._may_go.release()
        self._has_stopped.acquire()
        if self._error is not None:
            raise self._error
        return self._seconds

    def _main(self) -> None:
        self._may_go.acquire()
        if hasattr(os, "sched_setaffinity"):  # of this thread alone; both sides on one core
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self._started_at = self._clock()
        try:
            self._run(self)
        except Exception as error:  # noqa: BLE001 - `go_on` raises it
            self._error = error
        self._seconds = self._clock() - self._started_at
        self.is_finished = self.is_between_steps = True
        self._has_stopped.release()

    def after_part(self) -> None:
        """Wait for the next turn."""
        self._wait()

    def after_step(self) -> None:
        """Wait for the next turn, with a step more."""
        self.is_between_steps = True
        self._wait()

    def _wait(self) -> None:
        self._seconds = self._clock() - self._started_at
        self._has_stopped.release()
        self._may_go.acquire()
        self._started_at = self._clock()
