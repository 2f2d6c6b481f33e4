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


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


IMAGE, BOX = noise((200, 100)), (80, 30, 120, 60)


def make_request(mask: Image.Image | None = None, **changes: object) -> Img2ImgRequest:
    fields = {
        "init_image": ImageField.from_pil(IMAGE),
        "mask": None if mask is None else ImageField.from_pil(mask, MASK),
        "width": 200,
        "height": 104,
    }
    return Img2ImgRequest(**{**fields, **changes})


def test_without_a_mask_the_image_is_resized_and_there_is_no_overlay():
    canvas = prepare_canvas(make_request(resize_mode=1, width=64, height=64))
    assert canvas.image.size == (64, 64)
    assert (canvas.mask, canvas.latent_mask, canvas.overlay) == (None, None, None)


def test_with_latent_upscale_the_image_keeps_its_size_rounded_to_latent_cells():
    assert prepare_canvas(make_request(resize_mode=3, width=400, height=400)).image.size == (
        200,
        96,
    )
    assert prepare_canvas(make_request(resize_mode=3, width=64, height=64)).image.size == (64, 64)


def test_whole_picture_resizes_image_and_mask_and_the_overlay_doubles_the_mask():
    mask = box_mask(IMAGE.size, BOX)
    canvas = prepare_canvas(make_request(mask))
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


def test_only_masked_crops_the_box_at_the_images_own_resolution():
    canvas = prepare_canvas(
        make_request(
            box_mask(IMAGE.size, BOX), inpaint_full_res=True, mask_blur=0, width=64, height=64
        )
    )
    assert canvas.overlay is not None and canvas.mask is not None
    assert canvas.overlay.original.tobytes() == IMAGE.tobytes()
    assert canvas.overlay.box == (48, 0, 152, 100), (
        "the mask with a padding of 32 pixels, made square inside the image"
    )
    assert canvas.overlay.mask.tobytes() == box_mask(IMAGE.size, BOX).tobytes()
    assert canvas.image.size == canvas.mask.size == (64, 64)


def test_the_mask_can_be_inverted():
    canvas = prepare_canvas(
        make_request(
            box_mask(IMAGE.size, BOX), inpainting_mask_invert=True, mask_blur=0, height=100 + 4
        )
    )
    assert canvas.mask is not None
    assert canvas.mask.getpixel((100, 45)) == 0 and canvas.mask.getpixel((5, 5)) == 255


def test_a_mask_of_another_size_is_stretched_to_the_image():
    half = prepare_canvas(make_request(box_mask((100, 50), (40, 15, 60, 30)), mask_blur=0))
    whole = prepare_canvas(make_request(box_mask(IMAGE.size, BOX), mask_blur=0))
    assert half.mask is not None and whole.mask is not None
    assert np.abs(np.asarray(half.mask).astype(int) - np.asarray(whole.mask)).mean() < 3


@pytest.mark.parametrize(("content", "filled"), [(0, True), (1, False), (2, True), (3, True)])
def test_every_masked_content_but_original_is_filled_first(content: int, filled: bool):
    mask = box_mask(IMAGE.size, BOX)
    original = np.asarray(prepare_canvas(make_request(mask)).image).astype(int)
    filled_image = np.asarray(
        prepare_canvas(make_request(mask, inpainting_fill=content)).image
    ).astype(int)
    assert (np.abs(filled_image - original)[35:55, 90:110].mean() > 20) == filled
    assert np.array_equal(filled_image[:15], original[:15])


def test_a_separate_latent_mask_is_filled_and_repainted():
    latent_mask = ImageField.from_pil(box_mask(IMAGE.size, (0, 0, 40, 100)), MASK)
    canvas = prepare_canvas(
        make_request(box_mask(IMAGE.size, BOX), latent_mask=latent_mask, inpainting_fill=0)
    )
    assert canvas.latent_mask is not None and canvas.mask is not None
    assert canvas.latent_mask.getpixel((10, 50)) == 255 and canvas.mask.getpixel((10, 50)) == 0


def test_an_outpainted_image_is_resized_to_the_result_without_its_new_sides():
    canvas = prepare_canvas(
        make_request(outpaint_right=64, width=264, height=104, inpainting_fill=1, mask_blur=4)
    )
    assert canvas.mask is not None and canvas.overlay is not None
    assert canvas.image.size == (264, 104)
    inner = canvas.overlay.original.crop((0, 0, 200, 104))
    assert inner.tobytes() == IMAGE.resize((200, 104), Image.Resampling.LANCZOS).tobytes()
    values = np.asarray(canvas.mask)
    assert values[:, :180].max() == 0 and values[:, 203:].min() == 255


def test_outpainting_with_only_masked_keeps_the_images_size():
    canvas = prepare_canvas(
        make_request(outpaint_left=50, inpaint_full_res=True, width=64, height=64)
    )
    assert canvas.overlay is not None
    assert canvas.overlay.original.size == (250, 100)
    assert canvas.overlay.original.crop((50, 0, 250, 100)).tobytes() == IMAGE.tobytes()


def test_a_mask_that_vanishes_when_blurred_is_refused():
    speck = Image.new("L", IMAGE.size)
    speck.putpixel((10, 10), 20)
    with pytest.raises(UserError, match="The mask is empty"):
        prepare_canvas(make_request(speck, inpaint_full_res=True, mask_blur=30))
