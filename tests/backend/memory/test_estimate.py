import pytest
import torch

from modules.backend.components import Components, TextEncoder
from modules.backend.memory import estimate
from modules.backend.memory.estimate import UnitMemory
from modules.core.errors import OutOfMemory
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.backend.checkpoints import tiny_modules


@pytest.fixture(scope="module")
def components():
    unet, vae, text_encoder = tiny_modules()
    return Components(
        unet, vae, (TextEncoder(text_encoder),), torch.ones(1000), "epsilon", "SD 1.x"
    )


def test_a_batch_that_does_not_fit_is_refused_with_numbers(components):
    huge = Txt2ImgRequest(width=8192, height=8192, batch_size=64)

    with pytest.raises(OutOfMemory, match=r"A batch of 64 at 8192x8192 needs about .* GB"):
        estimate.check(components, huge, torch.device("cpu"))


def test_an_ordinary_batch_is_accepted(components):
    estimate.check(components, Txt2ImgRequest(), torch.device("cpu"))


def test_a_larger_batch_needs_more_memory(components):
    one, eight = Txt2ImgRequest(), Txt2ImgRequest(batch_size=8)

    assert estimate.needed_bytes(components, eight) > estimate.needed_bytes(components, one)


def test_an_image_that_is_encoded_at_its_own_size_counts_with_it(components):
    photo = ImageField((30000, 30000), b"")  # its size is all that is asked for
    stretched = Img2ImgRequest(init_image=photo, width=64, height=64)

    estimate.check(components, stretched, torch.device("cpu"))
    with pytest.raises(OutOfMemory, match=r"64x64 from a picture of 30000x30000 needs .* picture"):
        estimate.check(components, stretched.replace(resize_mode=3), torch.device("cpu"))


def test_sub_prompts_of_and_need_more_memory(components):
    three, seven = (
        Txt2ImgRequest(prompt="a AND b AND c"),
        Txt2ImgRequest(prompt="a AND b" + " AND c" * 5),
    )

    assert estimate.needed_bytes(components, seven) == 2 * estimate.needed_bytes(components, three)


def test_units_that_do_not_fit_are_named(components):
    estimate.check(components, Txt2ImgRequest(), torch.device("cpu"), UnitMemory(3, 1000))
    with pytest.raises(
        OutOfMemory,
        match=r"1 at 512x512 with 3 ControlNet units needs about 9000 GB .* fewer units",
    ):
        estimate.check(components, Txt2ImgRequest(), torch.device("cpu"), UnitMemory(3, 9 * 10**12))


def test_a_card_gets_as_many_prompts_in_a_call_as_it_has_room_for(components):
    unet = components.unet
    one = estimate.UNET_BYTES * unet.config["block_out_channels"][0] * 8 * 8 * 2
    assert estimate.conds_per_call(unet, (8, 8), 2, free=2 * one) == 2
    assert estimate.conds_per_call(unet, (8, 8), 2, free=2 * one - 1) == 1
    assert estimate.conds_per_call(unet, (8, 8), 2, free=0) == 1, "something has to be tried"
    assert estimate.conds_per_call(unet, (8, 8), 2) is None, "a processor refuses before the run"
