"""File batches: each file becomes an init image of its own, whatever was painted on the first one included."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.core.text import escape, find_path
from modules.images.filename import Destination
from modules.images.inpaint.painting import Painting, apply_painting
from modules.images.resize import scale_size
from modules.params.param import param, params_of
from modules.params.requests.init_image import InitImageRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class FileBatchArgs(BaseModel, frozen=True, extra="forbid"):
    """The files of a batch, and how each becomes an init image."""

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
    inpaint_sketch: bool = param(
        False, "Sketch", help="Whether coloured strokes of a mask change the picture, too."
    )
    inpaint_sketch_transparency: float = param(
        0.0,
        "Mask transparency",
        help="How much of the picture shows through such a sketch, in percent.",
        ge=0,
        le=100,
    )


def run_file_batch(request: InitImageRequest, args: FileBatchArgs) -> ScriptRun:
    """Yield a cell for each file; a file is read when its turn comes, so that any number fits in memory.

    Args:
        request: The request of every file, without an init image; with the mask, if that is an uploaded file.
        args: The files.
    """
    names = args.names or tuple(escape(find_path(file).name) for file in args.files)
    yield [
        _make_cell(request, args, find_path(file), name)
        for file, name in zip(args.files, names, strict=True)
    ]
    return ScriptResult()


def _make_cell(request: InitImageRequest, args: FileBatchArgs, file: Path, name: str) -> Cell:
    stem = PurePosixPath(name.replace("\\", "_").replace("/", "_")).stem
    destination = Destination(args.output_folder, stem) if args.output_folder else None
    return Cell(name, partial(_make_request, request, args, file), destination)


def _make_request(request: InitImageRequest, args: FileBatchArgs, file: Path) -> InitImageRequest:
    painting = Painting(
        args.strokes,
        args.mask_source,
        args.inpaint_sketch,
        args.inpaint_sketch_transparency,
        getattr(request, "mask_blur", 0),
    )
    uploaded = getattr(request, "mask", None)
    data = read_file(file)
    init_image, mask = apply_painting(painting, data, uploaded)
    changes: dict[str, object] = {"init_image": init_image}
    if mask is not None:
        changes["mask"] = mask
    if args.scale_by:
        side_param = params_of(type(request))["width"]
        changes["width"], changes["height"] = scale_size(init_image.size, args.scale_by, side_param)
    return request.replace(**changes)


def read_file(file: Path) -> bytes:
    """Return the bytes of a file of a batch.

    Raises:
        UserError: it cannot be read.
    """
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
