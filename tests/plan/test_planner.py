from __future__ import annotations

import pickle
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError, WebUIError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import MAX_SEED, GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.job_plan import DEFAULT_SETTINGS
from modules.plan.plan import Plan
from tests.conftest import write_listed_depth
from tests.models.model_files import shapes_of, write_safetensors

SKIP = "CLIP_stop_at_last_layers"


def plan_with(engine: Engine, request: GenerationRequest, name: str, **settings: Any) -> Plan:
    """Plan a request that names no checkpoint."""
    return engine.planner.plan(
        request, engine.settings.replace(sd_model_checkpoint=name, **settings)
    )


@pytest.fixture
def plan_of(idle_engine: Engine):
    def plan_of(**values: Any) -> Plan:
        request = Txt2ImgRequest(**{"seed": 100, **values})
        return plan_with(idle_engine, request, "")  # the default is `first`

    return plan_of


def test_seeds_count_up_over_all_batches(plan_of):
    plan = plan_of(n_iter=2, batch_size=3)
    assert [[image.seed for image in batch] for batch in plan.batches] == [
        [100, 101, 102],
        [103, 104, 105],
    ]
    assert [image.index for image in plan.images] == [0, 1, 2, 3, 4, 5]


def test_a_random_seed_is_drawn_once(plan_of):
    plan = plan_of(seed=-1, n_iter=2)
    assert 0 <= plan.request.seed < 2**32
    assert [image.seed for image in plan.images] == [plan.request.seed, plan.request.seed + 1]
    assert plan_of(seed=-1).request.seed != plan.request.seed


def test_the_largest_seed_can_be_used(plan_of):
    assert plan_of(seed=MAX_SEED).images[0].seed == MAX_SEED


def test_seeds_beyond_the_largest_are_refused(plan_of):
    with pytest.raises(UserError) as caught:
        plan_of(seed=MAX_SEED, batch_size=2)
    assert str(caught.value) == (
        f"Seed {MAX_SEED} is too large for 2 pictures. Use a seed of at most {MAX_SEED - 1}."
    )


def test_an_unknown_sampler_is_answered_with_the_nearest(plan_of):
    with pytest.raises(NotFound) as caught:
        plan_of(sampler_name="Eular a")
    assert str(caught.value).startswith(
        "There is no sampler named 'Eular a'. Did you mean 'Euler a'"
    )


def test_an_unknown_schedule_is_answered_with_the_nearest(plan_of):
    with pytest.raises(NotFound) as caught:
        plan_of(scheduler="Karas")
    assert "There is no schedule type named 'Karas'. Did you mean 'Karras'?" in str(caught.value)


def test_names_are_spelled_as_in_the_tables(plan_of):
    request = plan_of(sampler_name="k_euler_a", scheduler="karras").request
    assert (request.sampler_name, request.scheduler) == ("Euler a", "Karras")


@pytest.mark.parametrize(
    ("sampler", "requested", "used", "label"),
    [
        ("DPM++ 2M", "Automatic", "Karras", "Karras"),
        ("DPM++ 2M", "Uniform", "Uniform", "Uniform"),
        ("Euler a", "Automatic", "Uniform", "Automatic"),
        ("Euler a", "Karras", "Karras", "Karras"),
        ("Euler", "Uniform", "Uniform", "Uniform"),
        ("DDIM", "Automatic", "Uniform", "Automatic"),
        ("DDIM", "Karras", "Karras", "Karras"),
    ],
)
def test_automatic_means_the_samplers_default_schedule(plan_of, sampler, requested, used, label):
    plan = plan_of(sampler_name=sampler, scheduler=requested)
    assert plan.schedule.name == used
    assert plan.schedule_label == label
    assert plan.single_image_request(plan.images[0]).scheduler == label


def test_one_step_of_ddim_is_refused(plan_of):
    with pytest.raises(UserError) as caught:
        plan_of(sampler_name="DDIM", steps=1)
    assert str(caught.value) == "DDIM with 1 step makes no update. Use at least 2 steps."


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "Euler"])
def test_other_samplers_accept_one_step(plan_of, sampler: str):
    assert plan_of(sampler_name=sampler, steps=1).sampler.name == sampler


def test_each_image_has_a_request_that_generates_it_alone(plan_of):
    plan = plan_of(n_iter=2, batch_size=2, prompt="a cat")
    request = plan.single_image_request(plan.images[3])
    assert (request.seed, request.n_iter, request.batch_size) == (103, 1, 1)
    assert request.prompt == "a cat"


def test_a_checkpoint_without_yaml_uses_that_of_its_family(plan_of):
    assert plan_of().model.config.name == "v1-inference.yaml"


@pytest.mark.parametrize(
    ("setting", "overrides", "clip_skip"),
    [(1, {}, 1), (2, {}, 2), (2, {SKIP: 1}, 1), (1, {SKIP: 12}, 12), (3, {SKIP: 2}, 2)],
)
def test_the_requests_clip_skip_overrides_the_setting(
    idle_engine: Engine, plan_of, setting, overrides, clip_skip
):
    idle_engine.settings = idle_engine.settings.replace(CLIP_stop_at_last_layers=setting)
    plan = plan_of(override_settings=overrides)
    assert plan.settings.CLIP_stop_at_last_layers == clip_skip
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("overrides", "notes"),
    [
        ({}, ()),
        ({SKIP: 1}, ()),
        ({SKIP: 2}, ("Clip skip has no effect on two.safetensors: its text encoder is OpenCLIP.",)),
    ],
)
def test_clip_skip_has_no_effect_on_open_clip(idle_engine: Engine, overrides, notes):
    engine = idle_engine
    write_safetensors(engine.paths.checkpoint_folders[0] / "two.safetensors", shapes_of("sd2"))
    request = Txt2ImgRequest(override_settings=overrides)
    plan = plan_with(engine, request, "two", CLIP_stop_at_last_layers=3)
    assert plan.settings.CLIP_stop_at_last_layers == 1
    assert plan.notes == notes


def test_a_plan_can_be_pickled(plan_of):
    plan = plan_of(n_iter=2)
    assert pickle.loads(pickle.dumps(plan)) == plan


INIT_IMAGE = ImageField.from_pil(Image.new("RGB", (8, 8), "red"))
RAMP = ImageField.from_pil(Image.linear_gradient("L"))


@pytest.fixture
def depth_plan_of(idle_engine: Engine):
    engine, folder = idle_engine, idle_engine.paths.checkpoint_folders[0]
    write_listed_depth(folder / "depth.safetensors")
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    engine.models.refresh()

    def depth_plan_of(name: str = "depth", **values: Any) -> Plan:
        request = DepthRequest(**{"init_image": INIT_IMAGE, "seed": 100, **values})
        return plan_with(engine, request, name)

    return depth_plan_of


def test_a_depth_request_is_planned_like_any_other(depth_plan_of):
    plan = depth_plan_of(n_iter=2, batch_size=2)
    assert [image.seed for image in plan.images] == [100, 101, 102, 103]
    assert plan.single_image_request(plan.images[3]).init_image == INIT_IMAGE
    assert plan.without_images().request == plan.request.replace(init_image=None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init_image": None}, "There is no picture to repaint. Add one."),
        ({"name": "first"}, "'first.safetensors' is not a depth checkpoint"),
        ({"name": "pruned"}, "'pruned.safetensors' has no depth estimator. Provide a depth map."),
        (
            {"sampler_name": "DDIM", "denoising_strength": 0.05},
            "DDIM with 20 steps makes no update at a denoising strength of 0.05.",
        ),
    ],
)
def test_an_error_names_what_a_depth_request_lacks(
    depth_plan_of, values: dict[str, Any], message: str
):
    with pytest.raises(WebUIError) as caught:
        depth_plan_of(**values)
    assert str(caught.value).startswith(message)


def test_a_depth_map_replaces_the_estimator(depth_plan_of):
    assert depth_plan_of("pruned", depth_map=RAMP).checkpoint.name == "pruned.safetensors"


@pytest.mark.parametrize(
    ("sampler", "strength"), [("Euler", 0.0), ("DDIM", 0.1), ("DPM++ 2M", 1.0)]
)
def test_a_denoising_strength_that_makes_an_update_is_accepted(
    depth_plan_of, sampler: str, strength: float
):
    assert depth_plan_of(sampler_name=sampler, denoising_strength=strength).sampler.name == sampler


@pytest.fixture
def img2img_plan_of(idle_engine: Engine):
    engine = idle_engine
    engine.models.refresh()

    def img2img_plan_of(**values: Any) -> Plan:
        request = Img2ImgRequest(**{"init_image": INIT_IMAGE, "seed": 1, **values})
        return plan_with(engine, request, "first")

    return img2img_plan_of


def test_img2img_options_have_an_effect_on_img2img_only(plan_of, img2img_plan_of):
    options = {
        "initial_noise_multiplier": 0.9,
        "img2img_color_correction": True,
        "inpainting_mask_weight": 0.5,
    }
    settings = img2img_plan_of(override_settings=options).settings
    assert (settings.initial_noise_multiplier, settings.img2img_color_correction) == (0.9, True)
    assert settings.inpainting_mask_weight == 1, "a UNet with 4 input channels gets no mask"
    assert plan_of(override_settings=options).settings == DEFAULT_SETTINGS


def test_exact_steps_allow_small_denoising_strengths(img2img_plan_of):
    small = {"sampler_name": "DDIM", "denoising_strength": 0.05}
    with pytest.raises(UserError, match="makes no update"):
        img2img_plan_of(**small)
    plan = img2img_plan_of(**small, override_settings={"img2img_fix_steps": True})
    assert plan.settings.img2img_fix_steps


def test_notes_on_input_images_are_in_the_plan(img2img_plan_of):
    white = ImageField.from_pil(Image.new("L", (8, 8), 255), MASK)
    assert (
        "The mask covers the whole picture; all of it is repainted."
        in img2img_plan_of(mask=white).notes
    )


def test_an_old_sampler_name_includes_its_schedule(plan_of):
    plan = plan_of(sampler_name="DPM++ 2M SDE Karras")
    assert (plan.request.sampler_name, plan.request.scheduler) == ("DPM++ 2M SDE", "Karras")
    assert plan.schedule.name == "Karras"


def test_options_without_an_effect_on_the_sampler_are_reset_to_their_defaults(plan_of):
    overrides = {
        "s_churn": 2.0,
        "uni_pc_order": 2,
        "rho": 5.0,
        "sigma_min": 0.1,
        "eta_noise_seed_delta": 31337,
    }
    plans = {
        sampler: plan_of(sampler_name=sampler, scheduler="Karras", override_settings=overrides)
        for sampler in ("Euler", "UniPC", "DPM++ 2M")
    }
    assert {
        sampler: [getattr(plan.settings, name) for name in overrides]
        for sampler, plan in plans.items()
    } == {
        "Euler": [2.0, 3, 5.0, 0.1, 31337],
        "UniPC": [0.0, 2, 0.0, 0.0, 0],
        "DPM++ 2M": [0.0, 3, 5.0, 0.1, 0],
    }


def test_karras_with_ddim_stays_in_the_request_though_it_has_no_effect(plan_of):
    plan = plan_of(sampler_name="DDIM", scheduler="Karras")
    assert plan.single_image_request(plan.images[0]).scheduler == "Karras"


# The hires pass


def test_without_hires_fix_there_is_no_hires_pass(plan_of):
    plan = plan_of(hr_scale=4.0)
    assert (plan.hires, plan.first_pass_evaluations) == (None, None)


def test_the_hires_pass_defaults_to_the_first_pass(plan_of):
    plan = plan_of(enable_hr=True, steps=12, prompt="a cat", seed=7, batch_size=2)
    second = plan.hires.plan
    assert (second.request.width, second.request.height) == (1024, 1024)
    assert (second.request.steps, second.request.prompt) == (12, "a cat")
    assert (second.sampler, second.schedule, second.model) == (
        plan.sampler,
        plan.schedule,
        plan.model,
    )
    assert second.batches == plan.batches
    assert (second.settings.img2img_fix_steps, second.first_pass_evaluations) == (True, 12)
    assert plan.hires.upscaler.upscaler.name == "Latent"


def test_the_hires_pass_uses_its_own_fields(plan_of):
    plan = plan_of(
        enable_hr=True,
        hr_second_pass_steps=5,
        hr_sampler_name="euler A",
        hr_scheduler="karras",
        hr_prompt="a dog",
        hr_negative_prompt="a fish",
        hr_upscaler="lanczos",
        hr_checkpoint_name="second",
    )
    second = plan.hires.plan
    assert (second.sampler.name, second.schedule.name, second.request.steps) == (
        "Euler a",
        "Karras",
        5,
    )
    assert (second.request.prompt, second.request.negative_prompt) == ("a dog", "a fish")
    assert second.checkpoint.model_name == "second"
    assert plan.hires.upscaler.upscaler.name == "Lanczos"


def test_a1111s_use_same_values_are_understood(plan_of):
    plan = plan_of(
        enable_hr=True,
        hr_sampler_name="Use same sampler",
        hr_scheduler="Use same scheduler",
        hr_checkpoint_name="Use same checkpoint",
    )
    second = plan.hires.plan
    assert (second.sampler, second.schedule, second.model) == (
        plan.sampler,
        plan.schedule,
        plan.model,
    )


def test_hires_fields_equal_to_those_of_the_first_pass_are_empty_in_the_infotext(plan_of):
    plan = plan_of(
        enable_hr=True,
        prompt="a cat",
        hr_prompt="a cat",
        hr_sampler_name="DPM++ 2M",
        hr_scheduler="Karras",
        hr_checkpoint_name="first",
    )
    request = plan.single_image_request(plan.images[0])
    names = ("hr_prompt", "hr_sampler_name", "hr_scheduler", "hr_checkpoint_name")
    assert [getattr(request, name) for name in names] == ["", "", "", ""]


def test_automatic_is_resolved_for_the_hires_sampler(plan_of):
    plan = plan_of(enable_hr=True, hr_sampler_name="Euler")
    request = plan.single_image_request(plan.images[0])
    assert (request.scheduler, request.hr_sampler_name, request.hr_scheduler) == (
        "Karras",
        "Euler",
        "Automatic",
    )


def test_an_unknown_upscaler_is_answered_with_the_nearest(plan_of):
    with pytest.raises(
        NotFound, match=r"There is no upscaler named 'Latnt'\. Did you mean 'Latent'"
    ):
        plan_of(enable_hr=True, hr_upscaler="Latnt")


def test_an_option_with_an_effect_on_the_hires_pass_alone_is_kept(plan_of):
    overrides = {"eta_ancestral": 0.5, "uni_pc_order": 2}
    hires = {"enable_hr": True, "sampler_name": "DPM++ 2M", "hr_sampler_name": "Euler a Karras"}
    plan = plan_of(**hires, override_settings=overrides)
    assert (plan.settings.eta_ancestral, plan.settings.uni_pc_order) == (0.5, 3)
    assert plan.hires is not None
    assert (plan.hires.plan.sampler.name, plan.hires.plan.schedule.name) == ("Euler a", "Karras")
    first_only = plan_of(sampler_name="DPM++ 2M", override_settings=overrides)
    assert first_only.settings.eta_ancestral == 1


def test_the_settings_of_the_plan_include_the_options_of_both_passes(plan_of):
    options = {"eta_ancestral": 0.5, "img2img_extra_noise": 0.1, "initial_noise_multiplier": 0.9}
    plan = plan_of(enable_hr=True, hr_sampler_name="Euler a", override_settings=options)
    second = plan.hires.plan.settings
    assert (second.eta_ancestral, second.img2img_extra_noise, second.initial_noise_multiplier) == (
        0.5,
        0.1,
        1,
    )
    assert (plan.settings.eta_ancestral, plan.settings.img2img_extra_noise) == (0.5, 0.1)
    assert plan.settings.img2img_fix_steps is False
    assert plan_of(override_settings=options).settings == DEFAULT_SETTINGS
