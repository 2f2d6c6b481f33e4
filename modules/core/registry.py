"""An ordered table of named rows. Knows nothing about the rows but their names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from modules.core.errors import NotFound


class Row(Protocol):
    """A frozen table row; its name is its identity. It may have `aliases`, other names that find it."""

    @property
    def name(self) -> str:
        """The name on the page and in requests."""
        ...


R = TypeVar("R", bound=Row)


class Registry(Generic[R]):
    """Rows in order, found by name or alias, ignoring case.

    Args:
        noun: Noun for a row in messages, such as "sampler".
        rows: The rows in the order of the page.
    """

    def __init__(self, noun: str, rows: Iterable[R] = ()) -> None:
        self.noun = noun
        self._rows: dict[str, R] = {}
        self._keys: dict[str, str] = {}
        for row in rows:
            self.add(row)

    def add(self, row: R, before: str = "") -> None:
        """Append a row, or insert it before another one, in a table whose first matching row is used.

        Raises:
            ValueError: the name or an alias is already in use.
            NotFound: there is no row to insert it before.
        """
        aliases: tuple[str, ...] = getattr(row, "aliases", ())
        keys = [key.casefold() for key in (row.name, *aliases)]
        taken = [key for key in keys if key in self._keys]
        if taken:
            raise ValueError(f"The {self.noun} name '{taken[0]}' is taken.")
        names = self.names()
        following = names[names.index(self.get(before).name) :] if before else []
        self._rows[row.name] = row
        self._keys.update(dict.fromkeys(keys, row.name))
        for name in following:
            self._rows[name] = self._rows.pop(name)

    def get(self, name: str) -> R:
        """Return the row of that name or alias.

        Raises:
            NotFound: no such row; the message names the closest matches.
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
    """Return "Did you mean 'x'?" with the closest known words, or a list of them if none is close."""
    known = list(known)
    folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word.casefold(), folded, n=3, cutoff=0.5)
    if matches:
        return "Did you mean " + " or ".join(f"'{folded[key]}'" for key in matches) + "?"
    if not known:
        return ""
    shown = ", ".join(f"'{name}'" for name in known[:6])
    return f"Available: {shown}{' and others' if len(known) > 6 else ''}."
