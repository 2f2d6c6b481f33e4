"""Sampler names of old: until A1111 1.9 a name carried its schedule, as "DPM++ 2M Karras" does."""

from __future__ import annotations

from collections.abc import Iterable

_AUTOMATIC = "Automatic"


def split_name(
    name: str, scheduler: str, samplers: Iterable[str], schedules: Iterable[str]
) -> tuple[str, str]:
    """Return the sampler's and the schedule's name that a name and a chosen schedule stand for.

    Args:
        name: A sampler's name, perhaps with a schedule's at its end. One that is known stays as it is.
        scheduler: The schedule that is chosen beside it; it counts only when the name carries none.
        samplers: The known samplers' names, as the table spells them.
        schedules: The known schedules' names.

    Returns:
        The name as it came if nothing in it is known: who looks it up then says so.
    """
    known = {one.casefold(): one for one in samplers}
    words = name.strip()
    if words.casefold() in known:
        return known[words.casefold()], scheduler or _AUTOMATIC
    for schedule in schedules:
        ending = f" {schedule}".casefold()
        stem = words.casefold().removesuffix(ending)
        if words.casefold().endswith(ending) and stem in known:
            return known[stem], schedule
    return name, scheduler or _AUTOMATIC
