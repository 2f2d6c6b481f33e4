"""StepExtensionRow: what an extension adds to the steps of a run. Knows nothing of tensors: the backend makes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from modules.core.errors import WebUIError
from modules.core.registry import Registry
from modules.params.requests.base import GenerationRequest
from modules.params.settings import Settings

logger = logging.getLogger(__name__)

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")


class ExtensionFailed(WebUIError):
    """The code of an extension raised an error, or tried to end the program."""

    status_code: ClassVar[int] = 500


def log_error(problem: str, error: BaseException) -> str:
    """Log an error of an extension whose row has no `report`, and return it as a sentence."""
    sentence = f"An extension {problem}. {reason_of(error)}"
    logger.warning("%s", sentence, exc_info=error)
    return sentence


@dataclass(frozen=True)
class StepExtensionRow:
    """One row of the table; there are only those of extensions.

    Args:
        name: Identifies the row, and names it in errors.
        make: Called in the backend at the start of each pass of each batch with a `StepContext`; returns a
            `StepExtension` (both are classes of `modules.backend.denoise`), or None to leave the pass alone. Import torch
            in it, not at the head of the extension: the page is there before torch.
        applies: Whether it takes part in a pass, by the pass's request and the options of the job. Where it does not, the
            options below count for nothing, are not written into the infotext and have their defaults.
        options: The settings that affect it.
        report: Keeps an error with the extension's other ones, and returns the sentence; the loader fills it in.
    """

    name: str
    make: Callable[[Any], Any]  # Any: the classes are the backend's
    applies: Callable[[GenerationRequest, Settings], bool]
    options: tuple[str, ...] = ()
    report: Callable[[str, BaseException], str] = log_error

    def is_in(self, request: GenerationRequest, settings: Settings) -> bool:
        """Return whether it takes part in a pass.

        Raises:
            ExtensionFailed: its check fails.
        """
        with naming_extension(self.report, self.name):
            return bool(self.applies(request, settings))


@contextmanager
def naming_extension(report: Callable[[str, BaseException], str], part: str) -> Generator[None]:
    """Turn an error of an extension's code into one sentence that names the extension; the log gets the rest.

    Args:
        report: Of its row.
        part: The name of its row.

    Raises:
        ExtensionFailed: anything but a `WebUIError`, which is a sentence already, or a lack of memory, after which a batch
            runs again, came out of the block.
    """
    try:
        yield
    except WebUIError:
        raise
    except (Exception, SystemExit) as error:  # any code can be in an extension
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY):
            raise
        sentence = report(f"failed in '{part}'", error)
        hint = "Disable it in the Extensions tab, or change its options."
        raise ExtensionFailed(sentence, hint) from error


def reason_of(error: BaseException) -> str:
    """Return what went wrong in an extension as one sentence."""
    if isinstance(error, SystemExit):
        return "It tried to end the program."
    try:
        reason = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  any class may come, with any text
        reason = ""
    if isinstance(error, WebUIError | ValueError) and reason:
        return reason if reason.endswith((".", "!", "?")) else f"{reason}."
    return f"{type(error).__name__}: {reason}. The log has the details."


def no_step_extensions() -> Registry[StepExtensionRow]:
    """Return an empty table: nothing that is built in is a row of it."""
    return Registry("step extension")
