"""Extras of many files: each is enlarged, and its faces restored, by a job of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from modules.core.text import escape, find_path
from modules.images.filename import Destination
from modules.params.param import param
from modules.params.requests.extras import ExtrasRequest
from modules.plan.jobs.extras import read_source
from modules.scripts.file_batch import read_file
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class ExtrasBatchArgs(BaseModel, frozen=True, extra="forbid"):
    """The files of a batch."""

    files: tuple[str, ...] = param(
        (), "Pictures", help="Image files on the server, in order; names as they are listed."
    )
    names: tuple[str, ...] = param(
        (), "Names", help="What each picture is called; without them the names of the files."
    )
    output_folder: str = param(
        "",
        "Output folder",
        help="Folder inside outputs, where pictures are named after their files; empty saves as usual.",
    )


def run_extras_batch(request: ExtrasRequest, args: ExtrasBatchArgs) -> ScriptRun:
    """Yield a cell for each file; a file is read when its turn comes, so that any number fits in memory.

    Args:
        request: The request of every file, without an image.
        args: The files.
    """
    names = args.names or tuple(escape(find_path(file).name) for file in args.files)
    yield [
        _make_cell(request, args, find_path(file), name)
        for file, name in zip(args.files, names, strict=True)
    ]
    return ScriptResult()


def _make_cell(request: ExtrasRequest, args: ExtrasBatchArgs, file: Path, name: str) -> Cell:
    stem = PurePosixPath(name.replace("\\", "_").replace("/", "_")).stem
    destination = Destination(args.output_folder, stem) if args.output_folder else None
    return Cell(name, partial(_make_request, request, file, name), destination)


def _make_request(request: ExtrasRequest, file: Path, name: str) -> ExtrasRequest:
    return request.replace(**read_source(read_file(file), name))


def _count_files(args: ExtrasBatchArgs) -> int:
    return len(args.files)


EXTRAS_BATCH = Script(
    "Extras batch",
    run_extras_batch,
    ExtrasBatchArgs,
    cell_count=_count_files,
    noun="file",
    waits_for_slots=True,
)
