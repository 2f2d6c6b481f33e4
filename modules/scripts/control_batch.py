"""Batches of control pictures: each file becomes the picture of a ControlNet unit, as in sd-webui-controlnet's batch tab."""

from __future__ import annotations

from pathlib import Path

from modules.core.errors import UserError
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.params.settings.control import MAX_UNITS
from modules.scripts.parts.files import BatchArgs, count_files, make_cells, read_file
from modules.scripts.protocol import Script, ScriptResult, ScriptRun


class ControlBatchArgs(BatchArgs, frozen=True):
    """The files of a batch, and the unit that gets them."""

    unit: int = param(
        0,
        "Unit",
        help="Number of the unit whose picture each file becomes.",
        ge=0,
        le=MAX_UNITS - 1,
    )


def check_unit(
    request: GenerationRequest, args: ControlBatchArgs
) -> tuple[GenerationRequest, ControlBatchArgs]:
    """Return both as they are.

    Raises:
        UserError: there is no such unit, or it is off.
    """
    units = request.control_units
    if args.unit >= len(units) or not units[args.unit].enabled:
        raise UserError(f"ControlNet unit {args.unit} is off.", "Enable it for its batch.")
    return request, args


def run_control_batch(request: GenerationRequest, args: ControlBatchArgs) -> ScriptRun:
    """Yield a cell for each file.

    Args:
        request: The request of every file; the unit's own pictures and mask do not count.
        args: The files.
    """
    units = request.control_units

    def make_request(file: Path, name: str) -> GenerationRequest:
        del name
        changed = units[args.unit].replace(image=read_file(file), mask=None, more_images=())
        return request.replace(
            control_units=(*units[: args.unit], changed, *units[args.unit + 1 :])
        )

    yield make_cells(args, make_request)
    return ScriptResult()


CONTROL_BATCH = Script(
    "ControlNet batch",
    run_control_batch,
    ControlBatchArgs,
    cell_count=count_files,
    prepare=check_unit,
    noun="file",
    waits_for_slots=True,
)
