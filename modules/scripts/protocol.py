"""What a script is: a named row with a generator that yields the requests of its next cells and is sent their results.

A group of jobs runs the generator; after a restart it runs it again and answers from the stored cells, so a generator
must yield the same cells for the same request and arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel

from modules.images.filename import Destination
from modules.params.param import params_of
from modules.params.requests.job_request import JobRequest
from modules.params.results import GeneratedImage, ImageKind
from modules.params.settings.saving import GridSettings

CellState = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True)
class Cell:
    """One request of a script; it becomes one job.

    Args:
        name: The name in progress and notes, such as that of a file; empty for the only cell of a script, which is
            then followed as a job without a group.
        make_request: Returns the request when its turn comes, or raises a WebUIError: then the cell has failed. Not
            called for a cell that ended before a restart.
        destination: Folder and name of its images, instead of those of the settings.
        is_recorded: Whether the denoising of its first image is recorded.
        is_shown: Whether its images are part of the result. Those of other cells, such as the tiles of a larger image,
            are kept outside the outputs folder until a day has passed, as PNG.
        infotext: Pairs to add to the infotexts of its images.
    """

    name: str
    make_request: Callable[[], JobRequest]
    destination: Destination | None = None
    is_recorded: bool = False
    is_shown: bool = True
    infotext: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class CellResult:
    """How a cell ended.

    Args:
        state: How it ended; a skipped cell is cancelled.
        images: Its finished images in order, also of a cell that failed or was cancelled.
        notes: Notes on them for the user.
        error: One sentence if it failed or was cancelled.
    """

    state: CellState
    images: tuple[GeneratedImage, ...]
    notes: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class ScriptImage:
    """An image that a script has made of those of its cells.

    Args:
        image: The image, or what draws it with the colours and the font of the options. It is called when the image is
            saved, not after a restart; its UserError becomes a note.
        infotext: Its generation parameters.
        seed: The seed in its name.
        kind: A grid is saved and shown as one.
    """

    image: Image.Image | Callable[[GridSettings], Image.Image]
    infotext: str
    seed: int
    kind: ImageKind = "image"


@dataclass(frozen=True)
class ScriptResult:
    """What a script returns at its end.

    Args:
        notes: Notes for the user on all of it.
        images: What it has made of the cells' images; saved in this order, and the same after a restart.
    """

    notes: tuple[str, ...] = ()
    images: tuple[ScriptImage, ...] = ()


# Yields the cells to run next, which run at the same time where the device can, and is sent their results in the same
# order. A WebUIError ends the group.
ScriptRun = Generator[Sequence[Cell], Sequence[CellResult], ScriptResult]


@dataclass(frozen=True)
class ScriptTable:
    """Positions of a script's cells in a table, or in several below each other.

    Args:
        columns: Labels of the columns.
        rows: Labels of the rows.
        tables: Labels of the tables.
        places: Column, row and table of each cell, by its position in the group.
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    tables: tuple[str, ...]
    places: tuple[tuple[int, int, int], ...]


def first_error(results: Iterable[CellResult]) -> str:
    """Return the first error of some cells, or a sentence where none says why it has no image."""
    errors = (result.error for result in results if result.error)
    return next(errors, "The script made no pictures.")


class NoArguments(BaseModel, frozen=True, extra="forbid"):
    """The arguments of a script without any."""


def _one_cell(args: Any) -> int:
    del args
    return 1


def _always(args: Any) -> bool:
    del args
    return True


@dataclass(frozen=True)
class Script:
    """One row of SCRIPTS.

    Args:
        name: The name on the page, in requests and in the job store.
        run: Starts the script with the request and the validated arguments.
        args_type: Declares the arguments.
        list_fields: Names of the arguments in the order of A1111's list, "" for one that is ignored; empty for the order of
            the fields.
        read_list: Returns the arguments by name of A1111's list of them and the name of a task; None if the list
            needs no more than their names. Raises a UserError for a list that it cannot read.
        list_choices: Returns what an argument of A1111's list can be, by its name and that of a task; none for anything.
        cell_count: Returns the number of cells that these arguments need.
        noun: Noun for a cell in the progress text.
        waits_for_slots: Whether only as many of the cells yielded together are submitted as the device runs at once; the
            requests of the others are made later. For many cells: they need no memory, and other jobs come in between.
        has_one_seed: Whether a random seed is drawn once, for all cells.
        tasks: The tasks for which it can be chosen on the page and in the API; a script without any belongs to a part
            of the page.
        aliases: Other names that find it.
        prepare: Returns request and arguments completed before they are stored, such as with seeds drawn, so that a restart
            makes the same cells. Raises a UserError for arguments that do not fit.
        requests_to_check: Yields requests that must be possible before the script starts, each with a subject for the
            error. Raises a UserError for arguments that do not fit the request.
        table: Returns the positions of the cells, for a page that shows them in a table; None for a script without one.
        remark: Returns what the page shows next to the number of pictures before the start, as a part of a sentence; "" for
            nothing.
        shows_cells: Returns whether the images of cells belong to the result, in addition to those that the script makes of them.
        shows_control_maps: Whether A1111's API answers with the control maps of its cells, too: it does
            for a script that returns all that its runs have made, not for one that makes something of their images.
    """

    name: str
    run: Callable[[Any, Any], ScriptRun]  # each script names its own types of request and arguments
    args_type: type[BaseModel] = NoArguments
    list_fields: tuple[str, ...] = ()
    read_list: Callable[[Sequence[Any], str], Mapping[str, Any]] | None = None  # JSON: anything
    list_choices: Callable[[str, str], Sequence[str]] | None = None
    cell_count: Callable[[Any], int] = _one_cell
    noun: str = "picture"
    waits_for_slots: bool = False
    has_one_seed: bool = False
    tasks: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    prepare: Callable[[Any, Any], tuple[Any, Any]] | None = None
    requests_to_check: Callable[[Any, Any], Iterable[tuple[str, JobRequest]]] | None = None
    table: Callable[[Any], ScriptTable] | None = None
    remark: Callable[[Any], str] | None = None
    shows_cells: Callable[[Any], bool] = _always
    shows_control_maps: bool = False

    @property
    def argument_order(self) -> tuple[str, ...]:
        """Return the names of the arguments in the order of A1111's list, "" for one that is ignored."""
        return self.list_fields or tuple(params_of(self.args_type))
