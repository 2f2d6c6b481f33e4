"""Batches of files: the arguments that name them, and a cell for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.core.text import escape, find_path
from modules.images.filename import Destination
from modules.params.param import param
from modules.params.requests.job_request import JobRequest
from modules.scripts.protocol import Cell


class BatchArgs(BaseModel, frozen=True, extra="forbid"):
    """The files of a batch, and where its images go."""

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


def make_cells(args: BatchArgs, make_request: Callable[[Path, str], JobRequest]) -> list[Cell]:
    """Return a cell for each file; a file is read when its turn comes, so that any number fits in memory.

    Args:
        args: The files.
        make_request: Returns the request of a file, by its path and name.
    """
    names = args.names or tuple(escape(find_path(file).name) for file in args.files)
    return [
        Cell(name, partial(make_request, find_path(file), name), _destination(args, name))
        for file, name in zip(args.files, names, strict=True)
    ]


def _destination(args: BatchArgs, name: str) -> Destination | None:
    stem = PurePosixPath(name.replace("\\", "_").replace("/", "_")).stem
    return Destination(args.output_folder, stem) if args.output_folder else None


def count_files(args: BatchArgs) -> int:
    """Return how many cells a batch has."""
    return len(args.files)


def read_file(file: Path) -> bytes:
    """Return the bytes of a file of a batch.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.") from None
