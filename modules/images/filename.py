"""Where a picture goes: `00000-<seed>.png`, counted per folder, as in A1111."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path

_COUNTED = re.compile(r"^(\d{5,})[-.]")


def day_folder(outputs: Path, task: str, day: date) -> Path:
    """Return the folder of a task's pictures of one day, such as `txt2img-images/2026-01-31`."""
    return outputs / f"{task}-images" / day.isoformat()


def next_number(folder: Path) -> int:
    """Return one more than the largest number that a file in the folder begins with; 0 at first."""
    if not folder.is_dir():
        return 0
    numbers = [int(match[1]) for entry in folder.iterdir() if (match := _COUNTED.match(entry.name))]
    return max(numbers, default=-1) + 1


def file_name(number: int, seed: int, extension: str) -> str:
    """Return the file's name; five digits as long as they suffice."""
    return f"{number:05d}-{seed}.{extension}"


@dataclass(frozen=True)
class Destination:
    """Where a picture goes whose name is given.

    Args:
        folder: Directly below the outputs folder; a plain name.
        stem: The file's name without its ending.
    """

    folder: str
    stem: str

    def names(self, extension: str) -> Iterator[str]:
        """Yield the name, and then others for when it is taken."""
        yield f"{self.stem}.{extension}"
        for number in count(1):
            yield f"{self.stem}-{number}.{extension}"


def counted_names(number: int, seed: int, extension: str) -> Iterator[str]:
    """Yield the name of a picture of that number, and then those of later ones."""
    return (file_name(later, seed, extension) for later in count(number))
