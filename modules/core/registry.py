"""An ordered table of named rows. Knows nothing of what the rows are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from modules.core.errors import NotFound


class Row(Protocol):
    """A frozen table row; its name is its identity."""

    @property
    def name(self) -> str:
        """The name users see and requests carry."""
        ...

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that find the row."""
        ...


R = TypeVar("R", bound=Row)


class Registry(Generic[R]):
    """Rows in order, found by name or alias without regard to case.

    Args:
        noun: What one row is called in messages, such as "sampler".
        rows: The rows in the order in which the page lists them.
    """

    def __init__(self, noun: str, rows: Iterable[R] = ()) -> None:
        self.noun = noun
        self._rows: dict[str, R] = {}
        self._keys: dict[str, str] = {}
        for row in rows:
            self.add(row)

    def add(self, row: R) -> None:
        """Append a row.

        Raises:
            ValueError: the name or an alias is taken.
        """
        keys = [key.casefold() for key in (row.name, *row.aliases)]
        taken = [key for key in keys if key in self._keys]
        if taken:
            raise ValueError(f"The {self.noun} name '{taken[0]}' is taken.")
        self._rows[row.name] = row
        self._keys.update(dict.fromkeys(keys, row.name))

    def get(self, name: str) -> R:
        """Return the row of that name or alias.

        Raises:
            NotFound: no such row; the message names the nearest ones.
        """
        key = self._keys.get(name.strip().casefold())
        if key is None:
            raise NotFound(
                f"There is no {self.noun} named '{name}'.", did_you_mean(name, self.names())
            )
        return self._rows[key]

    def names(self) -> list[str]:
        """Return the names in order."""
        return list(self._rows)

    def copy(self) -> Registry[R]:
        """Return an independent registry with the same rows."""
        return Registry(self.noun, self)

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the nearest known words, or a list of them when none is near."""
    known = list(known)
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(f"'{folded[key]}'" for key in near) + "?"
    if not known:
        return ""
    shown = ", ".join(f"'{name}'" for name in known[:6])
    return f"Known are {shown}{' and others' if len(known) > 6 else ''}."
