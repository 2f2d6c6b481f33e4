"""The order in which waiting jobs are taken: in turns between sources, unless someone moves a job.

Every job stands in a round; a source has one job in each. A round is over before the next one begins, so that two
hundred jobs of a script let the page's next job pass after one of theirs. The order is settled when a job joins:
what is shown is what happens.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Move = Literal["up", "down", "front"]


@dataclass(frozen=True, order=True)
class QueuePosition:
    """Where a job stands; the smaller comes first.

    Args:
        round: A source has one job in each round.
        number: Counts up within a round; what is moved to the front may have a negative one.
        job_id: The job.
        source: Who sent it.
    """

    round: int
    number: int
    job_id: str
    source: str


class FairQueue:
    """Waiting jobs in order. Not thread-safe: the queue holds its lock."""

    def __init__(self) -> None:
        self._positions: list[QueuePosition] = []
        self._round = 0
        self._number = 0
        self._last_source = ""  # the source of the job that was taken last

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._positions)

    def job_ids(self) -> list[str]:
        """Return the waiting jobs, next first."""
        return [place.job_id for place in self._positions]

    def add(self, job_id: str, source: str) -> QueuePosition:
        """Let a job join in the first round in which its source has none yet."""
        own = [place.round for place in self._positions if place.source == source]
        turn = own[-1] + 1 if own else self._round + (self._last_source == source)
        self._number += 1
        return self._insert(QueuePosition(turn, self._number, job_id, source))

    def restore(self, positions: list[QueuePosition]) -> list[QueuePosition]:
        """Let jobs of an earlier line join in the order they had, from this round on, and return their places."""
        first = min((place.round for place in positions), default=0)
        self._number = max([self._number, *(place.number for place in positions)])
        shift = self._round - first
        return [self._insert(replace(place, round=place.round + shift)) for place in positions]

    def pop(self) -> str | None:
        """Remove and return the next job; None when none waits."""
        if not self._positions:
            return None
        place = self._positions.pop(0)
        self._round, self._last_source = place.round, place.source
        return place.job_id

    def remove(self, job_id: str) -> bool:
        """Remove a job and return whether it was there."""
        index = self._index(job_id)
        if index is not None:
            del self._positions[index]
        return index is not None

    def move(self, job_id: str, direction: Move) -> Mapping[str, QueuePosition]:
        """Move a job and return the new places of all that have one; empty when nothing moves."""
        index = self._index(job_id)
        if index is None:
            return {}
        if direction == "front":
            return self._move_to_front(index)
        other = index + (1 if direction == "down" else -1)
        if not 0 <= other < len(self._positions):
            return {}
        one, two = self._positions[index], self._positions[other]
        self._positions[index] = replace(two, round=one.round, number=one.number)
        self._positions[other] = replace(one, round=two.round, number=two.number)
        return {one.job_id: self._positions[other], two.job_id: self._positions[index]}

    def _move_to_front(self, index: int) -> Mapping[str, QueuePosition]:
        if index == 0:
            return {}
        front = self._positions[0]
        place = replace(self._positions.pop(index), round=front.round, number=front.number - 1)
        self._positions.insert(0, place)
        return {place.job_id: place}

    def _insert(self, position: QueuePosition) -> QueuePosition:
        insort(self._positions, position)
        return position

    def _index(self, job_id: str) -> int | None:
        return next((i for i, place in enumerate(self._positions) if place.job_id == job_id), None)
