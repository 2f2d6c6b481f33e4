"""Logins of the command line, such as `user:password,user2:password2`."""

from __future__ import annotations

from dataclasses import dataclass, field

from modules.core.errors import UserError


@dataclass(frozen=True)
class Credential:
    """User name and password of a login."""

    user: str
    password: str = field(repr=False)


def parse_credentials(text: str, source: str) -> tuple[Credential, ...]:
    """Return the credentials in `user:password,user2:password2`; a password may contain colons."""
    credentials: list[Credential] = []
    for entry in split_commas(text):
        user, _, password = entry.partition(":")
        if not user or not password:
            raise UserError(
                f"An entry of {source} is not of the form USER:PASSWORD.",
                "Write it like --gradio-auth me:secret, and separate several by commas.",
            )
        credentials.append(Credential(user, password))
    return tuple(credentials)


def split_commas(text: str | None) -> tuple[str, ...]:
    """Return the stripped, non-empty entries between commas."""
    return tuple(entry.strip() for entry in (text or "").split(",") if entry.strip())
