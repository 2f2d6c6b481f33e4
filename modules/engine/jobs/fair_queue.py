"""The order of queued jobs: round-robin between sources, unless a user moves a job.

Every job belongs to a round; a source has one job in each. A round is over before the next one starts, so that the
page's next job runs after one of a script's two hundred jobs. The order is fixed when a job is added: jobs run in the
order that is shown.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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
    """Waiting jobs in order. Not thread-safe: the queue holds its lock.

    Nothing looks at every job but `job_ids` and `restore`: ten thousand may wait.
    """

    def __init__(self) -> None:
        self._positions: list[QueuePosition] = []  # sorted
        self._by_job: dict[str, QueuePosition] = {}
        self._by_source: dict[str, list[QueuePosition]] = {}  # sorted; none is empty
        self._round = 0
        self._number = 0
        self._last_source = ""  # the source of the job that was popped last

    def __len__(self) -> int:
        """Return the number of queued jobs."""
        return len(self._positions)

    def job_ids(self) -> list[str]:
        """Return the queued jobs, next first."""
        return [position.job_id for position in self._positions]

    def index(self, job_id: str) -> int | None:
        """Return how many jobs come before a queued one; None if it is not queued."""
        position = self._by_job.get(job_id)
        return None if position is None else bisect_left(self._positions, position)

    def add(self, job_id: str, source: str) -> QueuePosition:
        """Add a job to the first round in which its source has none yet."""
        own = self._by_source.get(source)
        job_round = own[-1].round + 1 if own else self._round + (self._last_source == source)
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
        position = self._positions[0]
        self._delete(position)
        self._round, self._last_source = position.round, position.source
        return position.job_id

    def remove(self, job_id: str) -> bool:
        """Remove a job and return whether it was queued."""
        position = self._by_job.get(job_id)
        if position is not None:
            self._delete(position)
        return position is not None

    def move(self, job_id: str, direction: Move) -> Mapping[str, QueuePosition]:
        """Move a job and return the changed positions by job; empty if nothing moves."""
        index = self.index(job_id)
        if index is None:
            return {}
        if direction == "front":
            return self._move_to_front(index)
        other = index + (1 if direction == "down" else -1)
        if not 0 <= other < len(self._positions):
            return {}
        moved, swapped = self._positions[index], self._positions[other]
        self._delete(moved)
        self._delete(swapped)
        return {
            moved.job_id: self._insert(replace(moved, round=swapped.round, number=swapped.number)),
            swapped.job_id: self._insert(replace(swapped, round=moved.round, number=moved.number)),
        }

    def _move_to_front(self, index: int) -> Mapping[str, QueuePosition]:
        if index == 0:
            return {}
        front, moved = self._positions[0], self._positions[index]
        self._delete(moved)
        position = replace(moved, round=front.round, number=front.number - 1)
        return {position.job_id: self._insert(position)}

    def _insert(self, position: QueuePosition) -> QueuePosition:
        insort(self._positions, position)
        insort(self._by_source.setdefault(position.source, []), position)
        self._by_job[position.job_id] = position
        return position

    def _delete(self, position: QueuePosition) -> None:
        own = self._by_source[position.source]
        for positions in (self._positions, own):
            del positions[bisect_left(positions, position)]
        if not own:
            del self._by_source[position.source]
        del self._by_job[position.job_id]
