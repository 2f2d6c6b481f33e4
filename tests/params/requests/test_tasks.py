from __future__ import annotations

import pytest
from PIL import Image
from pydantic import BaseModel

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.param import param, validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.tasks import TASKS
from modules.params.requests.txt2img import Txt2ImgRequest, hires_pass_request
from modules.params.settings import Settings
from modules.params.settings.sections import SECTIONS, SettingsSection, make_settings_class


class Tones(BaseModel):
    """One option."""

    tone: int = param(2, "Tone", help="More is higher.", section="sampling", ge=0, le=9)


TONE_SETTINGS = make_settings_class([*SECTIONS, SettingsSection("tones", "Tones", Tones)])


@pytest.mark.parametrize("name", TASKS.names())
def test_a_request_of_a_task_is_of_its_class_and_has_what_it_needs(name: str):
    task = TASKS.get(name)
    fields = task.request.model_fields
    names = {"init image": "init_image", "mask": "mask", "depth": "depth_map"}
    assert {names[need] for need in task.needs} <= fields.keys()


def test_a_mask_makes_img2img_another_task():
    mask = ImageField.from_pil(Image.new("L", (64, 64), 255), MASK)
    assert TASKS.get(Img2ImgRequest().task).needs == ("init image",)
    assert TASKS.get(Img2ImgRequest(mask=mask).task).needs == ("init image", "mask")


def test_a_request_for_more_settings_can_override_them():
    request_class = Txt2ImgRequest.with_settings(TONE_SETTINGS)
    request = request_class(override_settings={"tone": "3"})
    assert request.override_settings == {"tone": 3}
    assert request.replace(steps=3).override_settings == {"tone": 3}
    with pytest.raises(UserError, match=r"There is no option 'tune'\. Did you mean 'tone'"):
        validate(request_class, {"override_settings": {"tune": 3}})
    with pytest.raises(UserError, match="There is no option 'tone'"):
        validate(Txt2ImgRequest, {"override_settings": {"tone": 3}})


def test_the_hires_pass_keeps_the_overrides_of_more_settings():
    request_class = Txt2ImgRequest.with_settings(TONE_SETTINGS)
    request = request_class(override_settings={"tone": 3}, enable_hr=True)
    assert hires_pass_request(request).override_settings == {"tone": 3}


@pytest.mark.parametrize("request_class", [GenerationRequest, Txt2ImgRequest, Img2ImgRequest])
def test_the_class_for_some_settings_is_always_the_same(request_class: type[GenerationRequest]):
    assert request_class.with_settings(Settings) is request_class
    extended = request_class.with_settings(TONE_SETTINGS)
    assert extended is request_class.with_settings(TONE_SETTINGS)
    assert extended() == extended()
    assert issubclass(extended, request_class)
    assert extended.with_settings(TONE_SETTINGS) is extended
