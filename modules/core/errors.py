"""Errors that a user can act on: a sentence on what happened and a hint on what to do."""

from __future__ import annotations

from typing import ClassVar

from modules.core.text import escape


class WebUIError(Exception):
    """What happened and what to do about it; shown on the page, by the API and in the log.

    Args:
        message: One sentence with the offending value; half characters in it are escaped, so that it can be stored and sent.
        hint: What the user can do; empty when the message already says it.
    """

    status_code: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(escape(message))
        self.message = escape(message)
        self.hint = escape(hint)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UserError(WebUIError):
    """The request is invalid."""

    status_code = 422


class NotFound(WebUIError):
    """A name does not exist."""

    status_code = 404


class Unsupported(WebUIError):
    """The request is valid, but this version does not support it."""

    status_code = 422


class BadFile(WebUIError):
    """A file is incomplete, of another kind, or unsafe to read."""

    status_code = 422


class StorageError(WebUIError):
    """A result could not be written: the disk is full, read-only or out of reach."""

    status_code = 507


class Busy(WebUIError):
    """Other requests need what this one needs; it may be sent again."""

    status_code = 503
    retry_after_s: ClassVar[int] = 10


class OutOfMemory(WebUIError):
    """The device has too little memory for the request."""

    status_code = 507


class NotFinite(WebUIError):
    """The network produced NaN or infinity even at the highest precision."""

    status_code = 500


class Cancelled(WebUIError):
    """The job was stopped before it had results."""

    status_code = 409


def internal_error(error: BaseException) -> WebUIError:
    """Return the error itself if a user can act on it, else a short one; the log has the traceback."""
    if isinstance(error, WebUIError):
        return error
    try:
        reason = str(error)
    except Exception:  # noqa: BLE001  any class may come, with any text
        reason = ""
    what = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return WebUIError(f"Internal error: {what}.", "The log has the details.")
