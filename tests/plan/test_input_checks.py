from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, MASK
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.input_checks import check_input_images

INIT_IMAGE = ImageField.from_pil(Image.new("RGB", (64, 48), "red"))


def mask(level: int, size: tuple[int, int] = (64, 48)) -> ImageField:
    return ImageField.from_pil(Image.new("L", size, level), MASK)


def half_mask(size: tuple[int, int] = (64, 48)) -> ImageField:
    image = Image.new("L", size)
    image.paste(255, (0, 0, size[0] // 2, size[1]))
    return ImageField.from_pil(image, MASK)


def notes_of(**fields: object) -> tuple[str, ...]:
    return check_input_images(Img2ImgRequest(**{"init_image": INIT_IMAGE, **fields}))


def test_ordinary_requests_have_no_notes():
    assert check_input_images(Txt2ImgRequest()) == notes_of() == notes_of(mask=half_mask()) == ()


@pytest.mark.parametrize("request_type", [Img2ImgRequest, DepthRequest])
def test_an_init_image_is_required(request_type):
    with pytest.raises(NotFound, match=r"There is no picture to repaint\. Add one\."):
        check_input_images(request_type())


@pytest.mark.parametrize(
    "fields", [{"mask": mask(0)}, {"mask": mask(255), "inpainting_mask_invert": True}]
)
def test_an_empty_mask_is_refused(fields: dict[str, object]):
    with pytest.raises(
        UserError,
        match=r"The mask is empty: nothing would be repainted\. Paint over the area to change",
    ):
        notes_of(**fields)
    assert notes_of(**fields, outpaint_left=64, width=192, height=96) == ()


@pytest.mark.parametrize(
    "fields", [{"mask": mask(255)}, {"mask": mask(0), "inpainting_mask_invert": True}]
)
def test_a_full_mask_is_noted(fields: dict[str, object]):
    assert notes_of(**fields) == ("The mask covers the whole picture; all of it is repainted.",)


@pytest.mark.parametrize(
    ("fields", "placement"),
    [
        ({}, "each was fitted to the result by the resize mode"),
        (
            {"inpaint_full_res": True},
            "its place was counted from the top left corner, so use a mask of the picture's size",
        ),
        (
            {"outpaint_left": 64, "width": 320, "height": 192},
            "the mask was fitted to the picture by the resize mode",
        ),
    ],
)
def test_a_mask_of_another_size_is_noted(fields: dict[str, object], placement: str):
    assert notes_of(mask=half_mask((32, 32)), **fields) == (
        f"The mask is 32x32 and the picture 64x48; {placement}.",
    )


def test_denoising_strength_0_is_noted():
    note = "With denoising strength 0 a single step is made; the picture hardly changes."
    assert notes_of(denoising_strength=0) == (note,)


def test_outpainting_that_leaves_too_little_of_the_init_image_is_refused():
    with pytest.raises(
        UserError, match="Outpainting by 480 pixels leaves 32 for the picture at width 512"
    ):
        notes_of(outpaint_left=240, outpaint_right=240)
    assert notes_of(outpaint_left=240, outpaint_right=240, inpaint_full_res=True) == ()


def test_a_uniform_depth_map_is_refused():
    uniform = ImageField.from_pil(Image.new("L", (64, 48), 90), DEPTH)
    with pytest.raises(UserError, match="The depth map is a single shade of grey"):
        check_input_images(DepthRequest(init_image=INIT_IMAGE, depth_map=uniform))


def test_a_depth_map_of_another_size_is_noted():
    ramp = ImageField.from_pil(
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)), DEPTH
    )
    note = (
        "The depth map is 16x16 and the picture 64x48; both were cropped to the size of the result."
    )
    assert check_input_images(DepthRequest(init_image=INIT_IMAGE, depth_map=ramp)) == (note,)


def test_depth_near_must_be_larger_than_depth_far():
    with pytest.raises(
        UserError, match=r"Depth near is 0\.3 and depth far 0\.5; near must be larger"
    ):
        check_input_images(DepthRequest(init_image=INIT_IMAGE, depth_near=0.3, depth_far=0.5))


def test_a_picture_that_outpainting_stretches_is_noted():
    image = ImageField.from_pil(Image.new("RGB", (256, 256), "red"))
    sides = {"init_image": image, "outpaint_right": 64}
    assert notes_of(**sides, width=320, height=256) == ()
    assert notes_of(**sides, width=256, height=256) == (
        "The size of an outpainted result is that of the whole: within 256x256 the picture was stretched from 256x256 "
        "to 192x256; 320x256 keeps it as it is.",
    )
    assert notes_of(**sides, width=256, height=256, resize_mode=1) == ()
    assert notes_of(**sides, width=256, height=256, inpaint_full_res=True) == ()
