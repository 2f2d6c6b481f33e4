"""What became of each extension at this start: loaded, failed or disabled, and what it adds."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modules.core.text import escape
from modules.engine.extensions.sources import ExtensionSource
from modules.plan.step_extensions import reason_of

logger = logging.getLogger(__name__)

ExtensionState = Literal["loaded", "failed", "disabled"]
_TRACEBACK_LINES = 12
_MODULES = Path(__file__).parents[2]
_LOADING = (_MODULES / "extensions", _MODULES / "engine" / "extensions")
_MAX_PROBLEMS = 20  # of one extension: a route can fail a thousand times


@dataclass(frozen=True)
class ExtensionProblem:
    """One error of an extension.

    Args:
        sentence: What happened.
        traceback: The last lines of the traceback.
    """

    sentence: str
    traceback: str = ""


@dataclass
class ExtensionRecord:
    """One extension at this start; its problems grow while the program runs.

    Args:
        source: Where it is.
        state: What became of it.
        reason: Why it is disabled.
        adds: What it has registered, such as "sampler: Jump".
        seconds: How long it took to load.
        assets: The folder whose files it serves; None if it has none.
        problems: Its errors, oldest first.
        reported: How many sentences have been passed on.
        report_to: Receives the sentences of the first errors.
    """

    source: ExtensionSource
    state: ExtensionState = "loaded"
    reason: str = ""
    adds: tuple[str, ...] = ()
    seconds: float = 0.0
    assets: Path | None = None
    problems: list[ExtensionProblem] = field(default_factory=list[ExtensionProblem])
    reported: int = 0
    report_to: Callable[[str], object] = field(default=str, repr=False)

    def add_problem(self, sentence: str, traceback_text: str = "") -> None:
        """Keep a sentence, once however often it comes, and pass it on."""
        if all(known.sentence != sentence for known in self.problems):
            self.problems.append(ExtensionProblem(sentence, traceback_text))
            del self.problems[:-_MAX_PROBLEMS]
            if self.reported < _MAX_PROBLEMS:  # each sentence can be another one
                self.reported += 1
                self.report_to(sentence)

    def report(self, problem: str, error: BaseException) -> str:
        """Keep an error and log it; return it as a sentence."""
        sentence = escape(f"The extension '{self.source.name}' {problem}. {reason_of(error)}")
        text = _traceback_of(error)
        self.add_problem(sentence, text)
        logger.warning("%s", sentence, exc_info=error if text else None)
        return sentence


def _traceback_of(error: BaseException) -> str:
    """Return the last lines of a traceback from the extension's own code on; "" if none of it was at work."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next(
        (
            number
            for number, frame in enumerate(frames)
            if Path(frame.filename).parent not in _LOADING and not frame.filename.startswith("<")
        ),
        None,
    )
    if first is None and not isinstance(error, SyntaxError):
        return ""
    shown = traceback.format_list(frames[first:]) if first is not None else []
    lines = "".join([*shown, *traceback.format_exception_only(error)]).strip().splitlines()
    return escape("\n".join(lines[-_TRACEBACK_LINES:]))
