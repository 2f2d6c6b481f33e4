"""Extras of many files: each is enlarged, and its faces restored, by a job of its own."""

from __future__ import annotations

from pathlib import Path

from modules.params.requests.extras import ExtrasRequest
from modules.plan.jobs.extras import read_source
from modules.scripts.parts.files import BatchArgs, count_files, make_cells, read_file
from modules.scripts.protocol import Script, ScriptResult, ScriptRun


class ExtrasBatchArgs(BatchArgs, frozen=True):
    """The files of a batch."""


def run_extras_batch(request: ExtrasRequest, args: ExtrasBatchArgs) -> ScriptRun:
    """Yield a cell for each file.

    Args:
        request: The request of every file, without an image.
        args: The files.
    """

    def make_request(file: Path, name: str) -> ExtrasRequest:
        return request.replace(**read_source(read_file(file), name))

    yield make_cells(args, make_request)
    return ScriptResult()


EXTRAS_BATCH = Script(
    "Extras batch",
    run_extras_batch,
    ExtrasBatchArgs,
    cell_count=count_files,
    noun="file",
    waits_for_slots=True,
)
