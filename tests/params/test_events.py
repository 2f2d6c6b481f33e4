from __future__ import annotations

from modules.params.events import Progress


def test_the_fraction_done_is_between_0_and_1():
    assert Progress(5, 20).fraction == 0.25
    assert Progress(0, 0).fraction == 0
    assert Progress(21, 20).fraction == 1


def test_the_remaining_time_is_unknown_until_the_speed_is_known():
    assert Progress(5, 20).eta_s is None
    assert Progress(5, 20, 3.0).eta_s == 5
    assert Progress(21, 20, 3.0).eta_s == 0
