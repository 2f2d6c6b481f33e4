"""Finds samplers and schedules by name. Until A1111 1.9 one name held both, such as "DPM++ 2M Karras"."""

from __future__ import annotations

from collections.abc import Iterable

from modules.core.registry import Registry
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule


def split_sampler_name(
    name: str, samplers: Iterable[str], schedules: Iterable[str]
) -> tuple[str, str]:
    """Return the sampler's name and the schedule's that ends it, "" when it ends with none.

    Args:
        name: As written. A sampler's whole name, or one without a known sampler, is returned unsplit.
        samplers: Known sampler names.
        schedules: Known schedule names.
    """
    known = {sampler.casefold(): sampler for sampler in samplers}
    folded = name.strip().casefold()
    if folded in known:
        return known[folded], ""
    for schedule in schedules:
        stem = folded.removesuffix(f" {schedule}".casefold())
        if stem != folded and stem in known:
            return known[stem], schedule
    return name, ""


def find_sampler_and_schedule(
    name: str, scheduler: str, samplers: Registry[Sampler], schedules: Registry[Schedule]
) -> tuple[Sampler, Schedule]:
    """Return the rows of a sampler and a schedule; a schedule in the sampler's name takes precedence.

    Raises:
        NotFound: there is no such row; the message suggests the nearest names.
    """
    schedule_names = [name for row in schedules for name in (row.name, *row.aliases)]
    sampler_name, schedule_name = split_sampler_name(name, samplers.names(), schedule_names)
    return samplers.get(sampler_name), schedules.get(schedule_name or scheduler)
