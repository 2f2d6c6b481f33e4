"""What is known of a picture and of its reproduction, as HTML. Any text is safe in it."""

from __future__ import annotations

import html
from collections.abc import Iterable

from modules.engine.reproduce import ReproductionResult
from modules.infotext import Infotext, InfotextResult, format_infotext
from modules.ui.notices import notice

NO_INFOTEXT = notice("note", "This picture's file does not tell how it was made.")


def render_infotext(words: Infotext) -> str:
    """Return the infotext as it would stand in the prompt box."""
    text = format_infotext(words)
    return f'<pre class="infotext">{html.escape(text)}</pre>' if text else ""


def render_fields(words: Infotext, reading: InfotextResult) -> str:
    """Return a table of the fields: what each is, and what becomes of it here."""
    reasons = {one.key: one.reason for one in reading.report.unapplied_keys}
    unknown = {one.key for one in reading.report.unknown_keys}
    rows = [
        (key, value, reasons.get(key, "nothing here knows this key." if key in unknown else ""))
        for key, value in _all_of(words)
    ]
    body = "".join(_row(cells, bool(cells[2])) for cells in rows)
    head = f"<caption>Written by {html.escape(reading.report.origin)}</caption>"
    return f'<table class="fields">{head}{body}</table>' if rows else ""


def render_report(reading: InfotextResult) -> str:
    """Return what is missing and what will differ; single keys stand in the table."""
    report = reading.report
    sentences = [notice("error", text) for text in report.missing_files]
    return "".join([*sentences, *(notice("note", text) for text in report.differences)])


def render_verdict(verdict: ReproductionResult) -> str:
    """Return the verdict, and the list of what could not be matched."""
    said = f'<p class="verdict">{html.escape(verdict.sentence)}</p>'
    found = verdict.comparison
    if found is not None and not found.is_identical:
        brightened = f", brightened {found.gain} times" if found.gain > 1 else ""
        said += f"<p>The third picture shows where they differ{brightened}.</p>"
    return said + _listed("What could not be matched:", verdict.caveats)


def _all_of(words: Infotext) -> Iterable[tuple[str, str]]:
    if words.prompt:
        yield "Prompt", words.prompt
    if words.negative_prompt:
        yield "Negative prompt", words.negative_prompt
    yield from words.pairs.items()


def _row(cells: Iterable[str], refused: bool) -> str:
    inner = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr class="refused">{inner}</tr>' if refused else f"<tr>{inner}</tr>"


def _listed(title: str, sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"<p>{title}</p><ul>{items}</ul>" if items else ""
