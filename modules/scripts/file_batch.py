"""File batches: each file becomes an init image of its own, whatever was painted on the first one included."""

from __future__ import annotations

from pathlib import Path

from modules.images.inpaint.painting import Painting, apply_painting
from modules.images.resize import scale_size
from modules.params.param import param, params_of
from modules.params.requests.init_image import InitImageRequest
from modules.scripts.parts.files import BatchArgs, count_files, make_cells, read_file
from modules.scripts.protocol import Script, ScriptResult, ScriptRun


class FileBatchArgs(BatchArgs, frozen=True):
    """The files of a batch, and how each becomes an init image."""

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
    """Yield a cell for each file.

    Args:
        request: The request of every file, without an init image; with the mask, if that is an uploaded file.
        args: The files.
    """

    def make_request(file: Path, name: str) -> InitImageRequest:
        del name
        return _make_request(request, args, file)

    yield make_cells(args, make_request)
    return ScriptResult()


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


FILE_BATCH = Script(
    "File batch",
    run_file_batch,
    FileBatchArgs,
    cell_count=count_files,
    noun="file",
    waits_for_slots=True,
)
