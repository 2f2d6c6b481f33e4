"""Which file an address means, and whether its name can be one: nothing reaches the file system unchecked."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from modules.core.errors import UserError
from modules.models.kinds import ModelKind

MAX_NAME_LENGTH = 150  # with ".part" and in bytes well below the 255 of every file system
_BAD = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_DISPOSITION = re.compile(
    r"filename\*=(?:UTF-8|utf-8)''([^;]+)|filename=\"([^\"]+)\"|filename=([^;\s]+)"
)
_CIVITAI_PAGE = re.compile(r"/models/\d+(/.*)?")


def direct_address(url: str) -> str:
    """Return the address of the file where a person has copied that of its page on Hugging Face or Civitai."""
    parts = urlsplit(url.strip())
    host = (parts.hostname or "").removeprefix("www.")
    if host == "huggingface.co" and "/blob/" in parts.path:
        return urlunsplit(parts._replace(path=parts.path.replace("/blob/", "/resolve/", 1)))
    version = parse_qs(parts.query).get("modelVersionId", [""])[0]
    if host == "civitai.com" and _CIVITAI_PAGE.fullmatch(parts.path) and version.isdecimal():
        return f"https://civitai.com/api/download/models/{version}"
    return url.strip()


def name_in_address(url: str) -> str:
    """Return the last part of an address's path."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


def name_in_disposition(header: str) -> str:
    """Return the file name in a Content-Disposition header, "" if there is none."""
    found = _DISPOSITION.search(header)
    if found is None:
        return ""
    return unquote(found[1]) if found[1] else found[2] or found[3]


def shown_address(url: str) -> str:
    """Return an address as messages and logs may have it: a query can hold a token."""
    return url.partition("?")[0]


def is_safe_name(name: str) -> bool:
    """Return whether every system can have a file or folder of that name."""
    if not name or len(name.encode(errors="replace")) > MAX_NAME_LENGTH or not name.isprintable():
        return False
    is_odd = _BAD.search(name) or _DEVICES.fullmatch(name) or name[0] in ". -" or name[-1] in ". "
    return not is_odd


def check_name(name: str, kind: ModelKind) -> str:
    """Return a file name that is safe on every system and has an ending of its kind.

    Raises:
        UserError: it is not.
    """
    if not name.lower().endswith(kind.suffixes):
        raise UserError(
            f"'{name}' is not the name of a {kind.noun} file.",
            f"The name must end in {' or '.join(kind.suffixes)}.",
        )
    if not is_safe_name(name):
        raise UserError(
            f"'{name}' cannot be the name of a file.",
            f"Use letters, digits, '-', '_' and '.', at most {MAX_NAME_LENGTH} characters.",
        )
    return name
