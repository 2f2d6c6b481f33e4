"""The batches that were begun and are remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from modules.engine.batch import Batch
from modules.engine.job import Job, Keep
from modules.engine.keeper import Keeper
from modules.images.filename import Destination
from modules.params.requests.base import GenerationRequest

_REMEMBERED = 50


class Batches:
    """Begins batches and knows them by id.

    Args:
        submit: Puts a request in the queue, with what saves its pictures.
        keeper: Saves them.
    """

    def __init__(self, submit: Callable[[GenerationRequest, Keep], Job], keeper: Keeper) -> None:
        self._submit = submit
        self._keeper = keeper
        self._batches: dict[str, Batch] = {}

    def run(
        self,
        files: Sequence[Path],
        request_for: Callable[[Path], GenerationRequest],
        folder: str = "",
    ) -> Batch:
        """Begin to carry out a request for each file, one after another.

        Args:
            files: Pictures on the server.
            request_for: See Batch.
            folder: Name of a folder below outputs, where pictures are named like their files; "" saves as always.
        """

        def submit(request: GenerationRequest, file: Path) -> Job:
            destination = Destination(folder, file.stem) if folder else None
            return self._submit(request, partial(self._keeper.keep, destination=destination))

        batch = Batch(files, request_for, submit)
        self._batches[batch.id] = batch
        for old in list(self._batches)[:-_REMEMBERED]:
            self._batches.pop(old, None)
        batch.start()
        return batch

    def find(self, batch_id: str) -> Batch | None:
        """Return a batch, or None when it never was or is long past."""
        return self._batches.get(batch_id)

    def interrupt(self) -> None:
        """Stop all of them."""
        for batch in list(self._batches.values()):
            batch.interrupt()
