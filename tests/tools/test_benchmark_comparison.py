"""Figures of two outputs are compared by the words around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.benchmark_comparison import comparison, find_figures, report

BEFORE = """load average 3.2
DPM++ 2M              20    0.800    1.000
DPM++ 2M SDE          20    0.500        -
txt2img: 5.000 s; bare: 5.0 s
ratio, median of 7 pairs: 1.000 (from 0.900 to 1.300)
gone: 3 s
"""
NOW = """DPM++ 2M   20  0.900  1.010
DPM++ 2M SDE          20    0.400        -
txt2img: 4.000 s; bare: 5.0 s
ratio, median of 7 pairs: 1.030 (from 0.100 to 2.300)
new at 512x512: 3 s
"""


def test_figures_are_matched_by_their_words():
    lines = report(find_figures(BEFORE, NOW))
    assert lines[0].startswith(
        "9 figures that the earlier output has, too: 2 are more than 2% above"
    )
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "+12.5% 0.8 -> 0.9 DPM++ 2M # # #",
        "+3.0% 1 -> 1.03 ratio, median of # pairs: #",
        "-20.0% 0.5 -> 0.4 DPM++ 2M SDE # # -",
        "-20.0% 5 -> 4 txt2img: # s; bare: # s",
    ]


def test_what_is_printed_is_shown_and_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    earlier = tmp_path / "before.txt"
    earlier.write_text("a step: 0 s\nload: 2.0 s\n")
    with comparison(earlier):
        print("a step: 0 s")
        print("load: 3.0 s")
    shown = capfd.readouterr().out
    assert shown.startswith("a step: 0 s\nload: 3.0 s\n2 figures")
    assert "+50.0%  2 -> 3  load: # s" in shown
    with comparison(None):
        print("alone")
    assert capfd.readouterr().out == "alone\n"
