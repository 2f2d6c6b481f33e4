"""The names of a file's tensors, ordered so that hundreds of patterns are looked up in the time of one walk over them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from functools import cached_property


class NamePatterns:
    """Tells whether a name begins or ends in a text.

    Args:
        names: The names; they are sorted when the first pattern is looked up.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def any_starts_with(self, text: str) -> bool:
        """Return whether a name begins with a text."""
        return _has_prefix(self._sorted_names, text)

    def any_ends_with(self, text: str) -> bool:
        """Return whether a name ends in a text."""
        return _has_prefix(self._sorted_reversed_names, text[::-1])

    @cached_property
    def _sorted_names(self) -> list[str]:
        return sorted(self._names)

    @cached_property
    def _sorted_reversed_names(self) -> list[str]:
        return sorted(name[::-1] for name in self._names)


def _has_prefix(names: list[str], text: str) -> bool:
    # The first name that is not less than the text is one that begins with it, if there is any.
    position = bisect_left(names, text)
    return position < len(names) and names[position].startswith(text)
