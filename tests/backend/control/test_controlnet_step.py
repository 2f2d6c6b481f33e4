"""What a ControlNet adds to a call of the UNet: weights, modes, regions and steps as sd-webui-controlnet has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modules.backend.control.controlnet import DOWN, MIDDLE, ControlNetStep, ControlNetwork
from modules.backend.control.unit_schedule import UnitSchedule, output_weights
from modules.backend.denoise.step_extensions import UNetCall
from modules.models.control.control_model import ControlFacts, ControlModel
from modules.params.requests.control_unit import ControlMode, ControlUnit
from modules.plan.units.planned_unit import PlannedUnit
from tests.backend import checkpoints
from tests.backend.control import control_files as files

ALWAYS = UnitSchedule(0, 1, 20, 1)
COUNT = 5  # of the tiny network's outputs
ONES = (1.0,) * COUNT


@pytest.fixture(scope="module")
def network() -> ControlNetwork:
    controlnet = files.make_controlnet(checkpoints.tiny_modules()[0])
    return ControlNetwork(controlnet, torch.device("cpu"), stays=True)


@pytest.fixture(scope="module")
def encoded(network: ControlNetwork) -> Tensor:
    return network.encode(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)))


@pytest.fixture
def call() -> UNetCall:
    """Return a call for a negative prompt and two sub-prompts, of two images each."""
    generator = torch.Generator().manual_seed(0)
    return UNetCall(
        torch.randn(6, 4, 8, 8, generator=generator),
        torch.tensor(321.0),
        torch.randn(6, 77, 32, generator=generator),
        0,
        is_uncond=(True, False, False),
    )


def outputs_of(step: ControlNetStep, call: UNetCall) -> list[Tensor]:
    kwargs = step.unet_call(call).kwargs
    return [*kwargs[DOWN], kwargs[MIDDLE]]


def test_each_output_has_its_weight_and_units_are_summed(
    network: ControlNetwork, encoded: Tensor, call: UNetCall
):
    plain = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES), call)
    weights = (0.1, 0.2, 0.3, 0.4, 2.0)
    unit = ControlNetStep(network, encoded, ALWAYS, weights)
    for made, output, weight in zip(outputs_of(unit, call), plain, weights, strict=True):
        torch.testing.assert_close(made, output * weight)
    second = unit.unet_call(ControlNetStep(network, encoded, ALWAYS, ONES).unet_call(call))
    for made, output, weight in zip(second.kwargs[DOWN], plain, weights, strict=False):
        torch.testing.assert_close(made, output * (1 + weight))
    torch.testing.assert_close(second.kwargs[MIDDLE], plain[-1] * 3)


def test_where_controlnet_is_more_important_the_negative_prompt_has_no_residuals(
    network: ControlNetwork, encoded: Tensor, call: UNetCall
):
    plain = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES), call)
    made = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES, is_cond_only=True), call)
    for one, other in zip(made, plain, strict=True):
        assert not one[:2].any()
        torch.testing.assert_close(one[2:], other[2:], rtol=0, atol=1e-5)
    alone = replace(call, is_uncond=(True, True, True))
    step = ControlNetStep(network, encoded, ALWAYS, ONES, is_cond_only=True)
    assert step.unet_call(alone) is alone


def test_a_region_limits_the_outputs_and_pooling_leaves_their_means(
    network: ControlNetwork, encoded: Tensor, call: UNetCall
):
    plain = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES), call)
    region = torch.zeros(1, 1, 64, 64)
    region[..., :32] = 1
    left = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES, region=region), call)
    for one, other in zip(left, plain, strict=True):
        columns = other.shape[-1]
        mask = nn.functional.interpolate(region, size=other.shape[-2:], mode="bilinear")
        torch.testing.assert_close(one, other * mask)
        assert not one[..., columns // 2 + 1 :].any()
    pooled = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES, pools=True), call)
    for one, other in zip(pooled, plain, strict=True):
        torch.testing.assert_close(one[2:], other[2:].mean((2, 3), keepdim=True), rtol=0, atol=1e-5)
        assert not one[:2].any()


def test_the_channels_that_inpainting_adds_are_left_out(
    network: ControlNetwork, encoded: Tensor, call: UNetCall
):
    plain = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES), call)
    wide = replace(call, sample=torch.cat([call.sample, torch.ones(6, 5, 8, 8)], 1))
    made = outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES), wide)
    assert all(torch.equal(one, other) for one, other in zip(made, plain, strict=True))


def planned(mode: ControlMode, family: str = "SD 1.x", **fields: object) -> PlannedUnit:
    unit = ControlUnit(enabled=True, weight=0.5, control_mode=mode, **fields)
    facts = ControlFacts("ControlNet", family)
    model = ControlModel("a.pth", Path("a.pth"), 1, 1, None, facts)
    return PlannedUnit(0, unit, model, is_soft=mode != "Balanced")


def test_weights_of_the_control_modes_are_those_of_sd_webui_controlnet():
    assert output_weights(planned("Balanced"), 13) == (0.5,) * 13
    for mode in ("My prompt is more important", "ControlNet is more important"):
        soft = output_weights(planned(mode), 13)
        assert soft == pytest.approx([0.5 * 0.825 ** (12 - i) for i in range(13)])
        # SDXL's ten outputs have the first ten of the thirteen weights.
        assert output_weights(planned(mode, "SDXL"), 10) == pytest.approx(soft[:10])
    own = tuple(number / 10 for number in range(10))
    advanced = planned("My prompt is more important", "SDXL", advanced_weighting=own)
    assert output_weights(advanced, 10) == own
    assert planned("ControlNet is more important").is_cond_only
    assert not planned("My prompt is more important").is_cond_only


@pytest.mark.parametrize(
    ("start", "end", "evaluations", "expected"),
    [
        (0, 1, 1, range(20)),
        # A1111's count is one step late: the step at half is the twelfth.
        (0, 0.5, 1, range(12)),
        (0.5, 1, 1, range(11, 20)),
        (0.2, 0.4, 1, range(5, 10)),
        (0, 0, 1, range(2)),
        (0, 0.5, 2, range(23)),
    ],
)
def test_steps_are_counted_as_a1111_does(
    start: float, end: float, evaluations: int, expected: range
):
    schedule = UnitSchedule(start, end, 20, evaluations)
    counted = [index for index in range(20 * evaluations) if schedule.counts_at(index)]
    assert counted == list(expected)


def test_a_control_picture_is_encoded_once(network: ControlNetwork):
    hint = torch.rand(1, 3, 64, 64)
    first = network.encode(hint)
    assert network.encode(hint.clone()) is first
    assert network.encode(hint + 0.1) is not first


def test_a_step_computes_what_the_stock_network_does_without_the_hint_encoder(
    network: ControlNetwork, encoded: Tensor, call: UNetCall
):
    stock = files.make_controlnet(checkpoints.tiny_modules()[0])
    hint = torch.rand(1, 3, 64, 64).expand(len(call.sample), -1, -1, -1)
    counts: list[int] = []
    for compute in (
        lambda: outputs_of(ControlNetStep(network, encoded, ALWAYS, ONES), call),
        lambda: stock(call.sample, call.timestep, call.encoder_hidden_states, hint),
        lambda: stock.controlnet_cond_embedding(hint),
    ):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            compute()
        counts.append(counter.get_total_flops())
    ours, whole, encoder = counts
    assert encoder > 0
    assert ours == whole - encoder
