"""Files that the user or another program writes and this one rewrites: text in any encoding, and copies kept aside.

The rule for each of them: what was not understood is never overwritten, it is kept under a name of its own first.
"""

from __future__ import annotations

import codecs
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
# UTF-32 begins with the same bytes as UTF-16, so that it comes first.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SUFFIX = ".unreadable"


def decode_text(data: bytes) -> tuple[str, bool]:
    """Return the text of a file and whether its encoding is certain.

    UTF-8 with and without a BOM, UTF-16 and UTF-32 are recognised; anything else is taken for cp1252, a guess.
    """
    for encoding in (*_declared_encoding(data), "utf-8"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, True
    return data.decode("cp1252", errors="replace").replace("\0", ""), False


def copy_aside(path: Path) -> Path:
    """Keep the content of a file under the first free name and return that; the file itself stays.

    Raises:
        OSError: it could not be copied.
    """
    for aside in _free_names(path):
        try:
            with aside.open("xb") as copy, path.open("rb") as file:
                shutil.copyfileobj(file, copy)
                copy.flush()
                os.fsync(copy.fileno())
        except FileExistsError:
            continue
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        return aside
    raise AssertionError("the names never end")


def move_aside(path: Path) -> Path:
    """Rename a file to the first free name and return that; nothing kept before is overwritten.

    Raises:
        OSError: it could not be renamed.
    """
    for aside in _free_names(path):
        try:
            aside.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            return path.replace(aside)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    raise AssertionError("the names never end")


def read_or_move_aside(path: Path, parse: Callable[[str], T]) -> T | None:
    """Return what a file says; None if there is none, or if it was not understood and has been moved aside.

    Args:
        path: The file.
        parse: Called with its text; raises ValueError or TypeError for what it does not understand.

    Raises:
        OSError: it could not be read or renamed, and so must not be written over.
    """
    try:
        text, is_certain = decode_text(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        if not is_certain:
            raise ValueError("it is no text in Unicode")
        return parse(text)
    except (ValueError, TypeError, RecursionError) as error:
        logger.warning(
            "%s could not be read (%s); it is kept as %s.", path, error, move_aside(path).name
        )
        return None


def _free_names(path: Path) -> Iterator[Path]:
    """Yield the names under which a file can be kept: `styles.csv.unreadable`, `styles.csv.unreadable-2` and so on."""
    yield path.with_name(f"{path.name}{_SUFFIX}")
    for number in count(2):
        yield path.with_name(f"{path.name}{_SUFFIX}-{number}")


def _declared_encoding(data: bytes) -> list[str]:
    """Return the encoding that a BOM names, or UTF-16 when every other byte of a text without BOM is mostly NUL."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return [encoding]
    head = data[:4096]
    for encoding, offset in (("utf-16-le", 1), ("utf-16-be", 0)):
        if len(head) > 3 and head[offset::2].count(0) > len(head) // 4 > head[
            1 - offset :: 2
        ].count(0):
            return [encoding]
    return []
