from __future__ import annotations

import pytest

from modules.images.resize import scale_size
from modules.params.param import params_of
from modules.params.requests.img2img import Img2ImgRequest

SIDE_PARAM = params_of(Img2ImgRequest)["width"]


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((512, 768), 1, (512, 768)),
        ((512, 768), 2, (1024, 1536)),
        ((1023, 767), 1, (1016, 760)),
        ((4000, 3000), 4, (8192, 6144)),
        ((4000, 3000), 0.05, (200, 144)),
        ((10, 20), 1, (64, 128)),
        ((10, 4000), 1, (64, 8192)),
    ],
)
def test_a_scaled_size_is_valid_and_keeps_its_proportions_where_possible(size, factor, expected):
    assert scale_size(size, factor, SIDE_PARAM) == expected
