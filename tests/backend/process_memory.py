"""The current memory use of this process."""

import psutil


def resident_bytes() -> int:
    """Return the resident set size."""
    return psutil.Process().memory_info().rss
