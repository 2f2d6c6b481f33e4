"""LoRAs in the weights of a loaded model: right values, and no trace of them afterwards."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import load_components
from modules.backend.networks.lora_fold import FoldedLoras, OriginalsLost
from tests.backend.checkpoints import write_checkpoint
from tests.backend.networks.loras import CONV, FC1, NORM, TO_Q, draw, lora_parts, write_lora
from tests.backend.tiny import tiny_components

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Components:
    path = write_checkpoint(folder / "model.safetensors")
    return load_components(path, path.with_suffix(".yaml"), Precision(dtype, torch.float32, dtype))


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def components(tmp_path: Path) -> Components:
    return load(tmp_path)


def weights(components: Components) -> dict[str, Tensor]:
    """Return a copy of all weights that a LoRA can change."""
    networks: tuple[nn.Module, ...] = (
        components.unet,
        *(encoder.network for encoder in components.text_encoders),
    )
    return {
        f"{number}.{key}": value.clone()
        for number, network in enumerate(networks)
        for key, value in network.state_dict().items()
    }


def changed_keys(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    assert before.keys() == after.keys()
    return [key for key, value in after.items() if not torch.equal(value, before[key])]


def to_q(components: Components) -> nn.Linear:
    layer = components.unet.get_submodule(
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    )
    assert isinstance(layer, nn.Linear)
    return layer


def conv1(components: Components) -> nn.Conv2d:
    layer = components.unet.get_submodule("down_blocks.0.resnets.0.conv1")
    assert isinstance(layer, nn.Conv2d)
    return layer


def fc1(components: Components) -> nn.Linear:
    network = components.text_encoders[0].network
    (layer,) = (m for name, m in network.named_modules() if name.endswith("layers.0.mlp.fc1"))
    assert isinstance(layer, nn.Linear)
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_named_layers_change_by_weight_times_alpha_over_rank(
    tmp_path: Path, dtype: torch.dtype
):
    components = load(tmp_path, dtype)
    before, loras = weights(components), FoldedLoras(components)
    parts = lora_parts(TO_Q, to_q(components).weight) | lora_parts(
        FC1, fc1(components).weight, seed=3
    )
    use = replace(write_lora(tmp_path / "Lora", "a", parts), unet=0.5, text_encoder=-2.0)
    assert loras.fold([use]) == ()
    after = weights(components)
    for layer, key, factor in ((TO_Q, "attn1.to_q", 0.25), (FC1, "mlp.fc1", -1.0)):
        (name,) = (n for n in changed_keys(before, after) if f"{key}.weight" in n)
        delta = parts[f"{layer}.lora_up.weight"] @ parts[f"{layer}.lora_down.weight"]
        expected = (before[name].float() + factor * delta).to(dtype)
        torch.testing.assert_close(after[name], expected, rtol=torch.finfo(dtype).eps, atol=1e-7)
    assert len(changed_keys(before, after)) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_after_200_changes_the_weights_are_those_of_the_file(tmp_path: Path, dtype: torch.dtype):
    components = load(tmp_path, dtype)
    before, loras = weights(components), FoldedLoras(components)
    norm = {f"{NORM}.w_norm": draw(16), f"{NORM}.b_norm": draw(16, seed=2)}
    uses = [
        write_lora(tmp_path / "Lora", "a", lora_parts(TO_Q, to_q(components).weight)),
        write_lora(
            tmp_path / "Lora", "b", lora_parts(TO_Q, to_q(components).weight, seed=5) | norm
        ),
        write_lora(tmp_path / "Lora", "c", lora_parts(CONV, conv1(components).weight)),
    ]
    loras.fold([replace(uses[0], unet=0.7), uses[1]])
    together = weights(components)
    chance = random.Random(1)
    for _ in range(200):
        chosen = chance.sample(uses, chance.randrange(4))
        loras.fold([replace(use, unet=chance.uniform(-2, 2)) for use in chosen])
    loras.fold([replace(uses[0], unet=0.7), uses[1]])
    assert changed_keys(together, weights(components)) == []
    loras.fold([])
    assert changed_keys(before, weights(components)) == []


def test_loras_act_one_after_the_other_in_their_order(components: Components, tmp_path: Path):
    weight = to_q(components).weight.clone()
    plain = lora_parts(TO_Q, weight)
    factors = draw(weight.shape[0])
    first = write_lora(tmp_path / "Lora", "plain", plain)
    second = write_lora(tmp_path / "Lora", "ia3", {f"{TO_Q}.weight": factors})
    delta = 0.5 * plain[f"{TO_Q}.lora_up.weight"] @ plain[f"{TO_Q}.lora_down.weight"]
    loras = FoldedLoras(components)
    loras.fold([first, second])
    torch.testing.assert_close(to_q(components).weight, (weight + delta) * (1 + factors[:, None]))
    loras.fold([second, first])
    torch.testing.assert_close(to_q(components).weight, weight * (1 + factors[:, None]) + delta)


@pytest.mark.parametrize("prefix", ["unet.", "base_model.model."])
def test_names_of_peft_and_the_alpha_of_diffusers(
    components: Components, tmp_path: Path, prefix: str
):
    layer = f"{prefix}down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = to_q(components).weight.clone()
    down, up = draw(4, weight.shape[1]), draw(weight.shape[0], 4, seed=2)
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8, "unet.r": 4})}
    tensors = {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
    FoldedLoras(components).fold([write_lora(tmp_path / "Lora", "peft", tensors, metadata)])
    torch.testing.assert_close(to_q(components).weight, weight + 2 * up @ down)


def test_diffusers_metadata_scale_each_layer_by_its_own_rank_and_alpha(
    components: Components, tmp_path: Path
):
    path = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = to_q(components).weight.clone()
    down, up = draw(4, weight.shape[1]), draw(weight.shape[0], 4, seed=2)
    tensors = {f"unet.{path}.lora_A.weight": down, f"unet.{path}.lora_B.weight": up}
    loras = FoldedLoras(components)
    stated: dict[str, object] = {"unet.lora_alpha": 8, "unet.r": 16}
    for added, scale in (({}, 2), ({"unet.alpha_pattern": {path[-10:]: 2}}, 0.5)):
        metadata = {"lora_adapter_metadata": json.dumps(stated | added)}
        loras.fold([write_lora(tmp_path / "Lora", f"scale {scale}", tensors, metadata)])
        torch.testing.assert_close(to_q(components).weight, weight + scale * up @ down)


def test_pefts_lengths_of_a_convolution_are_those_of_its_outputs(
    components: Components, tmp_path: Path
):
    weight = conv1(components).weight.clone()
    lengths = draw(weight.shape[0], seed=3).abs() + 1
    parts = {
        key.replace(CONV, "unet.down_blocks.0.resnets.0.conv1"): part
        for key, part in lora_parts(CONV, weight).items()
    }
    parts["unet.down_blocks.0.resnets.0.conv1.lora_magnitude_vector"] = lengths.reshape(1, -1, 1, 1)
    FoldedLoras(components).fold([write_lora(tmp_path / "Lora", "peft", parts)])
    torch.testing.assert_close(conv1(components).weight.flatten(1).norm(dim=1), lengths)


def test_ldm_names_of_the_same_layer(components: Components, tmp_path: Path):
    weight = to_q(components).weight.clone()
    layer = "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q"
    parts = lora_parts(layer, weight)
    FoldedLoras(components).fold([write_lora(tmp_path / "Lora", "ldm", parts)])
    delta = parts[f"{layer}.lora_up.weight"] @ parts[f"{layer}.lora_down.weight"] / 2
    torch.testing.assert_close(to_q(components).weight, weight + delta)


def test_a_file_of_16_bits_rounds_the_weight_as_in_a1111_unless_it_is_a_plain_lora(
    components: Components, tmp_path: Path
):
    weight = to_q(components).weight.clone()
    half = {f"{TO_Q}.diff": torch.zeros(weight.shape, dtype=torch.float16)}
    loras = FoldedLoras(components)
    loras.fold([write_lora(tmp_path / "Lora", "full", half)])
    assert torch.equal(to_q(components).weight, weight.half().float())
    plain = {key: 0 * part.half() for key, part in lora_parts(TO_Q, weight).items()}
    loras.fold([write_lora(tmp_path / "Lora", "plain", plain)])
    assert torch.equal(to_q(components).weight, weight)


def test_a_bias_is_added_to_layers_with_and_without_one_and_taken_away(
    components: Components, tmp_path: Path
):
    before, loras = weights(components), FoldedLoras(components)
    assert to_q(components).bias is None
    added, more = draw(to_q(components).out_features), draw(conv1(components).out_channels)
    bias = conv1(components).bias
    assert bias is not None
    expected = bias + 0.5 * more
    tensors = {
        f"{TO_Q}.diff": 0 * to_q(components).weight,
        f"{TO_Q}.diff_b": added,
        f"{CONV}.diff": 0 * conv1(components).weight,
        f"{CONV}.diff_b": more,
    }
    use = write_lora(tmp_path / "Lora", "full", tensors)
    loras.fold([replace(use, unet=0.5)])
    torch.testing.assert_close(to_q(components).bias, 0.5 * added)
    torch.testing.assert_close(conv1(components).bias, expected)
    loras.fold([])
    assert to_q(components).bias is None
    assert changed_keys(before, weights(components)) == []


def test_what_does_not_fit_is_named_and_the_rest_is_used(components: Components, tmp_path: Path):
    weight = to_q(components).weight.clone()
    wrong = lora_parts(CONV, torch.zeros(5, 7, 3, 3))
    infinite = {key: part / 0 for key, part in lora_parts(FC1, fc1(components).weight).items()}
    parts = lora_parts(TO_Q, weight) | wrong | infinite
    before, loras = weights(components), FoldedLoras(components)
    (note,) = loras.fold([write_lora(tmp_path / "Lora", "odd", parts)])
    assert note.startswith("2 layers of the LoRA 'odd' cannot be used: ")
    assert (
        f"{CONV} (lora_down.weight [4, 7, 3, 3], lora_up.weight [5, 4, 1, 1], the layer [32, 32, 3, 3])"
        in note
    )
    assert f"{FC1} (invalid numbers)" in note
    (changed,) = changed_keys(before, weights(components))
    assert changed.endswith("attn1.to_q.weight")


def test_a_lora_of_other_layers_alone_is_noted(components: Components, tmp_path: Path):
    layer = "lora_unet_down_blocks_7_attentions_0_proj_in"
    use = write_lora(tmp_path / "Lora", "other", lora_parts(layer, torch.zeros(8, 8)))
    note = "The LoRA 'other' changes no layer of this checkpoint."
    assert FoldedLoras(components).fold([use]) == (note,)


def test_a_file_that_is_gone_is_left_out_with_a_note(components: Components, tmp_path: Path):
    weight = to_q(components).weight.clone()
    gone = write_lora(tmp_path / "Lora", "gone", lora_parts(TO_Q, weight))
    here = write_lora(tmp_path / "Lora", "here", lora_parts(TO_Q, weight))
    gone.file.path.unlink()
    (note,) = FoldedLoras(components).fold([gone, here])
    assert note.startswith("The LoRA 'gone' is left out: ") and "does not exist" in note
    assert not torch.equal(to_q(components).weight, weight)


def test_a_change_needs_the_file_of_the_checkpoint_as_it_was(
    components: Components, tmp_path: Path
):
    use = write_lora(tmp_path / "Lora", "a", lora_parts(TO_Q, to_q(components).weight))
    loras = FoldedLoras(components)
    loras.fold([use])
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    with pytest.raises(
        OriginalsLost, match=r"'model\.safetensors' has changed since it was loaded"
    ):
        loras.fold([])


def test_a_checkpoint_with_more_input_channels_takes_a_change_of_the_latents_alone(tmp_path: Path):
    components = tiny_components()
    old = components.unet.conv_in
    wide = nn.Conv2d(9, old.out_channels, 3, padding=1)
    with torch.inference_mode(mode=False):
        components.unet.conv_in = wide
    try:
        before = wide.weight.clone()
        parts = lora_parts("lora_unet_conv_in", torch.zeros(old.out_channels, 4, 3, 3))
        assert FoldedLoras(components).fold([write_lora(tmp_path, "a", parts)]) == ()
        up, down = (parts[f"lora_unet_conv_in.lora_{one}.weight"] for one in ("up", "down"))
        delta = torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down) / 2
        torch.testing.assert_close(wide.weight[:, :4], before[:, :4] + delta)
        assert torch.equal(wide.weight[:, 4:], before[:, 4:])
    finally:
        components.unet.conv_in = old


def test_dtypes_that_have_no_sums_are_computed_in_32_bits(components: Components, tmp_path: Path):
    weight = to_q(components).weight.clone()
    parts = {
        f"{TO_Q}.hada_w{number}_{name}": draw(*shape, seed=number)
        for number in (1, 2)
        for name, shape in (("a", (weight.shape[0], 2)), ("b", (2, weight.shape[1])))
    }
    small = {key: part.to(torch.float8_e4m3fn) for key, part in parts.items()}
    mixed = {key: part.half() if key.endswith("a") else part for key, part in parts.items()}
    loras = FoldedLoras(components)
    for name, tensors in (("small", small), ("mixed", mixed)):
        assert loras.fold([write_lora(tmp_path / "Lora", name, tensors)]) == ()
        a, b, c, d = (tensor.float() for tensor in tensors.values())
        torch.testing.assert_close(to_q(components).weight, weight + (a @ b) * (c @ d))
    layer = components.unet.get_submodule("down_blocks.0.resnets.0.norm1")
    norm = {
        f"{NORM}.{part}": torch.ones(layer.weight.shape).to(torch.float8_e5m2)
        for part in ("w_norm", "b_norm")
    }
    before = layer.bias.clone()
    assert loras.fold([write_lora(tmp_path / "Lora", "norm", norm)]) == ()
    torch.testing.assert_close(layer.bias, before + 1)
