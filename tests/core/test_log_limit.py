from __future__ import annotations

import logging

from modules.core.log_limit import RepetitionFilter


def record(text: str, line: int = 1, name: str = "webui") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "file.py", line, "%s", (text,), None)


def test_repeated_records_are_left_out_and_counted():
    now = [0.0]
    limit = RepetitionFilter(max_records=3, window_s=60, clock=lambda: now[0])
    records = [record("out of descriptors") for _ in range(1000)]
    passed = [item.getMessage() for item in records if limit.filter(item)]
    assert passed == [
        "out of descriptors",
        "out of descriptors",
        "out of descriptors (More of these are left out for a while.)",
    ]
    assert limit.filter(record("another place", line=2))
    now[0] = 61.0
    later = record("again")
    assert limit.filter(later)
    assert later.getMessage() == "again (997 more of these were left out before.)"


def test_the_access_log_is_complete():
    limit = RepetitionFilter(max_records=1)
    assert all(limit.filter(record("GET /", name="uvicorn.access")) for _ in range(10))
