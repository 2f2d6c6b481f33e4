"""Tells how much memory this process has at the moment."""

import psutil


def resident_bytes() -> int:
    """Return the resident set's size."""
    return psutil.Process().memory_info().rss
