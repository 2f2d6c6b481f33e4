from __future__ import annotations

import pytest

from modules.params.requests.txt2img import HiresSize, Txt2ImgRequest, hires_size


def size_of(**values: object) -> HiresSize:
    return hires_size(Txt2ImgRequest(enable_hr=True, **values))  # type: ignore[arg-type]


def test_the_scale_multiplies_both_sides():
    size = size_of(width=512, height=768, hr_scale=1.5)
    assert (size.width, size.height) == (768, 1152)
    assert (size.crop_columns, size.crop_rows) == (0, 0)


def test_the_size_is_rounded_down_to_whole_latents():
    size = size_of(width=512, height=512, hr_scale=1.3)
    assert (size.upscaled_width, size.width, size.height) == (665, 664, 664)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [({"hr_resize_x": 1024}, (1024, 1536)), ({"hr_resize_y": 1152}, (768, 1152))],
)
def test_a_side_of_0_is_derived_from_the_other(resize: dict[str, int], expected: tuple[int, int]):
    size = size_of(width=512, height=768, hr_scale=4.0, **resize)
    assert (size.width, size.height) == expected


@pytest.mark.parametrize(
    ("first", "resize", "upscaled", "crop"),
    [
        ((512, 512), (1024, 1024), (1024, 1024), (0, 0)),
        ((512, 512), (1024, 768), (1024, 1024), (0, 32)),
        ((512, 512), (768, 1024), (1024, 1024), (32, 0)),
        ((768, 512), (1024, 1024), (1536, 1024), (64, 0)),
        ((512, 768), (1024, 1000), (1024, 1536), (0, 67)),
    ],
)
def test_with_both_sides_set_the_image_covers_them_and_the_excess_is_cropped(
    first: tuple[int, int],
    resize: tuple[int, int],
    upscaled: tuple[int, int],
    crop: tuple[int, int],
):
    size = size_of(width=first[0], height=first[1], hr_resize_x=resize[0], hr_resize_y=resize[1])
    assert size == HiresSize(*upscaled, *crop)
    assert size.width == resize[0] // 8 * 8
    assert abs(size.height - resize[1]) <= 8
