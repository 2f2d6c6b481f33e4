"""LoRAs that are baked into a checkpoint give the weights of the model that they are folded into."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import load_components
from modules.backend.networks.lora_fold import FoldedLoras
from modules.core.errors import UserError
from tests.backend.checkpoints import same, tiny_weights, write_checkpoint
from tests.backend.checkpoints_sd2 import TEXT_WIDTH, write_sd2
from tests.backend.merging.merging import Folder
from tests.backend.networks.loras import CONV, FC1, NORM, TO_Q, draw, lora_parts, write_lora


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def load(path: Path, dtype: torch.dtype) -> Components:
    return load_components(path, path.with_suffix(".yaml"), Precision(dtype, torch.float32, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_weights_are_those_of_the_folded_model(folder: Folder, dtype: torch.dtype):
    write_checkpoint(folder.checkpoints / "a.safetensors", dtype=dtype)
    loras = folder.data / "models" / "Lora"
    write_lora(
        loras,
        "style",
        lora_parts(TO_Q, draw(64, 64)) | lora_parts(CONV, draw(32, 32, 3, 3), seed=3),
    )
    parts = lora_parts(FC1, draw(64, 32), seed=5)
    write_lora(loras, "words", parts | {f"{NORM}.w_norm": draw(32), f"{NORM}.b_norm": draw(32)})
    tags = "<lora:style:0.8> <lora:words:0.5:1>"
    fields = {"interp_method": "Bake LoRA", "loras": tags}
    plan = folder.plan("a", **fields)
    baked = folder.merge("a", **fields)
    assert baked.name == "a + style + words.safetensors"
    with torch.inference_mode():
        got = load(baked, dtype)
        model = load(folder.checkpoints / "a.safetensors", dtype)
        plain = load(folder.checkpoints / "a.safetensors", dtype)
        notes = FoldedLoras(model).fold(plan.loras)
    assert (notes, folder.notes[:-1]) == ((), [])
    assert same(got.unet, model.unet) and not same(got.unet, plain.unet)
    assert same(got.text_encoders[0].network, model.text_encoders[0].network)
    assert not same(got.text_encoders[0].network, plain.text_encoders[0].network)


def test_query_key_and_value_that_the_file_joins_are_changed_in_their_places(folder: Folder):
    write_sd2(folder.checkpoints / "a.safetensors")
    parts = {
        name: part
        for seed, layer in enumerate(("q_proj", "k_proj", "v_proj", "out_proj"))
        for name, part in lora_parts(
            f"lora_te_text_model_encoder_layers_0_self_attn_{layer}",
            draw(TEXT_WIDTH, TEXT_WIDTH),
            seed=10 * seed,
        ).items()
    }
    write_lora(folder.data / "models" / "Lora", "attention", parts)
    fields = {"interp_method": "Bake LoRA", "loras": "<lora:attention:0.7>"}
    plan, baked = folder.plan("a", **fields), folder.merge("a", **fields)
    with torch.inference_mode():
        got = load(baked, torch.float32)
        model = load(folder.checkpoints / "a.safetensors", torch.float32)
        FoldedLoras(model).fold(plan.loras)
    assert same(got.text_encoders[0].network, model.text_encoders[0].network)


def test_what_is_no_lora_is_told_before_anything_is_written(folder: Folder):
    write_checkpoint(folder.checkpoints / "a.safetensors", weights=tiny_weights())
    for text, sentence in (
        ("", "Bake LoRA needs at least one LoRA."),
        ("style", "'style' is no LoRA."),
        ("<lora:style:1>", "There is no LoRA 'style'"),
    ):
        with pytest.raises(UserError, match=sentence):
            folder.plan("a", interp_method="Bake LoRA", loras=text)
