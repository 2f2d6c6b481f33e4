"""Each format of LoRA against what it stands for, computed in another way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modules.backend.networks.lora_formulas import (
    LORA_FORMULAS,
    add_bias,
    decompose,
    limit_rank,
)
from modules.models.networks.lora_formats import LORA_FORMATS

torch.manual_seed(0)  # of this file's constants alone
WEIGHT = torch.randn(12, 8)
KERNEL = torch.randn(12, 8, 3, 3)
IMAGE = torch.randn(1, 8, 6, 6)


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def change(name: str, weight: Tensor, /, **parts: Tensor) -> Tensor:
    named = {part.replace("__", "."): tensor for part, tensor in parts.items()}
    return LORA_FORMULAS[name].change(named, weight).reshape(weight.shape)


def test_every_format_has_a_formula():
    assert {row.name for row in LORA_FORMATS} == {*LORA_FORMULAS}


def test_lora_of_a_linear_layer_is_two_layers_in_a_row():
    down, up, x = draw(3, 8), draw(12, 3, seed=2), draw(5, 8, seed=3)
    delta = change("LoRA", WEIGHT, lora_down__weight=down, lora_up__weight=up)
    torch.testing.assert_close(x @ delta.T, functional.linear(functional.linear(x, down), up))


def test_lora_of_a_convolution_is_two_convolutions_in_a_row():
    down, up = draw(3, 8, 3, 3), draw(12, 3, 1, 1, seed=2)
    delta = change("LoRA", KERNEL, lora_down__weight=down, lora_up__weight=up)
    expected = functional.conv2d(functional.conv2d(IMAGE, down), up)
    torch.testing.assert_close(functional.conv2d(IMAGE, delta), expected, atol=1e-4, rtol=1e-4)


def test_a_core_in_the_middle_is_a_third_convolution():
    down, core, up = draw(3, 8, 1, 1), draw(4, 3, 3, 3, seed=2), draw(12, 4, 1, 1, seed=3)
    parts = {"lora_down__weight": down, "lora_mid__weight": core, "lora_up__weight": up}
    delta = change("LoRA", KERNEL, **parts)
    expected = functional.conv2d(functional.conv2d(functional.conv2d(IMAGE, down), core), up)
    torch.testing.assert_close(functional.conv2d(IMAGE, delta), expected, atol=1e-4, rtol=1e-4)


def test_the_scale_is_alpha_by_the_full_rank_though_fewer_ranks_are_used():
    parts = {
        "lora_down.weight": draw(4, 8),
        "lora_up.weight": draw(12, 4),
        "alpha": torch.tensor(2.0),
    }
    formula = LORA_FORMULAS["LoRA"]
    assert formula.scale(parts) == 0.5
    few = limit_rank(parts, 2)
    expected = parts["lora_up.weight"][:, :2] @ parts["lora_down.weight"][:2]
    torch.testing.assert_close(formula.change(few, WEIGHT), expected)
    assert limit_rank(parts, 9)["lora_up.weight"].shape == (12, 4)
    assert formula.scale({**parts, "scale": torch.tensor(3.0)}) == 3


@pytest.mark.parametrize(
    ("name", "part", "scale"),
    [("LoHa", "hada_w1_b", 0.5), ("LoKr", "lokr_w2_b", 0.5), ("LoKr", "lokr_w1", 1)],
)
def test_the_rank_that_alpha_is_divided_by(name: str, part: str, scale: float):
    parts = {part: draw(4, 8), "alpha": torch.tensor(2.0)}
    assert LORA_FORMULAS[name].scale(parts) == scale


def test_loha_multiplies_two_low_rank_matrices():
    a, b, c, d = draw(12, 2), draw(2, 8, seed=2), draw(12, 2, seed=3), draw(2, 8, seed=4)
    delta = change("LoHa", WEIGHT, hada_w1_a=a, hada_w1_b=b, hada_w2_a=c, hada_w2_b=d)
    torch.testing.assert_close(delta, (a @ b) * (c @ d))


def test_loha_with_cores():
    t, a, b = draw(2, 3, 3, 3), draw(2, 12, seed=2), draw(3, 8, seed=3)
    parts = {"hada_t1": t, "hada_w1_a": a, "hada_w1_b": b}
    parts |= {"hada_t2": t, "hada_w2_a": a, "hada_w2_b": b}
    expected = sum(
        t[i, j][None, None] * a[i][:, None, None, None] * b[j][None, :, None, None]
        for i in range(2)
        for j in range(3)
    )
    torch.testing.assert_close(change("LoHa", KERNEL, **parts), expected * expected)


def test_lokr_is_a_kronecker_product_with_either_factor_of_low_rank():
    w1, a, b = draw(3, 2), draw(4, 2, seed=2), draw(2, 4, seed=3)
    expected = torch.cat([torch.cat([w1[i, j] * (a @ b) for j in range(2)], 1) for i in range(3)])
    torch.testing.assert_close(
        change("LoKr", WEIGHT, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b), expected
    )
    torch.testing.assert_close(change("LoKr", WEIGHT, lokr_w1=w1, lokr_w2=a @ b), expected)


def test_lokr_of_a_convolution():
    w1, w2 = draw(3, 2), draw(4, 4, 3, 3, seed=2)
    delta = change("LoKr", KERNEL, lokr_w1=w1, lokr_w2=w2)
    torch.testing.assert_close(delta[4:8, :4], w1[1, 0] * w2)


def test_ia3_multiplies_outputs_or_inputs():
    outputs, inputs, x = draw(12), draw(8, seed=2), draw(5, 8, seed=3)
    delta = change("IA3", WEIGHT, weight=outputs)
    torch.testing.assert_close(x @ delta.T, (x @ WEIGHT.T) * outputs)
    delta = change("IA3", WEIGHT, weight=inputs, on_input=torch.tensor(True))
    torch.testing.assert_close(x @ delta.T, (x * inputs) @ WEIGHT.T)


def test_glora_in_the_layout_of_a1111_and_of_lycoris():
    a, b, c, d = draw(3, 8), draw(8, 3, seed=2), draw(3, 8, seed=3), draw(12, 3, seed=4)
    parts = {"a1__weight": a, "a2__weight": b, "b1__weight": c, "b2__weight": d}
    expected = d @ c + WEIGHT @ b @ a
    torch.testing.assert_close(change("GLoRA", WEIGHT, **parts), expected)
    parts = {"a1__weight": b, "a2__weight": a, "b1__weight": d, "b2__weight": c}
    torch.testing.assert_close(change("GLoRA", WEIGHT, **parts), expected)


def test_oft_rotates_the_outputs_in_blocks():
    delta = change("OFT", WEIGHT, oft_blocks=draw(3, 4, 4))
    rotated = WEIGHT + delta
    for block in range(3):  # lengths and angles of the columns of each block stay
        rows = slice(4 * block, 4 * block + 4)
        torch.testing.assert_close(rotated[rows].T @ rotated[rows], WEIGHT[rows].T @ WEIGHT[rows])
    assert float(delta.abs().max()) > 0.1


def test_oft_is_limited_by_alpha_and_scaled_by_rescale():
    blocks = draw(3, 4, 4)
    assert LORA_FORMULAS["OFT"].scale({"oft_blocks": blocks, "alpha": torch.tensor(2.0)}) == 1
    small = change("OFT", WEIGHT, oft_blocks=blocks, alpha=torch.tensor(1e-3))
    q = blocks - blocks.mT
    limited = q * (1e-3 * 12 / q.norm())
    rotation = (torch.eye(4) + limited) @ torch.linalg.inv(torch.eye(4) - limited)
    expected = torch.cat([rotation[n].T @ WEIGHT[4 * n : 4 * n + 4] for n in range(3)])
    torch.testing.assert_close(WEIGHT + small, expected)
    double = change("OFT", WEIGHT, oft_blocks=0 * blocks, rescale=torch.full((12, 1), 2.0))
    torch.testing.assert_close(double, WEIGHT)


def test_boft_keeps_the_lengths_of_columns_and_mixes_rows_of_different_blocks():
    weight = torch.eye(8)
    rotated = weight + change("OFT", weight, oft_blocks=draw(3, 4, 2, 2))
    torch.testing.assert_close(rotated.T @ rotated, torch.eye(8))
    assert bool((rotated.abs() > 1e-6).all()), (
        "after log2(8) permutations every row has a part of every other"
    )


@pytest.mark.parametrize(("shape", "axis"), [((1, 8), 0), ((12, 1), 1), ((12,), 1)])
def test_dora_gives_the_columns_or_the_rows_their_lengths(shape: tuple[int, ...], axis: int):
    magnitudes = draw(*shape).abs() + 0.5
    merged = WEIGHT + decompose(WEIGHT, draw(12, 8, seed=5), magnitudes)
    torch.testing.assert_close(merged.norm(dim=axis), magnitudes.flatten())
    plain = WEIGHT + draw(12, 8, seed=5)
    cosine = functional.cosine_similarity(merged, plain, dim=axis)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_dora_of_a_convolution_measures_each_input():
    merged = KERNEL + decompose(KERNEL, 0 * KERNEL, torch.full((1, 8, 1, 1), 2.0))
    torch.testing.assert_close(merged.transpose(0, 1).flatten(1).norm(dim=1), torch.full((8,), 2.0))


def test_the_sparse_bias_of_lycoris_is_added_to_the_weight():
    indices, values = torch.tensor([[0, 11], [1, 7]]), torch.tensor([2.0, 3.0])
    parts = {"bias_indices": indices, "bias_values": values, "bias_size": torch.tensor([12, 8])}
    found = add_bias(torch.zeros(12, 8), parts)
    assert (float(found[0, 1]), float(found[11, 7]), int((found != 0).sum())) == (2, 3, 2)


def test_a_bias_as_large_as_the_weight_is_added_to_it():
    found = add_bias(draw(12, 8), {"bias": torch.full((96,), 2.0)})
    torch.testing.assert_close(found, draw(12, 8) + 2)


def test_a_negative_rank_leaves_out_the_last_ones():
    parts = {"lora_down.weight": draw(4, 8), "lora_up.weight": draw(12, 4)}
    torch.testing.assert_close(limit_rank(parts, -1), limit_rank(parts, 3))
    assert not limit_rank(parts, -9)["lora_up.weight"].numel()


def test_the_limit_of_oft_is_computed_in_the_dtype_of_the_file():
    blocks, alpha = draw(3, 4, 4).half(), torch.tensor(0.0123).half()
    q = blocks - blocks.mT
    norm = q.flatten().norm()
    limited = (q * (((alpha * 12) + 1e-8) / (norm + 1e-8))).float()
    rotation = (torch.eye(4) + limited) @ torch.linalg.inv(torch.eye(4) - limited)
    expected = torch.cat([rotation[n].T @ WEIGHT[4 * n : 4 * n + 4] for n in range(3)])
    found = WEIGHT + change("OFT", WEIGHT, oft_blocks=blocks, alpha=alpha)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
