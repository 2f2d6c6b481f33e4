"""Seeds of a script's cells: they count up from that of its request, and begin again after the largest one."""

from __future__ import annotations

from modules.params.requests.base import MAX_SEED


def shift_seed(seed: int, offset: int) -> int:
    """Return the seed `offset` after another; -1, which draws a random one, stays."""
    return seed if seed == -1 else (seed + offset) % (MAX_SEED + 1)
