from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modules.engine.jobs.fair_queue import FairQueue, QueuePosition


def queue_of(**sources: str) -> FairQueue:
    """Return a queue to which jobs were added in this order; job=source."""
    queue = FairQueue()
    for job, source in sources.items():
        queue.add(job, source)
    return queue


def test_jobs_of_one_source_keep_their_order():
    assert queue_of(a="api", b="api", c="api").job_ids() == ["a", "b", "c"]


def test_sources_take_turns():
    queue = queue_of(a1="api", a2="api", a3="api", p1="page", p2="page")
    assert queue.job_ids() == ["a1", "p1", "a2", "p2", "a3"]


def test_a_source_that_was_just_served_yields_to_the_other():
    queue = queue_of(p1="page")
    assert queue.pop() == "p1"
    queue.add("p2", "page")
    queue.add("a1", "api")
    assert queue.job_ids() == ["a1", "p2"]


def test_a_source_that_was_served_often_yields_one_turn_only():
    queue = FairQueue()
    for number in range(50):
        queue.add(f"a{number}", "api")
        queue.pop()
    for job, source in (("p1", "page"), ("p2", "page"), ("p3", "page"), ("a", "api")):
        queue.add(job, source)
    assert queue.job_ids() == ["p1", "p2", "a", "p3"]


def test_a_job_moves_one_place_or_to_the_front():
    queue = queue_of(a="api", b="api", c="api")
    assert set(queue.move("b", "up")) == {"a", "b"}
    assert queue.job_ids() == ["b", "a", "c"]
    queue.move("b", "down")
    assert queue.job_ids() == ["a", "b", "c"]
    assert set(queue.move("c", "front")) == {"c"}
    queue.move("b", "front")
    assert queue.job_ids() == ["b", "c", "a"]


def test_a_job_at_either_end_or_an_unknown_one_does_not_move():
    queue = queue_of(a="api", b="api")
    assert [
        queue.move("a", "up"),
        queue.move("a", "front"),
        queue.move("b", "down"),
        queue.move("x", "up"),
    ] == [{}] * 4
    assert queue.job_ids() == ["a", "b"]


def test_removing_a_job_keeps_the_others():
    queue = queue_of(a="api", b="api")
    assert (queue.remove("a"), queue.remove("a"), queue.job_ids(), len(queue)) == (
        True,
        False,
        ["b"],
        1,
    )


def test_an_empty_queue_has_no_next_job():
    assert FairQueue().pop() is None


moves = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(("up", "down", "front"))), max_size=12
)


@given(st.lists(st.sampled_from(("page", "api")), min_size=1, max_size=8), moves)
def test_the_order_is_the_same_after_a_restart(sources, moves):
    queue, positions = FairQueue(), {}
    for number, source in enumerate(sources):
        positions[str(number)] = queue.add(str(number), source)
    for number, direction in moves:
        positions.update(queue.move(str(number), direction))
    assert [position.job_id for position in sorted(positions.values())] == queue.job_ids()
    restored = FairQueue()
    restored.restore(list(positions.values()))
    assert restored.job_ids() == queue.job_ids()


def test_a_new_job_takes_its_turn_among_those_of_an_earlier_run():
    queue = FairQueue()
    queue.restore([QueuePosition(37 + n, n, f"a{n}", "api") for n in range(3)])
    assert queue.add("p", "page").round == 0
    assert queue.job_ids() == ["a0", "p", "a1", "a2"]


@given(st.lists(st.sampled_from(("page", "api")), min_size=1, max_size=8), moves)
def test_a_job_is_found_wherever_it_is_moved_and_whatever_leaves(sources, moves):
    queue = FairQueue()
    for number, source in enumerate(sources):
        queue.add(str(number), source)
    for number, direction in moves:
        queue.move(str(number), direction)
    queue.remove("0")
    while ids := queue.job_ids():
        assert [queue.index(job) for job in [*ids, "0"]] == [*range(len(ids)), None]
        assert queue.pop() == ids[0]


def test_ten_thousand_jobs_of_four_sources_take_turns_until_the_last():
    queue = FairQueue()
    for source in ("page", "api", "bot", "script"):
        for number in range(2500):
            queue.add(f"{source} {number}", source)
    for number in range(0, 2500, 2):
        assert queue.remove(f"bot {number}")
    popped = [job.split()[0] for job in iter(queue.pop, None)]
    assert popped == ["page", "api", "script", "page", "api", "bot", "script"] * 1250
