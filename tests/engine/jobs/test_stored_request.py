from __future__ import annotations

import pytest

from modules.engine.jobs.stored_request import with_seeds_from
from modules.params.requests.txt2img import Txt2ImgRequest

REQUEST = Txt2ImgRequest(seed=7, subseed=100, n_iter=3, batch_size=2)


@pytest.mark.parametrize(
    ("index", "count", "batches"),
    [(0, 6, (3, 2)), (2, 4, (2, 2)), (3, 3, (3, 1)), (5, 1, (1, 1))],
)
def test_some_images_of_a_request_are_made_in_as_few_batches_as_possible(
    index: int, count: int, batches: tuple[int, int]
):
    request = with_seeds_from(REQUEST, index, count)
    assert (request.n_iter, request.batch_size) == batches
    assert (request.seed, request.subseed) == (7 + index, 100 + index)


def test_with_a_variation_only_the_variation_seed_counts_up():
    request = with_seeds_from(REQUEST.replace(subseed_strength=0.5), 3, 1)
    assert (request.seed, request.subseed) == (7, 103)
