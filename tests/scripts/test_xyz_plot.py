"""The X/Y/Z plot: which requests it makes, in which order, and what it refuses."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.xyz_plot.a1111_axes import read_list
from modules.scripts.xyz_plot.arguments import XyzPlotArgs
from modules.scripts.xyz_plot.axes import axes_of, find_axis
from modules.scripts.xyz_plot.plot import (
    XYZ_PLOT,
    check_values,
    make_cell_request,
    order_places,
    prepare_plot,
)

CAT = Txt2ImgRequest(prompt="a cat, a dog", negative_prompt="a cow", seed=5, steps=2)


def make_requests(request: GenerationRequest = CAT, **args: Any) -> list[GenerationRequest]:
    request, prepared = prepare_plot(request, XyzPlotArgs(**args))
    return [make_cell_request(request, prepared, place) for place in order_places(prepared)]


def refusal(**args: Any) -> str:
    with pytest.raises(UserError) as error:
        list(check_values(*prepare_plot(CAT, XyzPlotArgs(**args))))
    return str(error.value)


def test_x_runs_fastest_then_y_then_z():
    made = make_requests(
        x_type="Steps",
        x_values="1,2",
        y_type="CFG Scale",
        y_values="3,4",
        z_type="seed",
        z_values="7,8",
    )
    assert [(one.steps, one.cfg_scale, one.seed) for one in made][:5] == [
        (1, 3.0, 7), (2, 3.0, 7), (1, 4.0, 7), (2, 4.0, 7), (1, 3.0, 8),
    ]  # fmt: skip


def test_the_axis_that_costs_most_is_outermost():
    args = {"x_type": "Checkpoint name", "x_values": "a,b", "y_type": "VAE", "y_values": "c,d"}
    made = make_requests(**args, z_type="Steps", z_values="1,2")
    assert [(one.sd_model_checkpoint, one.sd_vae, one.steps) for one in made][:5] == [
        ("a", "c", 1), ("a", "c", 2), ("a", "d", 1), ("a", "d", 2), ("b", "c", 1),
    ]  # fmt: skip


def test_a_field_an_option_and_a_size_are_axes():
    (one,) = make_requests(
        x_type="Clip skip", x_values="2", y_type="Size", y_values="128x64", z_type="Hires. fix", z_values="true"
    )  # fmt: skip
    assert isinstance(one, Txt2ImgRequest)
    assert (one.override_settings, one.width, one.height, one.enable_hr) == (
        {"CLIP_stop_at_last_layers": 2}, 128, 64, True,
    )  # fmt: skip
    (eta,) = make_requests(x_type="Eta", x_values="0.5")
    assert eta.override_settings == {"eta_ancestral": 0.5, "eta_ddim": 0.5}
    assert make_requests(x_type="RNG source", x_values="nv")[0].override_settings == {
        "randn_source": "NV"
    }
    orders = make_requests(CAT.replace(steps=4), x_type="UniPC Order", x_values="2, 9")
    assert [one.override_settings["uni_pc_order"] for one in orders] == [2, 3]


def test_every_axis_is_named_once_and_changes_pictures():
    for request_type in (Txt2ImgRequest, Img2ImgRequest):
        names = [axis.name for axis in axes_of(request_type).values()]
        assert len(names) == len(set(names))
        assert {"Seed", "Steps", "Prompt S/R", "Size", "Styles", "CFG rescale"} <= set(names)
        assert not {"Picture", "Batch size", "Prompt", "Override settings"} & set(names)
    assert find_axis(Img2ImgRequest, "masked content").read("FILL, 2") == [0, 2]


def test_words_are_replaced_ordered_and_weighed():
    args = {"x_type": "Prompt S/R", "x_values": 'cat, fox, "owl, white"'}
    assert [one.prompt for one in make_requests(**args)] == [
        "a cat, a dog", "a fox, a dog", "a owl, white, a dog",
    ]  # fmt: skip
    assert make_requests(x_type="Prompt S/R", x_values="cow,bee")[1].negative_prompt == "a bee"
    args = {"x_type": "Prompt order", "x_values": "dog, cat"}
    assert [one.prompt for one in make_requests(**args)] == ["a dog, a cat", "a cat, a dog"]
    args = {"x_type": "LoRA weight: ink", "x_values": "0, 0.5"}
    assert make_requests(**args)[1].prompt == "a cat, a dog <lora:ink:0.5>"
    inked = CAT.replace(prompt="a <lora:ink:1> cat <lora:ink> <lora:inkpot:1> <lora:ink:1:te=0>")
    assert make_requests(inked, **args)[1].prompt == (
        "a <lora:ink:0.5> cat <lora:ink:0.5> <lora:inkpot:1> <lora:ink:0.5:te=0>"
    )


def test_seeds_are_drawn_once_for_all_cells_unless_they_are_kept():
    random = CAT.replace(seed=-1)
    axes = {"x_type": "Steps", "x_values": "1,2", "y_type": "Var. seed", "y_values": "-1, 3"}
    made = make_requests(random, **axes)
    assert len({one.seed for one in made}) == 1
    assert made[0].seed >= 0
    assert made[0].subseed == made[1].subseed >= 0
    assert [one.subseed for one in made[2:]] == [3, 3]
    kept = make_requests(random, **axes, no_fixed_seeds=True)
    assert {(one.seed, one.subseed) for one in kept} == {(-1, -1), (-1, 3)}


def test_seeds_vary_along_the_chosen_axes():
    axes = {"x_type": "Steps", "x_values": "1,2,3", "y_type": "CFG Scale", "y_values": "4,5"}
    both = make_requests(**axes, vary_seeds_x=True, vary_seeds_y=True)
    assert [one.seed for one in both] == [5, 6, 7, 8, 9, 10]
    assert [one.seed for one in make_requests(**axes, vary_seeds_y=True)] == [5, 5, 5, 6, 6, 6]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"x_type": "Stepps"}, "X type: There is no axis named 'Stepps'. Did you mean 'Steps' or 'Styles' or 'Hires steps'?"),
        (
            {"x_type": "face restore", "x_values": "GFPGAN"},
            "X type: There is no axis named 'face restore'. Faces are restored in the Extras tab.",
        ),
        ({"y_type": "Steps"}, "Y axis (Steps) has no values. Write some, or take Nothing."),
        (
            {"x_type": "Steps", "x_values": "a"},
            "X axis (Steps): 'a' is no whole number and no range. Write 10, 20, 10-30 (+5) or 10-30 [5].",
        ),
        (
            {"x_type": "Steps", "x_values": "0"},
            "X axis (Steps), value '0': Sampling steps is 0; the smallest valid value is 1.",
        ),
        (
            {"z_type": "RNG source", "z_values": "TPU"},
            "Z axis (RNG source): 'TPU' is none of its values. Use GPU, CPU, NV.",
        ),
        (
            {"x_type": "Prompt S/R", "x_values": "purple, green"},
            "X axis (Prompt S/R), value 'purple': Prompt S/R did not find 'purple' in prompt or negative prompt."
            " The first value is what is replaced by the others.",
        ),
        ({"x_type": "Size", "x_values": "512"}, "X axis (Size): '512' is no size. Write 512x768, 768x512."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_axis_and_value(args: dict[str, Any], words: str):
    assert refusal(**args) == words


def test_a1111s_list_of_arguments():
    args = read_list([4, "3,5", [], 9, "", ["Euler", "a, b"], 0, "", [], True, True], "txt2img")
    assert args == {
        "x_type": "Steps", "x_values": "3,5", "y_type": "Sampler", "y_values": 'Euler,"a, b"',
        "z_type": "Nothing", "z_values": "", "draw_legend": True, "include_lone_images": True,
    }  # fmt: skip
    written = [9, "Euler,DDIM", [], 41, "64x64", [], "Steps", "3", [], *[False] * 7, 0, True]
    assert read_list(written, "txt2img")["x_values"] == "Euler,DDIM"
    assert read_list(written, "txt2img")["y_type"] == "Size"
    assert read_list([40], "inpaint")["x_type"] == "Size"
    assert read_list([6], "img2img")["x_type"] == "Image CFG Scale"
    with pytest.raises(UserError, match="X type is 99"):
        read_list([99], "txt2img")
    with pytest.raises(UserError, match="a list of 19; at most 18"):
        read_list([0] * 19, "txt2img")


def test_images_stay_where_a_request_has_some():
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    image = ImageField.from_bytes(data.getvalue())
    (one,) = make_requests(Img2ImgRequest(init_image=image), x_type="Denoising", x_values="0.5")
    assert isinstance(one, Img2ImgRequest)
    assert (one.denoising_strength, one.init_image) == (0.5, image)
    assert XYZ_PLOT.tasks >= {"txt2img", "img2img", "inpaint"}
