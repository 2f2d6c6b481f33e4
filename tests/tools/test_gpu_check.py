"""The check of a card runs on a processor, which stands in for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.gpu_check import Check, Part, Row, list_parts, make_check, run_parts, to_markdown


@pytest.mark.slow
def test_every_part_runs_on_a_processor(tmp_path: Path):
    check = make_check("cpu", tmp_path / "models", is_tiny=True, limit_s=1000)
    run_parts(check, list_parts())
    found = {row.subject: row for row in check.rows}
    assert [row for row in check.rows if row.verdict == "FAILED"] == []
    assert found["Overflow of 16 bits"].verdict == "ok"
    assert "bare diffusers" in found["SD 1.5 at 64, prompt and negative prompt"].result
    assert found["6 switches of checkpoint"].verdict == "ok"
    assert found["Interrupt"].verdict == "ok"
    assert found["Noise of DPM++ 2M SDE"].verdict == "ok"
    assert "left out: no time" not in {row.result for row in check.rows}


def test_a_part_that_breaks_is_a_finding_and_the_others_run(tmp_path: Path):
    check = make_check("cpu", tmp_path / "models", is_tiny=True, limit_s=50)

    def fail(_: Check) -> None:
        raise ValueError("no such\nkernel")

    parts = (
        Part("First", fail, 0),
        Part("Long", fail, 60),
        Part("Second", lambda check: check.add("x", "1 | 2"), 0),
    )
    run_parts(check, parts)
    assert check.rows == [
        Row("First", "ValueError: no such", "FAILED"),
        Row("Long", "left out: no time"),
        Row("x", "1 | 2"),
    ]
    assert to_markdown(check.rows[2:]).splitlines()[2] == "| x | 1 / 2 |  |"
