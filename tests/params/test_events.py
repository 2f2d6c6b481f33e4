from __future__ import annotations

from modules.params.events import CancelToken, Progress


def test_the_fraction_done_is_between_0_and_1():
    assert Progress(5, 20).fraction == 0.25
    assert Progress(0, 0).fraction == 0
    assert Progress(21, 20).fraction == 1


def test_the_remaining_time_is_unknown_until_the_speed_is_known():
    assert Progress(5, 20).eta_s is None
    assert Progress(5, 20, 3.0).eta_s == 5
    assert Progress(21, 20, 3.0).eta_s == 0


def test_a_new_token_asks_for_nothing():
    cancel = CancelToken()
    assert not cancel.is_interrupted()
    assert not cancel.is_batch_skipped()
    assert not cancel.wants_preview()


def test_an_interruption_is_final_and_a_skip_ends_with_its_batch():
    cancel = CancelToken()
    cancel.interrupt()
    cancel.skip_batch()
    cancel.end_skip()
    assert (cancel.is_interrupted(), cancel.is_batch_skipped()) == (True, False)


def test_a_preview_is_wanted_while_a_client_watches_but_not_right_after_another():
    cancel = CancelToken()
    cancel.watch()
    assert cancel.wants_preview()
    cancel.delay_preview()
    assert not cancel.wants_preview(pause_s=60)
    assert cancel.wants_preview(pause_s=0)
