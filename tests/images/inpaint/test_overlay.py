from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.inpaint.overlay import Overlay
from modules.images.resize import crop_and_resize
from modules.params.image import ImageField


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def soft_mask(size: tuple[int, int]) -> Image.Image:
    """Return a mask with all values from 0 to 255."""
    return Image.fromarray(np.random.default_rng(9).integers(0, 256, size[::-1], dtype=np.uint8))


def laid_over(original: np.ndarray, result: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return A1111's composite by its rule: the original premultiplied and divided again, each time in 8 bits."""
    kept = 255 - mask.astype(int)[..., None]
    premultiplied = np.rint(original * kept / 255).astype(int)
    colour = np.minimum(255 * premultiplied // np.maximum(kept, 1), 255)
    return np.rint((colour * kept + result * (255.0 - kept)) / 255).astype(int)


ORIGINAL, RESULT = noise((90, 70), 1), noise((90, 70), 2)
WHOLE = (0, 0, 90, 70)


def test_original_and_result_are_copied_where_the_mask_is_black_and_white():
    mask = soft_mask(ORIGINAL.size)
    composite = np.asarray(Overlay(ORIGINAL, WHOLE, mask).composite(RESULT))
    values = np.asarray(mask)
    assert np.array_equal(composite[values == 0], np.asarray(ORIGINAL)[values == 0])
    assert np.array_equal(composite[values == 255], np.asarray(RESULT)[values == 255])


def test_between_them_the_8_bits_of_a1111_are_lost():
    mask = soft_mask(ORIGINAL.size)
    composite = np.asarray(Overlay(ORIGINAL, WHOLE, mask).composite(RESULT)).astype(int)
    pixels = [np.asarray(image).astype(int) for image in (ORIGINAL, RESULT, mask)]
    assert np.array_equal(composite, laid_over(*pixels))


def test_a_result_is_composited_into_its_box_of_the_whole_image():
    original = noise((400, 300), 1)
    box = (100, 50, 200, 100)
    mask = Image.new("L", original.size)
    mask.paste(255, (110, 60, 190, 90))
    composite = Overlay(original, box, mask).composite(Image.new("RGB", (64, 32), "red"))
    assert composite.size == (400, 300)
    assert composite.crop((110, 60, 190, 90)).getcolors() == [(2400, (255, 0, 0))]
    composite.paste(original.crop((110, 60, 190, 90)), (110, 60))
    assert composite.tobytes() == original.tobytes()


def test_a_result_of_other_proportions_is_cropped_to_its_box():
    mask = Image.new("L", ORIGINAL.size, 255)
    composite = Overlay(ORIGINAL, (10, 20, 60, 50), mask).composite(RESULT)
    expected = crop_and_resize(RESULT, 50, 30)
    assert composite.crop((10, 20, 60, 50)).tobytes() == expected.tobytes()


def test_where_the_mask_lies_beyond_the_box_there_is_nothing_under_the_original():
    """A1111 lays the original over a transparent image with the result in its box."""
    mask = Image.new("L", ORIGINAL.size)
    mask.paste(255, (50, 0, 70, 70))
    mask.paste(100, (70, 0, 90, 70))
    composite = Overlay(ORIGINAL, (0, 0, 60, 70), mask).composite(RESULT.crop((0, 0, 60, 70)))
    assert composite.crop((0, 0, 50, 70)).tobytes() == ORIGINAL.crop((0, 0, 50, 70)).tobytes()
    assert composite.crop((50, 0, 60, 70)).tobytes() == RESULT.crop((50, 0, 60, 70)).tobytes()
    assert composite.crop((60, 0, 70, 70)).getcolors() == [(700, (0, 0, 0))]
    faint, original = (np.asarray(image)[:, 70:].astype(int) for image in (composite, ORIGINAL))
    assert np.abs(faint - original).max() <= 2, "the original, with digits lost"


def test_an_opacity_replaces_the_mask_and_may_reach_beyond_it():
    overlay = Overlay(ORIGINAL, (10, 20, 60, 50), Image.new("L", ORIGINAL.size))
    result = Image.new("RGB", (100, 60), "red")
    assert overlay.composite(result).tobytes() == ORIGINAL.tobytes()
    opacity = Image.new("L", (100, 60))
    opacity.paste(255, (50, 0, 100, 60))
    composite = overlay.composite(result, opacity)
    assert composite.crop((39, 20, 60, 50)).getcolors() == [(21 * 30, (255, 0, 0))]
    composite.paste(ORIGINAL.crop((10, 20, 60, 50)), (10, 20))
    assert composite.tobytes() == ORIGINAL.tobytes(), "beyond the box all is kept"


TRANSPARENT, RAMP = ORIGINAL.convert("RGBA"), np.arange(6300, dtype=np.uint16).reshape(70, 90)
TRANSPARENT.putalpha(soft_mask(ORIGINAL.size))


@pytest.mark.parametrize(
    "source",
    [
        ORIGINAL,
        TRANSPARENT,
        TRANSPARENT.convert("LA"),
        TRANSPARENT.convert("P"),
        ORIGINAL.convert("L"),
        ORIGINAL.convert("1"),
        ORIGINAL.convert("CMYK"),
        Image.fromarray(RAMP * 10),
    ],
    ids=lambda image: image.mode,
)
def test_an_original_of_any_mode_is_kept_byte_for_byte(source: Image.Image):
    original = ImageField.from_pil(source).to_pil()
    mask = Image.new("L", ORIGINAL.size)
    mask.paste(128, (30, 30, 40, 40))
    composite = Overlay(original, WHOLE, mask).composite(RESULT)
    composite.paste(original.crop((30, 30, 40, 40)), (30, 30))
    assert composite.tobytes() == original.tobytes()
