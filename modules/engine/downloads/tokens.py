"""Tokens of download hosts, in a file that only the user can read. They are sent to their own host alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

from modules.core.atomic import open_part
from modules.core.errors import StorageError, UserError
from modules.core.private import close_to_others
from modules.core.user_files import decode_text, read_or_move_aside

TOKEN_HOSTS = ("huggingface.co", "civitai.com")
_TOKEN = re.compile(r"[\x21-\x7e]{8,512}")


class Tokens:
    """The tokens of this user.

    Args:
        path: JSON file, created on the first write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, host: str) -> str:
        """Return the token of a host, or ""."""
        token = self._read().get(host.removeprefix("www.").lower(), "")
        return token if isinstance(token, str) and _TOKEN.fullmatch(token) else ""

    def hosts(self) -> list[str]:
        """Return the hosts that have a token."""
        return [host for host in TOKEN_HOSTS if self.get(host)]

    def set(self, host: str, token: str) -> None:
        """Store the token of a host; "" removes it.

        Raises:
            UserError: the host takes no token, or it is none.
            StorageError: it could not be stored.
        """
        if host not in TOKEN_HOSTS:
            raise UserError(f"No token is sent to '{host}'.", f"Use {' or '.join(TOKEN_HOSTS)}.")
        if token and not _TOKEN.fullmatch(token):
            raise UserError(
                f"This is no token of {host}.",
                "Copy it once more: it has no spaces or line breaks.",
            )
        try:
            tokens = {**(read_or_move_aside(self._path, _parse) or {}), host: token}
            text = json.dumps({name: value for name, value in tokens.items() if value})
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open_part(self._path.parent, self._path.name) as part:
                close_to_others(part.path)  # before anything is in it
                part.file.write(text.encode())
                if self._path.exists():
                    close_to_others(self._path)  # its permissions are handed down
                part.replace(self._path)
        except OSError as error:
            raise StorageError(
                f"'{self._path}' cannot be written: {error.strerror or error}.",
                "Free some disk space, or allow writing to the folder.",
            ) from error

    def _read(self) -> dict[str, Any]:
        try:
            return _parse(decode_text(self._path.read_bytes())[0])
        except (OSError, ValueError, RecursionError):
            return {}


def _parse(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it contains no JSON object")
    return cast("dict[str, Any]", content)
