"""An image's infotext and the result of its reproduction as HTML. All text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from modules.engine.reproduce import ReproductionResult
from modules.infotext import Infotext, InfotextResult, format_infotext
from modules.ui.notices import notice

NO_INFOTEXT = notice("note", "This picture's file contains no generation parameters.")


def render_infotext(infotext: Infotext) -> str:
    """Return the infotext as text that can be pasted into the prompt box."""
    text = format_infotext(infotext)
    return f'<pre class="infotext">{html.escape(text)}</pre>' if text else ""


def render_fields(infotext: Infotext, result: InfotextResult) -> str:
    """Return a table of the fields: key, value, and why a field is not applied."""
    reasons = {entry.key: entry.reason for entry in result.report.unapplied_keys}
    unknown_keys = {entry.key for entry in result.report.unknown_keys}
    rows = [
        (
            key,
            value,
            reasons.get(key, "this key is unknown." if key in unknown_keys else ""),
        )
        for key, value in _fields(infotext)
    ]
    body = "".join(_render_row(cells, is_refused=bool(cells[2])) for cells in rows)
    head = f"<caption>Written by {html.escape(result.report.origin)}</caption>"
    return f'<table class="fields">{head}{body}</table>' if rows else ""


def render_report(result: InfotextResult) -> str:
    """Return missing files and differences as notices; single keys are in the table of fields."""
    report = result.report
    sentences = [notice("error", text) for text in report.missing_files]
    return "".join([*sentences, *(notice("note", text) for text in report.differences)])


def render_verdict(result: ReproductionResult) -> str:
    """Return the verdict, and the list of settings that could not be matched."""
    verdict = f'<p class="verdict">{html.escape(result.sentence)}</p>'
    comparison = result.comparison
    if comparison is not None and not comparison.is_identical:
        brightened = f", brightened {comparison.gain} times" if comparison.gain > 1 else ""
        verdict += f"<p>The third picture shows where they differ{brightened}.</p>"
    return verdict + _render_list("What could not be matched:", result.caveats)


def _fields(infotext: Infotext) -> Iterable[tuple[str, str]]:
    if infotext.prompt:
        yield "Prompt", infotext.prompt
    if infotext.negative_prompt:
        yield "Negative prompt", infotext.negative_prompt
    yield from infotext.pairs.items()


def _render_row(cells: Iterable[str], *, is_refused: bool) -> str:
    inner = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr class="refused">{inner}</tr>' if is_refused else f"<tr>{inner}</tr>"


def _render_list(title: str, sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"<p>{title}</p><ul>{items}</ul>" if items else ""
