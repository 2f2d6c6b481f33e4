from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modules.engine.jobs.fair_queue import FairQueue, QueuePosition


def line_of(**sources: str) -> FairQueue:
    """Return a line in which jobs joined in this order; job=source."""
    line = FairQueue()
    for job, source in sources.items():
        line.add(job, source)
    return line


def test_jobs_of_one_source_come_in_the_order_of_joining():
    assert line_of(a="api", b="api", c="api").job_ids() == ["a", "b", "c"]


def test_sources_take_turns():
    line = line_of(a1="api", a2="api", a3="api", p1="page", p2="page")
    assert line.job_ids() == ["a1", "p1", "a2", "p2", "a3"]


def test_a_source_that_was_just_served_waits_for_the_other():
    line = line_of(p1="page")
    assert line.pop() == "p1"
    line.add("p2", "page")
    line.add("a1", "api")
    assert line.job_ids() == ["a1", "p2"]


def test_who_was_served_often_owes_no_more_than_one_turn():
    line = FairQueue()
    for number in range(50):
        line.add(f"a{number}", "api")
        line.pop()
    for job, source in (("p1", "page"), ("p2", "page"), ("p3", "page"), ("a", "api")):
        line.add(job, source)
    assert line.job_ids() == ["p1", "p2", "a", "p3"]


def test_a_job_moves_one_place_or_to_the_front():
    line = line_of(a="api", b="api", c="api")
    assert set(line.move("b", "up")) == {"a", "b"}
    assert line.job_ids() == ["b", "a", "c"]
    line.move("b", "down")
    assert line.job_ids() == ["a", "b", "c"]
    assert set(line.move("c", "front")) == {"c"}
    line.move("b", "front")
    assert line.job_ids() == ["b", "c", "a"]


def test_a_job_at_the_end_or_none_at_all_does_not_move():
    line = line_of(a="api", b="api")
    assert [
        line.move("a", "up"),
        line.move("a", "front"),
        line.move("b", "down"),
        line.move("x", "up"),
    ] == [{}] * 4
    assert line.job_ids() == ["a", "b"]


def test_a_removed_job_is_gone_and_others_stay():
    line = line_of(a="api", b="api")
    assert (line.remove("a"), line.remove("a"), line.job_ids(), len(line)) == (
        True,
        False,
        ["b"],
        1,
    )


def test_an_empty_line_has_no_next_job():
    assert FairQueue().pop() is None


moves = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(("up", "down", "front"))), max_size=12
)


@given(st.lists(st.sampled_from(("page", "api")), min_size=1, max_size=8), moves)
def test_a_line_is_the_same_after_a_restart(sources, moves):
    line, places = FairQueue(), {}
    for number, source in enumerate(sources):
        places[str(number)] = line.add(str(number), source)
    for number, where in moves:
        places.update(line.move(str(number), where))
    assert [place.job_id for place in sorted(places.values())] == line.job_ids()
    again = FairQueue()
    again.restore(list(places.values()))
    assert again.job_ids() == line.job_ids()


def test_a_new_job_takes_its_turn_among_those_of_an_earlier_run():
    line = FairQueue()
    line.restore([QueuePosition(37 + n, n, f"a{n}", "api") for n in range(3)])
    assert line.add("p", "page").round == 0
    assert line.job_ids() == ["a0", "p", "a1", "a2"]
