"""The names that trainers give to layers."""

from __future__ import annotations

import pytest

from modules.models.networks.lora_keys import OUTPUT_LENGTHS, LoraKey, group_parts, parse_key

ATTENTION = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
DOTTED = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
QUERY = "text_model_encoder_layers_3_self_attn_q_proj"
DOWN, UP = "lora_down.weight", "lora_up.weight"


@pytest.mark.parametrize(
    ("key", "network", "module", "part"),
    [
        (f"lora_unet_{ATTENTION}.lora_down.weight", "unet", ATTENTION, DOWN),
        (f"lora_unet_{ATTENTION}.lora_B.weight", "unet", ATTENTION, UP),
        (
            "lora_unet_input_blocks_1_1_proj_in.hada_t1",
            "unet",
            "input_blocks_1_1_proj_in",
            "hada_t1",
        ),
        (f"oft_unet_{ATTENTION}.oft_blocks", "unet", ATTENTION, "oft_blocks"),
        (f"lycoris_{ATTENTION}.lokr_w1", "unet", ATTENTION, "lokr_w1"),
        (f"lora_te_{QUERY}.alpha", "text encoder", QUERY, "alpha"),
        (f"lora_te1_{QUERY}.a1.weight", "text encoder 1", QUERY, "a1.weight"),
        (f"lora_te2_{QUERY}.dora_scale", "text encoder 2", QUERY, "dora_scale"),
        (f"unet.{DOTTED}.lora_A.weight", "unet", ATTENTION, DOWN),
        (f"unet.{DOTTED}.lora.up.weight", "unet", ATTENTION, UP),
        (f"unet.{DOTTED}.lora_linear_layer.down.weight", "unet", ATTENTION, DOWN),
        (f"base_model.model.{DOTTED}.lora_A.default.weight", "unet", ATTENTION, DOWN),
        (f"base_model.model.{DOTTED}.lora_magnitude_vector", "unet", ATTENTION, OUTPUT_LENGTHS),
        (f"unet.{DOTTED}.lora_magnitude_vector.weight", "unet", ATTENTION, OUTPUT_LENGTHS),
        (f"unet.{DOTTED}.dora_scale", "unet", ATTENTION, "dora_scale"),
        (
            "text_encoders.clip_g.transformer.text_model.encoder.layers.3.self_attn.q_proj.lora_up.weight",
            "text encoder 2",
            QUERY,
            UP,
        ),
        (f"{DOTTED}.lora_B.weight", "unet", ATTENTION, UP),
        (
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight",
            "unet",
            "mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0",
            DOWN,
        ),
        (
            "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.lora_B.weight",
            "text encoder 2",
            QUERY,
            UP,
        ),
        (
            "diffusion_model.input_blocks.1.1.proj_in.alpha",
            "unet",
            "input_blocks_1_1_proj_in",
            "alpha",
        ),
        (
            "clip_l.text_model.encoder.layers.3.self_attn.q_proj.alpha",
            "text encoder 1",
            QUERY,
            "alpha",
        ),
    ],
)
def test_every_spelling_names_the_same_layer(key: str, network: str, module: str, part: str):
    found = parse_key(key)
    assert found is not None
    assert (found.network, found.module, found.part) == (network, module, part)


@pytest.mark.parametrize(
    "key",
    ["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "emb_params", "", "a.b"],
)
def test_keys_of_other_files_name_no_layer(key: str):
    assert parse_key(key) is None


def test_the_parts_of_a_layer_come_together():
    layer = f"lora_unet_{ATTENTION}"
    keys = [f"{layer}.lora_down.weight", "other.key", f"{layer}.lora_up.weight", f"{layer}.alpha"]
    assert group_parts(keys) == {
        LoraKey(layer, "unet", ATTENTION, ""): {
            DOWN: keys[0],
            UP: keys[2],
            "alpha": keys[3],
        }
    }
