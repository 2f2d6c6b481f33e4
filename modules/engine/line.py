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
class Place:
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


class Line:
    """Waiting jobs in order. Not thread-safe: the queue holds its lock."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._round = 0
        self._number = 0
        self._served = ""  # the source of the job that was taken last

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._places)

    def ids(self) -> list[str]:
        """Return the waiting jobs, next first."""
        return [place.job_id for place in self._places]

    def add(self, job_id: str, source: str) -> Place:
        """Let a job join in the first round in which its source has none yet."""
        own = [place.round for place in self._places if place.source == source]
        turn = own[-1] + 1 if own else self._round + (self._served == source)
        self._number += 1
        return self._insert(Place(turn, self._number, job_id, source))

    def put_back(self, places: list[Place]) -> list[Place]:
        """Let jobs of an earlier line join in the order they had, from this round on, and return their places."""
        first = min((place.round for place in places), default=0)
        self._number = max([self._number, *(place.number for place in places)])
        shift = self._round - first
        return [self._insert(replace(place, round=place.round + shift)) for place in places]

    def take(self) -> str | None:
        """Remove and return the next job; None when none waits."""
        if not self._places:
            return None
        place = self._places.pop(0)
        self._round, self._served = place.round, place.source
        return place.job_id

    def remove(self, job_id: str) -> bool:
        """Remove a job and return whether it was there."""
        index = self._index(job_id)
        if index is not None:
            del self._places[index]
        return index is not None

    def move(self, job_id: str, where: Move) -> Mapping[str, Place]:
        """Move a job and return the new places of all that have one; empty when nothing moves."""
        index = self._index(job_id)
        if index is None:
            return {}
        if where == "front":
            return self._to_front(index)
        other = index + (1 if where == "down" else -1)
        if not 0 <= other < len(self._places):
            return {}
        one, two = self._places[index], self._places[other]
        self._places[index] = replace(two, round=one.round, number=one.number)
        self._places[other] = replace(one, round=two.round, number=two.number)
        return {one.job_id: self._places[other], two.job_id: self._places[index]}

    def _to_front(self, index: int) -> Mapping[str, Place]:
        if index == 0:
            return {}
        front = self._places[0]
        place = replace(self._places.pop(index), round=front.round, number=front.number - 1)
        self._places.insert(0, place)
        return {place.job_id: place}

    def _insert(self, place: Place) -> Place:
        insort(self._places, place)
        return place

    def _index(self, job_id: str) -> int | None:
        return next((i for i, place in enumerate(self._places) if place.job_id == job_id), None)
