"""Text that can be shown, stored and sent: every string that a file, a database or an answer accepts."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")
# Where Python keeps the bytes of a name that is not UTF-8 (PEP 383): byte 0xE9 is U+DCE9.
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


def escape(text: str) -> str:
    r"""Return a text with every half character (lone surrogate) escaped, which no encoding can hold.

    A byte of a file name that is not UTF-8 becomes `\xe9`, any other half `\ud800`. Other text is returned as it is.
    """
    return text if text.isascii() else _SURROGATE.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if _FIRST_BYTE <= code <= _LAST_BYTE else f"\\u{code:04x}"


def find_path(escaped: str) -> Path:
    r"""Return the path that an escaped one means: `caf\xe9` is that very file if it exists, else the one with byte E9."""
    path = Path(escaped)
    if os.path.lexists(path) or "\\x" not in escaped:
        return path
    return Path(_ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), escaped))
