from __future__ import annotations

from modules.engine.extensions.record import ExtensionRecord
from modules.engine.extensions.sources import ExtensionSource


def test_an_error_is_kept_once_and_the_latest_twenty_of_many():
    told: list[str] = []
    record = ExtensionRecord(ExtensionSource("loud", "loud", "folder"), report_to=told.append)
    for number in (0, 0, *range(50)):
        record.report("cannot answer", ValueError(f"Number {number}."))
    assert len(told) == 20, "the banner of the page does not grow without end"
    assert told[0] == "The extension 'loud' cannot answer. Number 0."
    assert [problem.sentence[-4:] for problem in record.problems] == [
        f" {n}." for n in range(30, 50)
    ]
