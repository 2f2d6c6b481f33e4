"""A search in the gallery: what a person types and chooses, as a condition of SQL."""

from __future__ import annotations

import datetime
import re
import shlex
from dataclasses import dataclass, field

from modules.core.errors import UserError

_SIZE = re.compile(r"(\d{1,5})\s*[x\u00d7*]\s*(\d{1,5})", re.IGNORECASE)
_FIELD = re.compile(r"(-?)(?:(model|sampler|seed|size|date|name):)?(.+)", re.DOTALL)
_MAX_WORDS = 40
_MAX_QUERY = 4000


@dataclass(frozen=True)
class ImageSearch:
    """Which images are wanted, and in which order.

    Args:
        text: Words that must all occur, in any order; quotes keep some together, a minus in front excludes, and
            `model:`, `sampler:`, `seed:`, `size:`, `date:` and `name:` look there alone.
        folder: A folder, as `Gallery.facets` names it; those in it count, too.
        model: A checkpoint's name.
        sampler: A sampler's name.
        size: Such as "512x768".
        since: The first day, as 2026-01-31.
        until: The last day.
        favourites: Whether only favourites are wanted.
        trashed: Whether the trash is searched, and nothing else.
        oldest_first: The order.
    """

    text: str = ""
    folder: str = ""
    model: str = ""
    sampler: str = ""
    size: str = ""
    since: str = ""
    until: str = ""
    favourites: bool = False
    trashed: bool = False
    oldest_first: bool = False

    def condition(self) -> tuple[str, list[object]]:
        """Return the condition and its values.

        Raises:
            UserError: a date or a size cannot be read.
        """
        where = _Condition()
        where.add("is_trashed = ? AND width > 0", int(self.trashed))
        if self.folder:
            inside = f"{self.folder}/"
            where.add("(folder = ? OR substr(folder, 1, ?) = ?)", self.folder, len(inside), inside)
        for column in ("model", "sampler"):
            value = getattr(self, column)
            if value:
                where.add(f"{column} = ?", value)
        if self.favourites:
            where.add("is_favourite = 1")
        if self.size:
            where.add("width = ? AND height = ?", *_parse_size(self.size))
        if self.since:
            where.add("mtime_ns >= ?", _days(self.since)[0])
        if self.until:
            where.add("mtime_ns < ?", _days(self.until)[1])
        for word in _split(self.text):
            _add_word(where, word)
        return " AND ".join(where.parts), where.values


@dataclass
class _Condition:
    parts: list[str] = field(default_factory=list[str])
    values: list[object] = field(default_factory=list[object])

    def add(self, part: str, *values: object) -> None:
        self.parts.append(part)
        self.values += values


def _split(text: str) -> list[str]:
    text = text[:_MAX_QUERY]
    try:
        lexer = shlex.shlex(text, posix=True)
        lexer.whitespace_split, lexer.commenters, lexer.quotes, lexer.escape = True, "", '"', ""
        words = list(lexer)
    except ValueError:  # one quotation mark, as while typing
        words = text.replace('"', " ").split()
    return words[:_MAX_WORDS]


def _add_word(where: _Condition, word: str) -> None:
    match = _FIELD.fullmatch(word)
    if match is None:
        return
    minus, name, value = match.groups()
    value = value.casefold()
    inner = _Condition()
    if name == "size":
        inner.add("width = ? AND height = ?", *_parse_size(value))
    elif name == "date":
        first, _, last = value.partition("..")
        inner.add("mtime_ns >= ? AND mtime_ns < ?", _days(first)[0], _days(last or first)[1])
    elif name == "seed":
        inner.add("seed = ?", value)
    elif name in ("model", "sampler", "name"):
        inner.add(f"instr(lower({name}), ?)", value)
    else:
        inner.add("instr(words, ?)", value)
    where.add(f"{'NOT ' if minus else ''}({inner.parts[0]})", *inner.values)


def _parse_size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"The size '{text}' cannot be read.", "Write it like 512x768.")
    return int(match[1]), int(match[2])


def _days(text: str) -> tuple[int, int]:
    """Return beginning and end of a day, a month or a year, in nanoseconds."""
    try:
        numbers = [int(part) for part in text.split("-")]
        if not 1 <= len(numbers) <= 3:
            raise ValueError(text)
        year, month, day = (*numbers, 1, 1)[:3]
        first = datetime.datetime(year, month, day)
        if len(numbers) == 3:
            last = first + datetime.timedelta(days=1)
        elif len(numbers) == 2:
            last = first.replace(year=year + month // 12, month=month % 12 + 1)
        else:
            last = first.replace(year=year + 1)
        return int(first.timestamp()) * 10**9, int(last.timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        raise UserError(
            f"The date '{text}' cannot be read.", "Write it like 2026-01-31 or 2026-01."
        ) from None
