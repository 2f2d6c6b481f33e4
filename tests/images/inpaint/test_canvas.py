from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.images.inpaint.canvas import prepare_canvas
from modules.images.inpaint.mask import blur_mask
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.img2img import Img2ImgRequest


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def boxed(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


PICTURE, BOX = noise((200, 100)), (80, 30, 120, 60)


def request_of(mask: Image.Image | None = None, **changes: object) -> Img2ImgRequest:
    given = None if mask is None else ImageField.from_pil(mask, MASK)
    fields = {
        "init_image": ImageField.from_pil(PICTURE),
        "mask": given,
        "width": 200,
        "height": 104,
    }
    return Img2ImgRequest(**{**fields, **changes})


def test_without_a_mask_the_picture_is_resized_and_nothing_lies_over_it():
    canvas = prepare_canvas(request_of(resize_mode=1, width=64, height=64))
    assert canvas.image.size == (64, 64)
    assert (canvas.mask, canvas.latent_mask, canvas.overlay) == (None, None, None)


def test_a_picture_whose_latents_are_enlarged_keeps_its_size_in_whole_cells():
    assert prepare_canvas(request_of(resize_mode=3, width=400, height=400)).image.size == (200, 96)
    assert prepare_canvas(request_of(resize_mode=3, width=64, height=64)).image.size == (64, 64)


def test_a_whole_picture_is_laid_out_with_its_mask_and_the_overlay_doubles_it():
    mask = boxed(PICTURE.size, BOX)
    canvas = prepare_canvas(request_of(mask))
    assert (
        canvas.mask is canvas.latent_mask and canvas.mask is not None and canvas.overlay is not None
    )
    assert (
        canvas.mask.tobytes()
        == blur_mask(mask, 4, 4).resize((200, 104), Image.Resampling.LANCZOS).tobytes()
    )
    doubled = np.minimum(np.asarray(canvas.mask).astype(int) * 2, 255)
    assert np.array_equal(np.asarray(canvas.overlay.mask), doubled)
    assert canvas.overlay.box == (0, 0, 200, 104)


def test_only_masked_cuts_the_box_out_at_the_pictures_own_resolution():
    canvas = prepare_canvas(
        request_of(
            boxed(PICTURE.size, BOX), inpaint_full_res=True, mask_blur=0, width=64, height=64
        )
    )
    assert canvas.overlay is not None and canvas.mask is not None
    assert canvas.overlay.original.tobytes() == PICTURE.tobytes()
    assert canvas.overlay.box == (48, 0, 152, 100), (
        "the mask, 32 pixels around, squared inside the picture"
    )
    assert canvas.overlay.mask.size == (104, 100)
    assert canvas.image.size == canvas.mask.size == (64, 64)


def test_what_is_not_masked_can_be_repainted_instead():
    turned = prepare_canvas(
        request_of(
            boxed(PICTURE.size, BOX), inpainting_mask_invert=True, mask_blur=0, height=100 + 4
        )
    )
    assert turned.mask is not None
    assert turned.mask.getpixel((100, 45)) == 0 and turned.mask.getpixel((5, 5)) == 255


def test_a_mask_of_another_size_is_stretched_to_the_picture():
    half = prepare_canvas(request_of(boxed((100, 50), (40, 15, 60, 30)), mask_blur=0))
    whole = prepare_canvas(request_of(boxed(PICTURE.size, BOX), mask_blur=0))
    assert half.mask is not None and whole.mask is not None
    assert np.abs(np.asarray(half.mask).astype(int) - np.asarray(whole.mask)).mean() < 3


@pytest.mark.parametrize(("content", "filled"), [(0, True), (1, False), (2, True), (3, True)])
def test_all_masked_contents_but_the_original_are_filled_first(content: int, filled: bool):
    mask = boxed(PICTURE.size, BOX)
    original = np.asarray(prepare_canvas(request_of(mask)).image).astype(int)
    made = np.asarray(prepare_canvas(request_of(mask, inpainting_fill=content)).image).astype(int)
    assert (np.abs(made - original)[35:55, 90:110].mean() > 20) == filled
    assert np.array_equal(made[:15], original[:15])


def test_a_latent_mask_of_its_own_is_filled_and_repainted():
    other = ImageField.from_pil(boxed(PICTURE.size, (0, 0, 40, 100)), MASK)
    canvas = prepare_canvas(
        request_of(boxed(PICTURE.size, BOX), latent_mask=other, inpainting_fill=0)
    )
    assert canvas.latent_mask is not None and canvas.mask is not None
    assert canvas.latent_mask.getpixel((10, 50)) == 255 and canvas.mask.getpixel((10, 50)) == 0


def test_outpainting_leaves_the_picture_what_the_sides_leave_of_the_result():
    canvas = prepare_canvas(
        request_of(outpaint_right=64, width=264, height=104, inpainting_fill=1, mask_blur=4)
    )
    assert canvas.mask is not None and canvas.overlay is not None
    assert canvas.image.size == (264, 104)
    inner = canvas.overlay.original.crop((0, 0, 200, 104))
    assert inner.tobytes() == PICTURE.resize((200, 104), Image.Resampling.LANCZOS).tobytes()
    levels = np.asarray(canvas.mask)
    assert levels[:, :180].max() == 0 and levels[:, 203:].min() == 255


def test_outpainting_only_what_is_masked_keeps_the_pictures_size():
    canvas = prepare_canvas(
        request_of(outpaint_left=50, inpaint_full_res=True, width=64, height=64)
    )
    assert canvas.overlay is not None
    assert canvas.overlay.original.size == (250, 100)
    assert canvas.overlay.original.crop((50, 0, 250, 100)).tobytes() == PICTURE.tobytes()


def test_a_mask_that_vanishes_in_its_blur_is_refused():
    speck = Image.new("L", PICTURE.size)
    speck.putpixel((10, 10), 20)
    with pytest.raises(UserError, match="The mask is empty"):
        prepare_canvas(request_of(speck, inpaint_full_res=True, mask_blur=30))
