"""Samplers that walk levels of their own between the ends of those that are chosen."""

from __future__ import annotations

from dataclasses import replace

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.part_way import Start
from modules.sampling.unipc import spread


def of_the_range(
    start: Start, is_whole: bool, levels: NoiseLevels, settings: SamplingSettings
) -> Start:
    """Return what DPM fast and DPM adaptive walk: as many levels, of which the ends alone count.

    As in A1111, a whole run spans the model's range, whatever the schedule; a run from a picture goes from the
    schedule's first level to its next-to-last, since the last is 0.
    """
    del settings
    if is_whole:
        between = start.sigmas[1:-1]
        return replace(start, sigmas=(levels.largest, *between, levels.smallest))
    return replace(start, sigmas=(*start.sigmas[:-1], start.sigmas[-2]))


def of_unipc(
    start: Start, is_whole: bool, levels: NoiseLevels, settings: SamplingSettings
) -> Start:
    """Return what UniPC walks: as many steps as there are timesteps, from the last or the kept one to the first."""
    top = levels.count - 1 if is_whole else round(levels.index_at(start.sigmas[0]))
    sigmas = spread(len(start.sigmas), float(top), levels, settings)
    # A whole run's unit noise is the variance-preserving sample at whichever level is first.
    noised_to = (1 + sigmas[0] ** 2) ** 0.5 if is_whole else start.noised_to
    return replace(start, sigmas=tuple(sigmas), noised_to=noised_to)
