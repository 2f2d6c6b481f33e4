from __future__ import annotations

from typing import Any

import pytest

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.engine.jobs.stored_request import with_resolved_names
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from tests.conftest import SD1_SHAPES, write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S

REFINED = {"refiner_checkpoint": "second", "refiner_switch_at": 0.6}
HIRES = {"enable_hr": True, "denoising_strength": 0.5}


@pytest.fixture
def plan_of(idle_engine: Engine):
    def plan_of(options: dict[str, Any] | None = None, **values: Any) -> Plan:
        request = Txt2ImgRequest(seed=1, sd_model_checkpoint="first", **values)
        return idle_engine.planner.plan(request, idle_engine.settings.replace(**(options or {})))

    return plan_of


def test_a_refiner_is_a_plan_of_the_same_pass_with_its_own_checkpoint(plan_of):
    plan = plan_of(**REFINED)
    assert plan.refiner is not None
    assert plan.refiner.switch_at == 0.6
    assert plan.refiner.plan.checkpoint.model_name == "second"
    assert plan.refiner.plan.timeline == plan.timeline
    assert plan.request.refiner_checkpoint == "sub/second.safetensors"


def test_the_same_checkpoint_is_no_refiner(plan_of):
    plan = plan_of(refiner_checkpoint="first")
    assert plan.refiner is None
    assert plan.request.refiner_checkpoint == ""


@pytest.mark.parametrize("name", ["", "None", "none"])
def test_none_is_no_refiner(plan_of, name: str):
    assert plan_of(refiner_checkpoint=name).refiner is None


@pytest.mark.parametrize(
    ("choice", "passes"),
    [("first pass", (True, False)), ("second pass", (False, True)), ("both passes", (True, True))],
)
def test_with_hires_fix_the_option_says_which_pass_has_it(plan_of, choice: str, passes):
    plan = plan_of({"hires_fix_refiner_pass": choice}, **REFINED, **HIRES)
    assert (plan.refiner is not None, plan.hires.plan.refiner is not None) == passes
    assert plan.settings.hires_fix_refiner_pass == choice
    assert plan.refiner_model is not None


def test_a_pass_with_the_checkpoint_of_the_refiner_has_none(plan_of):
    plan = plan_of(**REFINED, **HIRES, hr_checkpoint_name="second")
    assert plan.hires.plan.refiner is None
    assert plan.request.refiner_checkpoint == ""


def test_options_of_a_refiner_have_no_effect_without_one(plan_of):
    options = {
        "hires_fix_refiner_pass": "both passes",
        "refiner_switch_by_sample_steps": True,
    }
    assert plan_of(options, **HIRES).settings.hires_fix_refiner_pass == "second pass"
    assert not plan_of(options).settings.refiner_switch_by_sample_steps
    assert plan_of(options, **REFINED).settings.refiner_switch_by_sample_steps
    assert plan_of(options, **REFINED).settings.hires_fix_refiner_pass == "second pass"


def test_an_unknown_refiner_is_named(plan_of):
    with pytest.raises(NotFound, match=r"no checkpoint named 'secnd'\."):
        plan_of(refiner_checkpoint="secnd")


def test_a_refiner_whose_latents_are_of_another_kind_is_refused(plan_of, idle_engine: Engine):
    folder = idle_engine.models.find_checkpoint("first").path.parent
    context = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    shapes = {
        **SD1_SHAPES,
        "conditioner.embedders.0.model.token_embedding.weight": [4, 4],
        context: [1280, 1280],
        "model.diffusion_model.label_emb.0.0.weight": [4, 4],
    }
    write_listed_checkpoint(folder / "xl-refiner.safetensors", shapes=shapes)
    idle_engine.models.refresh()
    with pytest.raises(UserError) as caught:
        plan_of(refiner_checkpoint="xl-refiner")
    assert str(caught.value) == (
        "'xl-refiner.safetensors' (SDXL refiner) cannot refine what 'first.safetensors' (SD 1.x)"
        " makes: their latents are not of the same kind. Choose a refiner for SD 1.x, or none."
    )


def test_a_refiner_that_needs_a_mask_is_refused(plan_of, idle_engine: Engine):
    shapes = {**SD1_SHAPES, "model.diffusion_model.input_blocks.0.0.weight": [4, 9, 1, 1]}
    folder = idle_engine.models.find_checkpoint("first").path.parent
    write_listed_checkpoint(folder / "inpainting.safetensors", shapes=shapes)
    idle_engine.models.refresh()
    with pytest.raises(UserError, match=r"needs an input that 'first\.safetensors'"):
        plan_of(refiner_checkpoint="inpainting")


def test_a_stored_job_names_its_refiner_in_full(plan_of):
    request = Txt2ImgRequest(seed=1, sd_model_checkpoint="first", **REFINED)
    stored = with_resolved_names(request, plan_of(**REFINED))
    assert stored.refiner_checkpoint == "sub/second.safetensors"


def test_the_infotext_names_the_refiner_with_its_hash_and_reads_it_back(engine: Engine):
    job = engine.submit(Txt2ImgRequest(seed=1, steps=1, sd_model_checkpoint="first", **REFINED))
    assert job.wait(PATIENCE_S)
    (image,) = job.status().images
    sha256 = engine.models.sha256(engine.models.find_checkpoint("second"))
    assert f"Refiner: second [{sha256[:10]}], Refiner switch at: 0.6" in image.infotext
    read = read_infotext(engine, image.infotext, Txt2ImgRequest)
    assert read.values["refiner_checkpoint"] == "sub/second.safetensors"
    assert read.values["refiner_switch_at"] == 0.6
    assert read.report.messages() == []


def test_an_image_that_ended_before_the_switch_names_no_refiner(engine: Engine):
    plan = engine.planner.plan(
        Txt2ImgRequest(seed=1, steps=1, sd_model_checkpoint="first", **REFINED, **HIRES),
        engine.settings.replace(hires_fix_refiner_pass="both passes"),
    )
    without = plan.without_refiner()
    assert without.refiner_model is None
    assert without.settings.hires_fix_refiner_pass == "second pass"
    assert without.request == plan.request.replace(refiner_checkpoint="", refiner_switch_at=0.8)
    assert without.hires.plan.sampler == plan.hires.plan.sampler
