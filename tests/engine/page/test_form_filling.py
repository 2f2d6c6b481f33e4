from __future__ import annotations

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.engine.engine import Engine
from modules.engine.page.form_filling import fill_from_image, fill_from_text
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

PROMPTS = "a cat\nNegative prompt: a dog\n"
TEXT = (
    f"{PROMPTS}Steps: 7, Sampler: DDIM, CFG scale: 3, Seed: 9, Size: 64x128, Clip skip: 2, Odd: 1"
)


def png(infotext: str) -> bytes:
    info = PngInfo()
    info.add_text("parameters", infotext)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_an_infotext_becomes_the_values_of_a_form(engine: Engine):
    filling = fill_from_text(engine, "txt2img", TEXT)
    values = filling.values
    assert (values["prompt"], values["negative_prompt"]) == ("a cat", "a dog")
    assert (values["steps"], values["sampler_name"], values["seed"]) == (7, "DDIM", 9)
    assert (values["width"], values["height"]) == (64, 128)
    assert (values["enable_hr"], values["subseed_strength"]) == (False, 0)
    assert "n_iter" not in values
    assert filling.chips == ("Clip skip: 2",)
    assert filling.messages == ("Odd (1): this key is unknown.",)


def test_a_setting_with_a_control_becomes_no_chip(engine: Engine):
    controls = ("CLIP_stop_at_last_layers", "img2img_fix_steps")
    filling = fill_from_text(engine, "txt2img", TEXT, controls)
    assert filling.chips == ()
    assert filling.values["override_settings"] == {
        "CLIP_stop_at_last_layers": 2,
        "img2img_fix_steps": False,
    }


def test_another_checkpoint_becomes_a_chip_and_no_value(engine: Engine):
    name = engine.models.find_checkpoint("second").name
    filling = fill_from_text(engine, "txt2img", f"{PROMPTS}Steps: 7, Seed: 9, Model: second")
    assert filling.chips == (f"Checkpoint: {name}",)
    assert "sd_model_checkpoint" not in filling.values


def test_a_refiner_is_named_as_the_forms_list_has_it(engine: Engine):
    checkpoint = engine.models.find_checkpoint("second")
    sha256 = engine.models.sha256(checkpoint)
    text = f"{PROMPTS}Steps: 7, Seed: 9, Refiner: second [{sha256[:10]}], Refiner switch at: 0.5"
    filling = fill_from_text(engine, "txt2img", text)
    title = engine.models.find_checkpoint("second").title
    assert filling.values["refiner_checkpoint"] == title == f"{checkpoint.name} [{sha256[:10]}]"
    missing = fill_from_text(engine, "txt2img", text.replace("second", "gone"))
    assert missing.values.get("refiner_checkpoint", "") != title


def test_a_seed_that_a_browser_would_round_is_text(engine: Engine):
    filling = fill_from_text(
        engine, "txt2img", f"{PROMPTS}Steps: 7, Size: 64x64, Seed: {2**64 - 1}"
    )
    assert filling.values["seed"] == "18446744073709551615"


def test_a_prompt_alone_changes_nothing_and_says_so(engine: Engine):
    filling = fill_from_text(engine, "txt2img", "a cat, a dog")
    assert (filling.values, filling.chips) == ({}, None)
    assert "only a prompt" in filling.messages[0]


def test_two_prompts_without_parameters_fill_both_boxes(engine: Engine):
    filling = fill_from_text(engine, "txt2img", PROMPTS)
    assert filling.values == {"prompt": "a cat", "negative_prompt": "a dog"}
    assert (filling.chips, filling.messages) == (None, ())


def test_a_blank_text_stands_for_the_last_image(engine: Engine):
    assert "No picture has been made yet" in fill_from_text(engine, "txt2img", "").messages[0]
    job = engine.submit(Txt2ImgRequest(prompt="a fox", width=64, height=64, steps=2, seed=4))
    assert job.wait(PATIENCE_S)
    values = fill_from_text(engine, "txt2img", " \n").values
    assert (values["prompt"], values["seed"]) == ("a fox", 4)


def test_an_images_metadata_become_the_values_of_a_form(engine: Engine):
    filling = fill_from_image(engine, "img2img", png(TEXT))
    assert (filling.values["prompt"], filling.values["steps"]) == ("a cat", 7)
    assert filling.chips == ("Clip skip: 2",)


def test_an_image_without_parameters_says_so(engine: Engine):
    filling = fill_from_image(engine, "txt2img", png(""))
    assert (filling.values, filling.chips) == ({}, None)
    assert "holds no parameters" in filling.messages[0]
