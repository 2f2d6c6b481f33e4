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

PICTURE = ImageField.from_pil(Image.new("RGB", (64, 48), "red"))


def mask(level: int, size: tuple[int, int] = (64, 48)) -> ImageField:
    return ImageField.from_pil(Image.new("L", size, level), MASK)


def half(size: tuple[int, int] = (64, 48)) -> ImageField:
    image = Image.new("L", size)
    image.paste(255, (0, 0, size[0] // 2, size[1]))
    return ImageField.from_pil(image, MASK)


def painted(**fields: object) -> tuple[str, ...]:
    return check_input_images(Img2ImgRequest(**{"init_image": PICTURE, **fields}))


def test_nothing_is_to_be_said_of_ordinary_requests():
    assert check_input_images(Txt2ImgRequest()) == painted() == painted(mask=half()) == ()


@pytest.mark.parametrize("request_type", [Img2ImgRequest, DepthRequest])
def test_a_picture_is_needed(request_type):
    with pytest.raises(NotFound, match=r"There is no picture to repaint\. Give one\."):
        check_input_images(request_type())


@pytest.mark.parametrize(
    "fields", [{"mask": mask(0)}, {"mask": mask(255), "inpainting_mask_invert": True}]
)
def test_an_empty_mask_is_a_question(fields: dict[str, object]):
    with pytest.raises(
        UserError,
        match=r"The mask is empty: nothing would be repainted\. Paint over the area to change",
    ):
        painted(**fields)
    assert painted(**fields, outpaint_left=64) == ()


@pytest.mark.parametrize(
    "fields", [{"mask": mask(255)}, {"mask": mask(0), "inpainting_mask_invert": True}]
)
def test_a_full_mask_is_remarked_on(fields: dict[str, object]):
    assert painted(**fields) == ("The mask covers the whole picture; all of it is repainted.",)


def test_a_mask_of_another_size_is_remarked_on():
    assert painted(mask=half((32, 32))) == (
        "The mask is 32x32 and the picture 64x48; the mask was stretched to it.",
    )


def test_no_strength_is_remarked_on():
    said = "Denoising strength 0 makes one step and keeps the picture nearly as it is."
    assert painted(denoising_strength=0) == (said,)


def test_sides_that_leave_nothing_of_the_picture_are_refused():
    with pytest.raises(
        UserError, match="Outpainting by 480 pixels leaves 32 of the picture at width 512"
    ):
        painted(outpaint_left=240, outpaint_right=240)
    assert painted(outpaint_left=240, outpaint_right=240, inpaint_full_res=True) == ()


def test_an_even_depth_map_is_refused():
    even = ImageField.from_pil(Image.new("L", (64, 48), 90), DEPTH)
    with pytest.raises(UserError, match="The depth map is one even grey"):
        check_input_images(DepthRequest(init_image=PICTURE, depth_map=even))


def test_a_depth_map_of_another_size_is_remarked_on():
    ramp = ImageField.from_pil(
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)), DEPTH
    )
    said = "The depth map is 16x16 and the picture 64x48; both were cut to the size of the result."
    assert check_input_images(DepthRequest(init_image=PICTURE, depth_map=ramp)) == (said,)


def test_near_lies_beyond_far():
    with pytest.raises(
        UserError, match=r"Depth near is 0\.3 and depth far 0\.5; near must be the larger"
    ):
        check_input_images(DepthRequest(init_image=PICTURE, depth_near=0.3, depth_far=0.5))
