"""A ControlNet of every layout gives the residuals of diffusers' own classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from modules.backend.control.controlnet import ControlNetwork
from modules.backend.control.controlnet_weights import BaseUNet, load_controlnet
from modules.backend.control.empty_controlnet import ControlNet
from modules.backend.denoise.step_extensions import UNetCall
from modules.core.errors import BadFile, UserError
from modules.models.control.control_model import ControlModel
from tests.backend import checkpoints, checkpoints_sdxl
from tests.backend.control import control_files as files

CPU = torch.device("cpu")
ROWS = 2
Write = Callable[[Path, UNet2DConditionModel], tuple[ControlModel, ControlNet]]


def sd1() -> UNet2DConditionModel:
    return checkpoints.tiny_modules()[0]


def sdxl() -> UNet2DConditionModel:
    return checkpoints_sdxl.tiny_unet()


def call_of(unet: UNet2DConditionModel) -> UNetCall:
    generator = torch.Generator().manual_seed(0)
    kwargs = {}
    if unet.config["addition_embed_type"]:
        pooled = torch.randn(ROWS, checkpoints_sdxl.CLIP_G_WIDTH, generator=generator)
        times = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * ROWS)
        kwargs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": times}
    width = unet.config["cross_attention_dim"]
    return UNetCall(
        torch.randn(ROWS, 4, 8, 8, generator=generator),
        torch.tensor(321.0),
        torch.randn(ROWS, 77, width, generator=generator),
        0,
        kwargs,
    )


HINT = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def expected(network: ControlNet, call: UNetCall, **kwargs: object) -> list[Tensor]:
    """Return the outputs of the stock network, which encodes the control picture itself."""
    with torch.no_grad():
        down, middle = network(
            call.sample,
            call.timestep,
            call.encoder_hidden_states,
            controlnet_cond=[HINT.expand(ROWS, -1, -1, -1)] if kwargs else HINT,
            return_dict=False,
            added_cond_kwargs=call.kwargs.get("added_cond_kwargs"),
            **kwargs,
        )
    return [*down, middle]


def outputs(model: ControlModel, unet: UNet2DConditionModel, control_type: int = 0) -> list[Tensor]:
    network = ControlNetwork(
        load_controlnet(model, BaseUNet(unet, None, CPU), CPU), CPU, stays=True
    )
    with network.use(tiling=False):
        return network.outputs(call_of(unet), network.encode(HINT), control_type)


def original(folder: Path, unet: UNet2DConditionModel) -> tuple[ControlModel, ControlNet]:
    network = files.make_controlnet(unet)
    return files.write_control(folder, "a.pth", files.original_weights(network)), network


def original_without_prefix(
    folder: Path, unet: UNet2DConditionModel
) -> tuple[ControlModel, ControlNet]:
    network = files.make_controlnet(unet)
    weights = files.original_weights(network, "")
    return files.write_control(folder, "a.safetensors", weights), network


def diffusers(folder: Path, unet: UNet2DConditionModel) -> tuple[ControlModel, ControlNet]:
    network = files.make_controlnet(unet)
    return files.write_control(folder, "a.bin", files.diffusers_weights(network)), network


def difference(folder: Path, unet: UNet2DConditionModel) -> tuple[ControlModel, ControlNet]:
    network = files.make_controlnet(unet)
    weights = files.difference_weights(network, unet)
    return files.write_control(folder, "a.safetensors", weights), network


def control_lora(folder: Path, unet: UNet2DConditionModel) -> tuple[ControlModel, ControlNet]:
    network = files.make_controlnet(unet)
    weights, whole = files.control_lora_weights(network, unet)
    network.load_state_dict(whole)
    return files.write_control(folder, "a.safetensors", weights), network


def mid(folder: Path, unet: UNet2DConditionModel) -> tuple[ControlModel, ControlNet]:
    network = files.make_small_controlnet(unet, mid=True)
    return files.write_control(folder, "a.safetensors", files.diffusers_weights(network)), network


def small(folder: Path, unet: UNet2DConditionModel) -> tuple[ControlModel, ControlNet]:
    network = files.make_small_controlnet(unet, mid=False)
    return files.write_control(folder, "a.safetensors", files.diffusers_weights(network)), network


CASES: list[tuple[Callable[[], UNet2DConditionModel], Write, str]] = [
    (sd1, original, "ControlNet"),
    (sd1, original_without_prefix, "ControlNet"),
    (sd1, diffusers, "ControlNet (diffusers)"),
    (sd1, difference, "ControlNet difference"),
    (sd1, control_lora, "Control-LoRA"),
    (sdxl, original, "ControlNet"),
    (sdxl, diffusers, "ControlNet (diffusers)"),
    (sdxl, difference, "ControlNet difference"),
    (sdxl, control_lora, "Control-LoRA"),
    (sdxl, mid, "ControlNet (diffusers)"),
    (sdxl, small, "ControlNet (diffusers)"),
]


@pytest.mark.parametrize(
    ("make_unet", "write", "layout"), CASES, ids=lambda value: getattr(value, "__name__", value)
)
def test_residuals_equal_those_of_diffusers(
    tmp_path: Path, make_unet: Callable[[], UNet2DConditionModel], write: Write, layout: str
):
    unet = make_unet()
    model, network = write(tmp_path, unet)
    assert (model.layout, model.family) == (layout, "SDXL" if make_unet is sdxl else "SD 1.x")
    wanted = expected(network, call_of(unet))
    made = outputs(model, unet)
    assert len(made) == len(wanted) == model.facts.output_count
    for one, other in zip(made, wanted, strict=True):
        assert other.abs().max() > 1e-2  # random weights, not those of zero convolutions
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("control_type", [0, 3, 7])
def test_residuals_of_a_union_model_equal_those_of_diffusers(tmp_path: Path, control_type: int):
    unet = sdxl()
    network = files.make_union(unet)
    model = files.write_control(tmp_path, "a.safetensors", files.diffusers_weights(network))
    assert (model.layout, model.family) == ("ControlNet Union", "SDXL")
    call = call_of(unet)
    types = torch.zeros(ROWS, 8)
    types[:, control_type] = 1
    wanted = expected(network, call, control_type=types, control_type_idx=[control_type])
    for one, other in zip(outputs(model, unet, control_type), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_half_precision_files_are_read_in_the_unets_precision(tmp_path: Path):
    unet = sd1()
    network = files.make_controlnet(unet)
    model = files.write_control(
        tmp_path, "a.safetensors", files.original_weights(network), torch.float16
    )
    loaded = load_controlnet(model, BaseUNet(unet, None, CPU), CPU)
    weights = network.state_dict()
    assert all(
        torch.equal(value, weights[key].half().float())
        for key, value in loaded.state_dict().items()
    )


def test_a_file_that_lacks_weights_or_has_other_sizes_is_refused(tmp_path: Path):
    unet = sd1()
    weights = files.original_weights(files.make_controlnet(unet))
    del weights["control_model.zero_convs.1.0.bias"]
    model = files.write_control(tmp_path, "short.safetensors", weights)
    with pytest.raises(BadFile, match=r"'short.safetensors' lacks 1 weights .*zero_convs.1.0.bias"):
        load_controlnet(model, BaseUNet(unet, None, CPU), CPU)
    other = files.write_control(
        tmp_path, "xl.safetensors", files.original_weights(files.make_controlnet(sdxl()))
    )
    with pytest.raises(UserError, match=r"'xl.safetensors' was made for another checkpoint"):
        load_controlnet(other, BaseUNet(unet, None, CPU), CPU)
