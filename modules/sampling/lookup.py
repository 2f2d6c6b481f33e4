"""What names of samplers and schedules stand for. Until A1111 1.9 one name held both, as "DPM++ 2M Karras" does."""

from __future__ import annotations

from collections.abc import Iterable

from modules.core.registry import Registry
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule


def split_sampler_name(
    name: str, samplers: Iterable[str], schedules: Iterable[str]
) -> tuple[str, str]:
    """Return the sampler's name and the schedule's that stands at its end, "" when none does.

    Args:
        name: As it is found. One that is known whole, or in which nothing is known, stays as it is.
        samplers: The known samplers' names.
        schedules: The known schedules' names.
    """
    known = {one.casefold(): one for one in samplers}
    words = name.strip().casefold()
    if words in known:
        return known[words], ""
    for schedule in schedules:
        stem = words.removesuffix(f" {schedule}".casefold())
        if stem != words and stem in known:
            return known[stem], schedule
    return name, ""


def find_sampler_and_schedule(
    name: str, scheduler: str, samplers: Registry[Sampler], schedules: Registry[Schedule]
) -> tuple[Sampler, Schedule]:
    """Return the rows of a sampler and a schedule; one that the sampler's name holds goes before the other.

    Raises:
        NotFound: there is no such row; the message names the nearest ones.
    """
    spellings = [spelling for row in schedules for spelling in (row.name, *row.aliases)]
    sampler, held = split_sampler_name(name, samplers.names(), spellings)
    return samplers.get(sampler), schedules.get(held or scheduler)
