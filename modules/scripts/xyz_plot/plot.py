"""The script: its cells in an order that changes the most expensive axis least often, and the grids of their images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import product

from modules.core.errors import UserError
from modules.params.requests.base import GenerationRequest
from modules.params.requests.tasks import TASKS
from modules.plan.planner import draw_seed
from modules.scripts.protocol import (
    Cell,
    CellResult,
    Script,
    ScriptResult,
    ScriptRun,
    ScriptTable,
    first_error,
)
from modules.scripts.xyz_plot.a1111_axes import LIST_FIELDS, NOTHING, list_types, read_list
from modules.scripts.xyz_plot.arguments import LETTERS, AxisValues, XyzPlotArgs
from modules.scripts.xyz_plot.axes import Axis, find_axis
from modules.scripts.xyz_plot.grids import Place, make_grids

_PLAIN_NAME = "picture"  # of the only cell of a plot without an axis


def prepare_plot(
    request: GenerationRequest, args: XyzPlotArgs
) -> tuple[GenerationRequest, XyzPlotArgs]:
    """Return request and arguments with the values of all axes and without random seeds, unless these are kept.

    Raises:
        UserError: there is no such axis, or a value does not fit; names axis, value and what would.
    """
    axes = tuple(_read_axis(type(request), args, letter) for letter in LETTERS)
    if not args.no_fixed_seeds:
        seeds = {"seed": request.seed, "subseed": request.subseed}
        request = request.replace(
            **{name: draw_seed() for name, seed in seeds.items() if seed == -1}
        )
    return request, args.model_copy(update={"axes": axes})


def _read_axis(request_type: type[GenerationRequest], args: XyzPlotArgs, letter: str) -> AxisValues:
    name, text = args.written(letter)
    try:
        axis = find_axis(request_type, name)
    except UserError as error:
        raise UserError(f"{letter.upper()} type: {error.message}", error.hint) from None
    if axis.name == NOTHING:
        return AxisValues()
    try:
        values = axis.read(text)
    except UserError as error:
        raise UserError(f"{_subject(letter, axis)}: {error.message}", error.hint) from None
    if not values:
        raise UserError(f"{_subject(letter, axis)} has no values.", "Write some, or take Nothing.")
    if axis.has_seeds and not args.no_fixed_seeds:
        values = [draw_seed() if value == -1 else value for value in values]
    labels = tuple(axis.label(value) for value in values)
    return AxisValues(name=axis.name, values=tuple(values), labels=labels, cost=axis.cost)


def check_values(
    request: GenerationRequest, args: XyzPlotArgs
) -> Iterator[tuple[str, GenerationRequest]]:
    """Yield, for each value that names something, a subject for errors and the request with that value alone.

    Raises:
        UserError: a value does not fit.
    """
    for letter, row in zip(LETTERS, args.axes, strict=True):
        axis = find_axis(type(request), row.name)
        plain = replace(axis, has_plain_labels=True)
        for value in row.values:
            subject = f"{_subject(letter, axis)}, value '{plain.label(value)}'"
            try:
                changed = axis.change(request, row.values, value)
            except UserError as error:
                raise UserError(f"{subject}: {error.message}", error.hint) from None
            if isinstance(axis.choices, str) and axis.choices:
                yield subject, changed


def _subject(letter: str, axis: Axis) -> str:
    return f"{letter.upper()} axis ({axis.name})"


def run_plot(request: GenerationRequest, args: XyzPlotArgs) -> ScriptRun:
    """Yield all cells at once, and return the grids of their images.

    Raises:
        UserError: no cell has an image.
    """
    places = order_places(args)
    results = yield [
        Cell(_name(args, place), partial(make_cell_request, request, args, place))
        for place in places
    ]
    if not any(result.images for result in results):
        raise UserError(first_error(results))
    by_place: Mapping[Place, CellResult] = dict(zip(places, results, strict=True))
    return ScriptResult(images=make_grids(args, by_place))


def order_places(args: XyzPlotArgs) -> list[Place]:
    """Return the places of all cells, as (x, y, z), in the order in which they run.

    The outermost axis is the one that costs most; of equal ones z, then y.
    """
    order = sorted(range(3), key=lambda axis: (-args.axes[axis].cost, -axis))
    counts = [len(args.axes[axis].values) for axis in order]
    places: list[Place] = []
    for numbers in product(*map(range, counts)):
        at = dict(zip(order, numbers, strict=True))
        places.append((at[0], at[1], at[2]))
    return places


def make_cell_request(
    request: GenerationRequest, args: XyzPlotArgs, place: Place
) -> GenerationRequest:
    """Return the request of a cell.

    Raises:
        UserError: the values do not fit together.
    """
    changed = request
    for row, number in zip(args.axes, place, strict=True):
        if row.name != NOTHING:
            axis = find_axis(type(request), row.name)
            changed = axis.change(changed, row.values, row.values[number])
    offset = _seed_offset(args, place)
    if offset and changed.seed != -1:
        changed = changed.replace(seed=changed.seed + offset)
    return changed


def _seed_offset(args: XyzPlotArgs, place: Place) -> int:
    """Return what a cell adds to the seed: its number among those that differ in a seed."""
    offset, count = 0, 1
    switches = (args.vary_seeds_x, args.vary_seeds_y, args.vary_seeds_z)
    for row, number, varies in zip(args.axes, place, switches, strict=True):
        if varies:
            offset += number * count
            count *= len(row.values)
    return offset


def make_table(args: XyzPlotArgs) -> ScriptTable:
    """Return the positions of the cells."""
    columns, rows, grids = (row.labels for row in args.axes)
    return ScriptTable(columns, rows, grids, tuple(order_places(args)))


def _name(args: XyzPlotArgs, place: Place) -> str:
    labels = [row.labels[number] for row, number in zip(args.axes, place, strict=True)]
    return " · ".join(filter(None, labels)) or _PLAIN_NAME


def _count_cells(args: XyzPlotArgs) -> int:
    x, y, z = (len(row.values) for row in args.axes)
    return x * y * z


def _shows_cells(args: XyzPlotArgs) -> bool:
    return args.include_lone_images


XYZ_PLOT = Script(
    "X/Y/Z plot",
    run_plot,
    XyzPlotArgs,
    list_fields=LIST_FIELDS,
    read_list=read_list,
    list_choices=list_types,
    cell_count=_count_cells,
    waits_for_slots=True,
    tasks=frozenset(TASKS.names()),
    aliases=("xyz plot", "x/y plot"),
    prepare=prepare_plot,
    requests_to_check=check_values,
    table=make_table,
    shows_cells=_shows_cells,
)
