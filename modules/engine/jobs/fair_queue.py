"""The order of queued jobs: round-robin between sources, unless a user moves a job.

Every job belongs to a round; a source has one job in each. A round is over before the next one starts, so that the
page's next job runs after one of a script's two hundred jobs. The order is fixed when a job is added: jobs run in the
order that is shown.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Move = Literal["up", "down", "front"]


@dataclass(frozen=True, order=True)
class QueuePosition:
    """Sort key of a queued job; smaller keys run first.

    Args:
        round: A source has one job in each round.
        number: Increases within a round; negative for some jobs that were moved to the front.
        job_id: The job.
        source: Name of the client that sent it.
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
        self._last_source = ""  # the source of the job that was popped last

    def __len__(self) -> int:
        """Return the number of queued jobs."""
        return len(self._positions)

    def job_ids(self) -> list[str]:
        """Return the queued jobs, next first."""
        return [position.job_id for position in self._positions]

    def add(self, job_id: str, source: str) -> QueuePosition:
        """Add a job to the first round in which its source has none yet."""
        own_rounds = [position.round for position in self._positions if position.source == source]
        job_round = (
            own_rounds[-1] + 1 if own_rounds else self._round + (self._last_source == source)
        )
        self._number += 1
        return self._insert(QueuePosition(job_round, self._number, job_id, source))

    def restore(self, positions: list[QueuePosition]) -> list[QueuePosition]:
        """Add jobs of an earlier run in their old order, starting at the current round, and return their positions."""
        first_round = min((position.round for position in positions), default=0)
        self._number = max([self._number, *(position.number for position in positions)])
        shift = self._round - first_round
        return [
            self._insert(replace(position, round=position.round + shift)) for position in positions
        ]

    def pop(self) -> str | None:
        """Remove and return the next job; None if the queue is empty."""
        if not self._positions:
            return None
        position = self._positions.pop(0)
        self._round, self._last_source = position.round, position.source
        return position.job_id

    def remove(self, job_id: str) -> bool:
        """Remove a job and return whether it was queued."""
        index = self._index(job_id)
        if index is not None:
            del self._positions[index]
        return index is not None

    def move(self, job_id: str, direction: Move) -> Mapping[str, QueuePosition]:
        """Move a job and return the changed positions by job; empty if nothing moves."""
        index = self._index(job_id)
        if index is None:
            return {}
        if direction == "front":
            return self._move_to_front(index)
        other = index + (1 if direction == "down" else -1)
        if not 0 <= other < len(self._positions):
            return {}
        moved, swapped = self._positions[index], self._positions[other]
        self._positions[index] = replace(swapped, round=moved.round, number=moved.number)
        self._positions[other] = replace(moved, round=swapped.round, number=swapped.number)
        return {moved.job_id: self._positions[other], swapped.job_id: self._positions[index]}

    def _move_to_front(self, index: int) -> Mapping[str, QueuePosition]:
        if index == 0:
            return {}
        front = self._positions[0]
        position = replace(self._positions.pop(index), round=front.round, number=front.number - 1)
        self._positions.insert(0, position)
        return {position.job_id: position}

    def _insert(self, position: QueuePosition) -> QueuePosition:
        insort(self._positions, position)
        return position

    def _index(self, job_id: str) -> int | None:
        return next(
            (i for i, position in enumerate(self._positions) if position.job_id == job_id), None
        )
