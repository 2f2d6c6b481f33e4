"""Noise that is drawn in a thread while the network computes: its order is known before the first step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from torch import Tensor

Query = TypeVar("Query")

# A thread that gets no processor for the time of some steps makes nobody wait, and an interrupted run leaves
# no more than these to be drawn for nothing.
_COUNT = 4


class DrawAhead(Generic[Query]):
    """The answers to queries that are known beforehand, a few of them ready at any time.

    It does not keep what draws, so that both are freed with the run that owns them.

    Args:
        draw: Answers a query. One thread at a time calls it, in the order of the queries.
        queries: All that will be asked, in order.
    """

    def __init__(self, draw: Callable[[Query], Tensor], queries: Iterable[Query]) -> None:
        self._later = deque(queries)
        self._drawn: deque[tuple[Query, Future[Tensor]]] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="noise") if self._later else None
        for _ in range(_COUNT):
            self._draw_next(draw)

    def take(self, query: Query, draw: Callable[[Query], Tensor]) -> Tensor:
        """Return the answer to a query; one that was not expected, and any after it, is drawn now."""
        if not self._drawn:
            return draw(query)
        if query != self._drawn[0][0]:
            self._later.clear()
            while self._drawn:
                _, late = self._drawn.pop()
                if not late.cancel():
                    late.result()
            return draw(query)
        noise = self._drawn.popleft()[1].result()
        self._draw_next(draw)
        return noise

    def _draw_next(self, draw: Callable[[Query], Tensor]) -> None:
        if self._worker is not None and self._later:
            query = self._later.popleft()
            self._drawn.append((query, self._worker.submit(draw, query)))
