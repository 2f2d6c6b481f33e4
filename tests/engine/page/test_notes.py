"""What a form says before Generate."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.page.notes import TASK, Note, describe
from modules.engine.page.uploads import make_upload_store
from tests.conftest import write_listed_depth
from tests.models.model_files import shapes_of, write_safetensors


def upload(engine: Engine, width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, format="PNG")
    return make_upload_store(engine).add(buffer.getvalue()).id


def inpaint_note(engine: Engine, size: tuple[int, int], **values: Any) -> Note:
    return describe(engine, "inpaint", {"init_image": upload(engine, *size), **values})[
        "outpaint_left"
    ]


def test_sizes_of_the_hires_pass(engine: Engine):
    sizes = {"width": 512, "height": 512}
    assert describe(engine, "txt2img", sizes)["hr_scale"].text == "From 512x512 to 1024x1024."
    notes = describe(engine, "txt2img", {**sizes, "hr_resize_x": 768, "hr_scale": "x"})
    assert notes["hr_scale"].text == "From 512x512 to 768x768."


def test_a_size_below_the_checkpoints_own_is_noted(engine: Engine):
    assert "width" not in describe(engine, "txt2img", {"width": 512, "height": 512})
    note = describe(engine, "txt2img", {"width": 512, "height": 256})["width"]
    assert (
        note.text
        == "first.safetensors was made for 512x512 pixels; smaller pictures come out worse."
    )


def test_the_pictures_size_is_offered_and_rounded_in_words(engine: Engine):
    values = {"init_image": upload(engine, 640, 478), "width": 512, "height": 512}
    note = describe(engine, "img2img", values)["scale_by"]
    assert note == Note(
        "The picture's size is 640x472, rounded from 640x478 to multiples of 8.",
        "Size from the picture",
        {"width": 640, "height": 472},
    )
    half = describe(engine, "img2img", {**values, "scale_by": 0.5})["scale_by"]
    assert half.values == {"width": 320, "height": 232}
    assert half.text.startswith("The picture's size times 0.5 is 320x232, rounded from 320x239 to")
    same = describe(engine, "img2img", {**values, **note.values})["scale_by"]
    assert (same.text, same.button) == (
        "Width and height are the picture's, rounded from 640x478 to multiples of 8.",
        "",
    )
    exact = {"init_image": upload(engine, 96, 64), "width": 96, "height": 64}
    assert "scale_by" not in describe(engine, "depth2img", exact)
    assert "scale_by" not in describe(engine, "img2img", {"init_image": "0" * 64})


@pytest.mark.parametrize(
    ("resize_mode", "text"),
    [
        (0, "The picture is stretched to 512x512; it is 640x480."),
        (1, "The picture is cropped to 512x512; it is 640x480."),
    ],
)
def test_what_happens_to_other_proportions_is_said(engine: Engine, resize_mode: int, text: str):
    values = {"init_image": upload(engine, 640, 480), "resize_mode": resize_mode}
    notes = describe(engine, "img2img", {**values, "width": 512, "height": 512})
    assert notes["resize_mode"].text == text
    assert "resize_mode" not in describe(engine, "img2img", {**values, "width": 320, "height": 240})


def test_outpainting_that_stretches_the_picture_offers_the_right_size(engine: Engine):
    sides = {"outpaint_right": 64, "height": 256}
    assert inpaint_note(engine, (256, 256), width=256, **sides) == Note(
        "The result is 256x256: the picture of 256x256 is stretched to 192x256.",
        "Make it 320x256",
        {"width": 320, "height": 256},
    )
    assert inpaint_note(engine, (256, 256), width=320, **sides) == Note(
        "The result is 320x256; 256x256 of it is the picture."
    )
    tiny = inpaint_note(engine, (256, 256), width=64, **sides)
    assert "leave too little" in tiny.text and tiny.values == {"width": 320, "height": 256}


def test_outpainting_with_only_masked_keeps_the_pictures_size(engine: Engine):
    note = inpaint_note(engine, (640, 480), outpaint_top=100, inpaint_full_res=True)
    assert note == Note("The result is 640x580: the whole picture and the added sides.")


def test_a_checkpoint_that_cannot_do_the_task_is_said_with_one_that_can(engine: Engine):
    folder = engine.paths.checkpoint_folders[0]
    assert TASK not in describe(engine, "txt2img", {})
    alone = describe(engine, "depth2img", {})[TASK]
    assert "is not a depth checkpoint" in alone.text and not alone.button
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    write_listed_depth(folder / "whole.safetensors")
    engine.models.refresh()
    with_other = describe(engine, "depth2img", {})[TASK]
    assert (with_other.button, with_other.checkpoint) == (
        "Choose whole.safetensors",
        "whole.safetensors",
    )
    engine.select_checkpoint("pruned")
    assert "Use it in the Depth tab" in describe(engine, "txt2img", {})[TASK].text
    assert "no depth estimator" in describe(engine, "depth2img", {})[TASK].text
    assert TASK not in describe(engine, "depth2img", {"depth_map": "an id"})


def test_a_refiner_chosen_as_the_checkpoint_is_offered_as_the_refiner(engine: Engine):
    folder = engine.paths.checkpoint_folders[0]
    write_safetensors(folder / "a-refiner.safetensors", shapes_of("sdxl-refiner"))
    engine.models.refresh()
    engine.select_checkpoint("a-refiner")
    alone = describe(engine, "txt2img", {})[TASK]
    assert "is a refiner: it finishes" in alone.text
    assert "can refine: put one, such as sd_xl_base_1.0.safetensors, into" in alone.text
    assert alone.values == {}  # no checkpoint here makes what it can refine
    write_safetensors(folder / "xl.safetensors", shapes_of("sdxl"))
    write_safetensors(folder / "inpainting.safetensors", shapes_of("sdxl-inpainting"))
    engine.models.refresh()
    sha256 = engine.models.sha256(engine.models.find_checkpoint("a-refiner"))
    note = describe(engine, "txt2img", {})[TASK]
    assert note.text.endswith(
        "as the checkpoint one that it can refine: choose 'xl.safetensors' or 'inpainting.safetensors'."
    )
    assert (note.button, note.checkpoint, note.values) == (
        "Use it as the refiner of xl.safetensors",
        "xl.safetensors",
        {"refiner_checkpoint": f"a-refiner.safetensors [{sha256[:10]}]"},  # as the form lists it
    )
    engine.select_checkpoint(note.checkpoint)
    assert TASK not in describe(engine, "txt2img", note.values)
