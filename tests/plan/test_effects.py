from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modules.models.index import ModelIndex
from modules.params.requests.tasks import TASKS
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.params.settings.sampling import SamplingSettings
from modules.plan.effects import ineffective_options, list_effects, stated_options
from modules.plan.planned_pass import PlannedPass, used_sampling_options
from modules.plan.planner import make_plan
from modules.plan.prompts import prompt_notes
from modules.plan.tables import PlanTables
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES
from tests.conftest import ROOT, write_listed_checkpoint

ADDED_NOISE = {"s_churn": 1.0, "eta_ddim": 1.0}
LONG = "cat " * 80


def options_of(
    sampler: str, schedule: str = "Uniform", from_noise: bool = True, **options
) -> set[str]:
    settings = SamplingSettings(**{**ADDED_NOISE, **options})
    return {
        *used_sampling_options(SAMPLERS.get(sampler), SCHEDULES.get(schedule), settings, from_noise)
    }


def test_options_of_samplers_and_schedules_have_rows():
    options = {effect.option for effect in list_effects()}
    assert {
        "rho",
        "s_churn",
        "uni_pc_order",
        "beta_dist_alpha",
        "sgm_noise_multiplier",
    } <= options
    assert not {"randn_source", "tiling", "sd_noise_schedule"} & options, "every run uses them"


def test_schedule_options_affect_k_diffusion_samplers_but_not_timestep_samplers():
    assert {"rho", "sigma_min", "sgm_noise_multiplier"} <= options_of("Euler", "Karras")
    assert not {"rho", "sigma_min", "sgm_noise_multiplier"} & options_of("DDIM", "Karras")
    assert "rho" not in options_of("Euler", "Exponential")


def test_noise_options_have_no_effect_when_no_noise_is_added():
    assert {"s_noise", "s_tmin", "eta_noise_seed_delta"} <= options_of("Euler")
    assert not {"s_noise", "s_tmin", "eta_noise_seed_delta"} & options_of("Euler", s_churn=0)
    assert "s_churn" in options_of("Euler", s_churn=0)
    assert "s_noise" not in options_of("DPM++ 2M SDE", eta_ancestral=0)
    assert "eta_noise_seed_delta" in options_of("LCM")


@pytest.mark.parametrize(
    ("name", "has_effect"), [("DPM++ 2M", True), ("DPM2", False), ("DDIM", True)]
)
def test_discarding_a_sigma_has_no_effect_where_the_sampler_always_discards_it(
    name: str, has_effect: bool
):
    assert ("always_discard_next_to_last_sigma" in options_of(name)) == has_effect


def test_the_initial_noise_multiplier_has_no_effect_on_an_init_image():
    assert "sgm_noise_multiplier" not in options_of("Euler", from_noise=False)


def test_no_option_has_two_rows():
    options = [effect.option for effect in list_effects()]
    assert len(options) == len(set(options))


def test_an_option_of_other_parts_stays_theirs_when_a_sampler_lists_it():
    samplers = SAMPLERS.copy()
    samplers.add(Sampler("Tiled", SAMPLERS.get("Euler").run, options=("tiling", "emphasis", "rho")))
    options = [effect.option for effect in list_effects(PlanTables(samplers))]
    assert sorted(options) == sorted(effect.option for effect in list_effects())


Passes = Callable[..., list[PlannedPass]]


@pytest.fixture(scope="module")
def passes(tokenizer: ClipTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Passes:
    """Plan a job of ten evaluations in one pass."""
    folder = tmp_path_factory.mktemp("models")
    write_listed_checkpoint(folder / "any.safetensors")
    models = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
    checkpoint = models.find_checkpoint("any")

    def passes(
        prompt: str, negative: str = "", cfg_scale: float = 7.0, **options: Any
    ) -> list[PlannedPass]:
        request = Txt2ImgRequest(
            prompt=prompt,
            negative_prompt=negative,
            cfg_scale=cfg_scale,
            steps=10,
            sampler_name="Euler",
        )
        plan = make_plan(request, models, checkpoint, Settings(**options))
        return [PlannedPass(plan, TASKS.get("txt2img"), models.get_family(checkpoint), tokenizer)]

    return passes


@pytest.mark.parametrize(
    ("option", "value", "prompt", "has_effect"),
    [
        ("emphasis", "None", "a cat", False),
        ("emphasis", "None", "a (cat:1.0)", True),
        ("emphasis", "None", "a cat BREAK dog", True),
        ("emphasis", "Ignore", "a cat BREAK dog", False),
        ("emphasis", "Ignore", "a (cat)", True),
        ("emphasis", "No norm", "a cat", False),
        ("emphasis", "No norm", "[a::0.5] [cat]", True),
        ("use_old_emphasis_implementation", True, "a cat", False),
        ("use_old_emphasis_implementation", True, "a (cat:1.3)", True),
        ("use_old_emphasis_implementation", True, LONG, True),
        ("use_old_scheduling", True, "[a:b:0.5]", False),
        ("use_old_scheduling", True, "[a:b:1.0]", True),
        ("comma_padding_backtrack", 0, LONG, False),
        ("comma_padding_backtrack", 0, "cat " * 60 + ", " + LONG, True),
    ],
)
def test_a_prompt_option_has_an_effect_where_it_changes_the_chunks(
    passes: Passes, option: str, value: object, prompt: str, has_effect: bool
):
    for planned in (passes(prompt, **{option: value}), passes("", prompt, **{option: value})):
        assert (option not in ineffective_options(planned)) is has_effect


@pytest.mark.parametrize(
    ("options", "cfg_scale", "ineffective"),
    [
        ({"s_min_uncond": 2.0}, 7.0, set()),
        ({"s_min_uncond": 2.0, "s_min_uncond_all": True}, 7.0, set()),
        ({"s_min_uncond_all": True}, 7.0, {"s_min_uncond_all"}),
        (
            {"s_min_uncond": 2.0, "s_min_uncond_all": True, "skip_early_cond": 0.2},
            1.0,
            {"s_min_uncond", "s_min_uncond_all", "skip_early_cond"},
        ),
        ({"cfg_rescale": 0.7}, 7.0, set()),
        ({"cfg_rescale": 0.7}, 1.0, {"cfg_rescale"}),
    ],
)
def test_options_of_uncond_have_an_effect_where_uncond_is_used(
    passes: Passes, options: dict[str, Any], cfg_scale: float, ineffective: set[str]
):
    assert ineffective_options(passes("a cat", "", cfg_scale, **options)).keys() == ineffective


@pytest.mark.parametrize(
    ("prompt", "negative", "has_effect"),
    [
        ("a cat", "a dog", False),
        (LONG, "a dog", True),
        ("a cat", LONG, True),
        ("a cat AND " + LONG, LONG, False),
        ("[a:" + LONG + ":0.5]", "", True),
    ],
)
def test_padding_has_an_effect_where_prompts_differ_in_chunk_count(
    passes: Passes, prompt: str, negative: str, has_effect: bool
):
    for option in ("pad_cond_uncond", "pad_cond_uncond_v0"):
        found = ineffective_options(passes(prompt, negative, **{option: True}))
        assert (option not in found) is has_effect


def test_the_old_padding_has_precedence(passes: Passes):
    both = {"pad_cond_uncond": True, "pad_cond_uncond_v0": True}
    assert ineffective_options(passes(LONG, **both)) == {"pad_cond_uncond": False}


def test_an_effect_on_one_of_two_passes_is_enough(passes: Passes):
    (first,) = passes("[a:b:0.5]", use_old_scheduling=True)
    second = replace(first, plan=replace(first.plan, first_pass_evaluations=10))
    assert "use_old_scheduling" in ineffective_options([first])
    assert "use_old_scheduling" not in ineffective_options([first, second])


@pytest.mark.parametrize(
    ("sampler", "may_predict_v", "has_effect"),
    [("LCM", True, True), ("LCM", False, False), ("Euler", True, False)],
)
def test_lcms_option_has_an_effect_on_v_prediction(
    passes: Passes, sampler: str, may_predict_v: bool, has_effect: bool
):
    (planned,) = passes("a cat", lcm_v_prediction=True)
    plan = replace(planned.plan, sampler=SAMPLERS.get(sampler))
    planned = replace(planned, plan=plan, may_predict_v=may_predict_v)
    assert ("lcm_v_prediction" not in ineffective_options([planned])) is has_effect


def test_an_option_with_its_default_value_is_not_listed(passes: Passes):
    assert ineffective_options(passes("a cat")) == {}


def as_inpainting(planned: PlannedPass, task: str) -> PlannedPass:
    """Return the pass with an inpainting UNet, and as another task."""
    return replace(
        planned, family=replace(planned.family, extra_input="inpaint"), task=TASKS.get(task)
    )


def test_the_mask_weight_has_an_effect_where_an_inpainting_unet_is_shown_an_image(passes: Passes):
    (plain,) = passes("a cat", inpainting_mask_weight=0.5)
    txt2img, img2img, inpaint = (
        as_inpainting(plain, task) for task in ("txt2img", "img2img", "inpaint")
    )
    repainting = replace(plain, task=TASKS.get("inpaint"))
    for without in ([plain], [txt2img], [repainting], [txt2img, replace(plain, task=img2img.task)]):
        assert "inpainting_mask_weight" in ineffective_options(without)
    for shown in ([img2img], [inpaint], [txt2img, img2img], [plain, img2img]):
        assert "inpainting_mask_weight" not in ineffective_options(shown)


def test_the_infotext_states_the_mask_weight_of_every_inpainting_unet(passes: Passes):
    (plain,) = passes("a cat")
    txt2img, img2img = (as_inpainting(plain, task) for task in ("txt2img", "img2img"))
    for stated in ([txt2img], [img2img], [plain, img2img], [txt2img, plain]):
        assert stated_options(stated) == ("inpainting_mask_weight",)
    assert stated_options([plain, plain]) == ()


@pytest.mark.parametrize(
    ("sampler", "schedule", "is_stated"),
    [
        ("Euler", "Beta", True),
        ("DPM adaptive", "Beta", True),
        ("DDIM", "Beta", False),
        ("Euler", "Karras", False),
    ],
)
def test_the_infotext_states_the_parameters_of_the_beta_schedule(
    passes: Passes, sampler: str, schedule: str, is_stated: bool
):
    (planned,) = passes("a cat")
    changes = {"sampler": SAMPLERS.get(sampler), "schedule": SCHEDULES.get(schedule)}
    other = replace(planned, plan=replace(planned.plan, **changes))
    expected = ("beta_dist_alpha", "beta_dist_beta") if is_stated else ()
    assert stated_options([other]) == stated_options([planned, other]) == expected


def test_each_missing_network_is_noted_once(passes: Passes):
    prompts = passes("a <other:x>", "<other:y:1>") + passes("a <other:x:0.8>")
    assert prompt_notes(prompts) == ("There is no other 'x'; the picture is made without it.",)


def test_a_break_within_brackets_is_noted_because_a1111_reads_a_word(passes: Passes):
    expected = ("BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word.",)
    assert prompt_notes(passes("(a BREAK b:1.2)")) == expected
    assert prompt_notes(passes("a", "[a:(b BREAK c):0.5]")) == expected
    assert prompt_notes(passes("a BREAK (b:1.2) (c BREAK d:1.0)")) == ()
