"""File batches: each file becomes an init image of its own, whatever was painted on the first one included."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.core.text import escape, find_path
from modules.images.filename import Destination
from modules.images.inpaint.mask_sources import make_mask
from modules.images.resize import scale_size
from modules.images.strokes import parse_strokes
from modules.params.image import ImageField
from modules.params.param import param, params_of
from modules.params.requests.init_image import InitImageRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class FileBatchArgs(BaseModel, frozen=True, extra="forbid"):
    """The files of a batch, and how each becomes an init image."""

    files: tuple[str, ...] = param(
        (), "Pictures", help="Image files on the server, in order; names as they are listed."
    )
    output_folder: str = param(
        "",
        "Output folder",
        help="Folder inside outputs, where pictures are named after their files; empty saves as usual.",
    )
    scale_by: float = param(
        0.0,
        "Resize by",
        help="Width and height are each picture's own times this; 0 uses those of the request.",
        ge=0,
    )
    strokes: str = param("", "Strokes", help="What is painted on each picture.")
    mask_source: str = param(
        "", "Mask", help="Where each picture's mask comes from; empty paints a sketch instead."
    )


def run_file_batch(request: InitImageRequest, args: FileBatchArgs) -> ScriptRun:
    """Yield a cell for each file; a file is read when its turn comes, so that any number fits in memory.

    Args:
        request: The request of every file, without an init image; with the mask, if that is an uploaded file.
        args: The files.
    """
    yield [_make_cell(request, args, file) for file in map(find_path, args.files)]
    return ScriptResult()


def _make_cell(request: InitImageRequest, args: FileBatchArgs, file: Path) -> Cell:
    stem = escape(file.stem).replace("\\", "_")
    destination = Destination(args.output_folder, stem) if args.output_folder else None
    return Cell(escape(file.name), partial(_make_request, request, args, file), destination)


def _make_request(request: InitImageRequest, args: FileBatchArgs, file: Path) -> InitImageRequest:
    data = _read_bytes(file)
    init_image = ImageField.from_bytes(data)
    size = init_image.size
    changes: dict[str, object] = {"init_image": init_image}
    if args.scale_by:
        side_param = params_of(type(request))["width"]
        changes["width"], changes["height"] = scale_size(size, args.scale_by, side_param)
    if args.mask_source:
        uploaded = getattr(request, "mask", None)
        changes["mask"] = make_mask(args.mask_source, size, data, args.strokes, uploaded)
    elif (sketch := parse_strokes(args.strokes, size)).strokes:
        changes["init_image"] = ImageField.from_pil(sketch.paint_over(init_image.to_pil()))
    return request.replace(**changes)


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.") from None


def _count_files(args: FileBatchArgs) -> int:
    return len(args.files)


FILE_BATCH = Script(
    "File batch",
    run_file_batch,
    FileBatchArgs,
    cell_count=_count_files,
    noun="file",
    waits_for_slots=True,
)
