from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from modules.core.errors import UserError
from modules.images.inpaint.canvas import encoded_size, prepare_canvas
from modules.images.inpaint.mask import blur_mask, crop_region
from modules.images.resize import crop_and_resize, resize_and_fill, stretch
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


@pytest.mark.parametrize("size", [(64, 64), (128, 512), (400, 400)])
@pytest.mark.parametrize("image_size", [(200, 100), (97, 131), (8, 8), (1300, 64)])
def test_an_image_whose_latents_are_resized_keeps_its_size(
    image_size: tuple[int, int], size: tuple[int, int]
):
    image = noise(image_size)
    request = make_request(
        init_image=ImageField.from_pil(image), resize_mode=3, width=size[0], height=size[1]
    )
    canvas = prepare_canvas(request)
    assert canvas.image.size == encoded_size(request) == image_size
    assert canvas.image.tobytes() == image.tobytes()


def test_an_image_smaller_than_a_latent_cell_is_stretched_to_one():
    request = make_request(init_image=ImageField.from_pil(noise((5, 20))), resize_mode=3)
    assert prepare_canvas(request).image.size == encoded_size(request) == (8, 20)


@pytest.mark.parametrize("content", [0, 1, 2, 3])
def test_with_resized_latents_the_mask_and_the_overlay_have_the_results_size(content: int):
    mask = box_mask(IMAGE.size, BOX)
    canvas = prepare_canvas(
        make_request(mask, resize_mode=3, width=96, height=128, inpainting_fill=content)
    )
    assert canvas.mask is not None and canvas.overlay is not None
    assert canvas.image.size == IMAGE.size
    assert canvas.mask.size == canvas.overlay.mask.size == (96, 128)
    stretched = IMAGE.resize((96, 128), Image.Resampling.LANCZOS)
    assert canvas.overlay.original.tobytes() == stretched.tobytes()


@pytest.mark.parametrize("changes", [{"inpaint_full_res": True}, {"outpaint_left": 64}])
def test_only_masked_and_outpainting_resize_pixels_in_every_mode(changes: dict[str, object]):
    request = make_request(box_mask(IMAGE.size, BOX), resize_mode=3, width=128, **changes)
    assert prepare_canvas(request).image.size == encoded_size(request) == (128, 104)


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


MASK_SIZES = [(128, 128), (40, 90), (96, 160), (320, 192), (300, 90), (200, 100)]
MASK_RESIZES = [stretch, crop_and_resize, resize_and_fill, resize_and_fill]  # by resize mode


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("size", MASK_SIZES)
def test_a_mask_of_another_size_is_blurred_at_its_own_and_resized_by_the_mode(
    size: tuple[int, int], mode: int, inverted: bool
):
    mask = noise(size).convert("L")
    request = make_request(
        mask, resize_mode=mode, width=96, height=128, inpainting_mask_invert=inverted
    )
    canvas = prepare_canvas(request)
    assert canvas.mask is not None and canvas.overlay is not None
    blurred = blur_mask(ImageOps.invert(mask) if inverted else mask, 4, 4)
    assert canvas.mask.tobytes() == MASK_RESIZES[mode](blurred, 96, 128).tobytes()
    doubled = np.minimum(np.asarray(canvas.mask).astype(int) * 2, 255)
    assert np.array_equal(np.asarray(canvas.overlay.mask), doubled)
    assert canvas.latent_mask is canvas.mask


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("size", MASK_SIZES)
def test_only_masked_finds_its_box_in_a_mask_of_another_size_and_crops_the_image_there(
    size: tuple[int, int], mode: int
):
    mask = box_mask(size, (size[0] // 2, size[1] // 2, size[0] * 3 // 4, size[1] * 3 // 4))
    request = make_request(
        mask,
        resize_mode=mode,
        width=64,
        height=96,
        inpaint_full_res=True,
        inpaint_full_res_padding=8,
    )
    canvas, blurred = prepare_canvas(request), blur_mask(mask, 4, 4)
    box = crop_region(blurred, 8, 64, 96)
    assert box is not None and canvas.mask is not None and canvas.overlay is not None
    assert canvas.overlay.box == box
    assert canvas.overlay.original.tobytes() == IMAGE.tobytes()
    resized = MASK_RESIZES[mode](blurred, *IMAGE.size)
    assert canvas.overlay.mask.tobytes() == resized.tobytes()
    for prepared, source in ((canvas.image, IMAGE), (canvas.mask, blurred)):
        assert prepared.tobytes() == resize_and_fill(source.crop(box), 64, 96).tobytes()


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("only_masked", [False, True])
def test_outpainting_resizes_a_mask_of_another_size_to_the_image_first(
    mode: int, only_masked: bool
):
    mask = noise((50, 90)).convert("L")
    request = make_request(
        mask,
        resize_mode=mode,
        width=160,
        height=104,
        outpaint_right=64,
        inpaint_full_res=only_masked,
    )
    canvas, size = prepare_canvas(request), IMAGE.size if only_masked else (96, 104)
    same = prepare_canvas(
        request.replace(mask=ImageField.from_pil(MASK_RESIZES[mode](mask, *size), MASK))
    )
    assert canvas.mask is not None and same.mask is not None
    assert canvas.mask.tobytes() == same.mask.tobytes()


@pytest.mark.parametrize("only_masked", [False, True])
def test_a_latent_mask_lies_on_the_result_as_the_mask_does(only_masked: bool):
    mask = box_mask(IMAGE.size, BOX)
    request = make_request(
        mask, resize_mode=1, width=64, height=64, mask_blur=0, inpaint_full_res=only_masked
    )
    canvas = prepare_canvas(request.replace(latent_mask=request.mask))
    assert canvas.latent_mask is not None and canvas.mask is not None
    assert canvas.latent_mask.tobytes() == canvas.mask.tobytes()


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
