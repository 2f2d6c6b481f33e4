import json
import logging
import socket
from pathlib import Path

import pytest
import torch

from modules.backend.components import Precision
from modules.backend.loading.loader import build_components, load_components
from modules.core.errors import BadFile, NotFound, Unsupported, UserError
from modules.models.families import Family
from modules.models.files.header import Header, TensorInfo
from modules.models.ldm.config import read_config
from modules.prompt.chunks import Chunker
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import (
    same,
    tiny_modules,
    tiny_weights,
    write_checkpoint,
    write_yaml,
)
from tests.tolerance import assert_alike, rounding

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
FULL = Precision(torch.float32, torch.float32, torch.float32)
UNET_OUT = "model.diffusion_model.out.2.weight"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Loading must not even resolve a host name."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def load_tiny(path, precision=FULL):
    return load_components(path, path.with_suffix(".yaml"), precision)


def assert_is_tiny(components, seed=0):
    unet, vae, text_encoder = tiny_modules(seed)
    assert same(components.unet, unet)
    assert same(components.vae, vae)
    assert same(components.text_encoders[0].network, text_encoder)


def test_the_demo_checkpoint_loads_offline_and_denoises():
    components = load_components(DEMO, DEMO.with_suffix(".yaml"), FULL)
    bpe = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    (chunk,) = Chunker(ClipTokenizer(bpe)).split_into_chunks("a red circle")
    with torch.inference_mode():
        text = (
            components.text_encoders[0].network(torch.tensor([chunk.token_ids])).last_hidden_state
        )
        x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
        noise_pred = components.unet(x, torch.tensor(500), text).sample
        image = components.vae.decode(x / components.vae.config.scaling_factor).sample
    assert text.shape == (1, 77, 32)
    assert noise_pred.shape == x.shape
    assert image.shape == (1, 3, 128, 128)
    assert all(value.isfinite().all() for value in (text, noise_pred, image))
    assert components.prediction_type == "v_prediction"
    assert components.family == "SD 1.x"


@pytest.mark.parametrize("container", ["safetensors", "zip", "legacy"])
def test_every_container_gives_the_same_model(tmp_path, container):
    path = write_checkpoint(tmp_path / "tiny.ckpt", container=container)
    assert_is_tiny(load_tiny(path))


def test_components_are_ready_for_use(tmp_path):
    components = load_tiny(write_checkpoint(tmp_path / "tiny.safetensors"))
    for module in (components.unet, components.vae, components.text_encoders[0].network):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    assert components.vae.config.scaling_factor == 0.18215
    assert components.prediction_type == "epsilon"


def test_outputs_equal_those_of_the_saved_modules(tmp_path):
    components = load_tiny(write_checkpoint(tmp_path / "tiny.safetensors"))
    unet, vae, text_encoder = tiny_modules()
    ids = torch.arange(77)[None]
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        text = text_encoder(ids).last_hidden_state
        # Not bit for bit: the copies have another alignment, which changes the order of sums.
        found = components.text_encoders[0].network(ids).last_hidden_state
        assert_alike(found, text, rounding(text_encoder))
        found = components.unet(x, 500, text).sample
        assert_alike(found, unet(x, 500, text).sample, rounding(unet))
        found = components.vae.decode(x).sample
        assert_alike(found, vae.decode(x).sample, rounding(vae.decoder))


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_each_component_has_the_dtype_of_the_precision(tmp_path, stored):
    path = write_checkpoint(tmp_path / "tiny.safetensors", dtype=stored)
    components = load_tiny(path, Precision(torch.float16, torch.float32, torch.bfloat16))
    assert {p.dtype for p in components.unet.parameters()} == {torch.float16}
    assert {p.dtype for p in components.vae.parameters()} == {torch.float32}
    assert {p.dtype for p in components.text_encoders[0].network.parameters()} == {torch.bfloat16}


def test_the_noise_schedule_is_that_of_the_yaml(tmp_path):
    changes = {"linear_start": 0.001, "linear_end": 0.02, "timesteps": 100}
    path = write_checkpoint(tmp_path / "tiny.safetensors", changes=changes)
    alphas_cumprod = load_tiny(path).alphas_cumprod
    assert alphas_cumprod.shape == (100,)
    assert alphas_cumprod.dtype == torch.float64
    assert alphas_cumprod[0].item() == pytest.approx(1 - 0.001)
    assert (alphas_cumprod[-1] / alphas_cumprod[-2]).item() == pytest.approx(1 - 0.02)


def test_a_noise_schedule_in_the_file_overrides_the_yaml(tmp_path):
    stored = torch.linspace(0.99, 0.01, 1000)
    weights = tiny_weights() | {"alphas_cumprod": stored}
    path = write_checkpoint(tmp_path / "tiny.safetensors", weights=weights)
    assert torch.equal(load_tiny(path).alphas_cumprod, stored.double())


def test_an_invalid_noise_schedule_in_the_file_is_ignored(tmp_path):
    weights = tiny_weights() | {"alphas_cumprod": torch.zeros(1000)}
    path = write_checkpoint(tmp_path / "tiny.safetensors", weights=weights)
    assert load_tiny(path).alphas_cumprod[0].item() == pytest.approx(1 - 0.00085)


def test_v_prediction_and_scale_come_from_the_yaml(tmp_path):
    changes = {"parameterization": "v", "scale_factor": 0.5}
    components = load_tiny(write_checkpoint(tmp_path / "tiny.safetensors", changes=changes))
    assert components.prediction_type == "v_prediction"
    assert components.vae.config.scaling_factor == 0.5


def test_old_merges_without_text_model_are_read(tmp_path):
    weights = {name.replace("text_model.", ""): value for name, value in tiny_weights().items()}
    assert_is_tiny(load_tiny(write_checkpoint(tmp_path / "a.safetensors", weights=weights)))


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_a_checkpoint_without_the_usual_prefix_of_its_unet_is_read(tmp_path, prefix):
    weights = {
        name.replace("model.diffusion_model.", prefix): value
        for name, value in tiny_weights().items()
    }
    assert_is_tiny(load_tiny(write_checkpoint(tmp_path / "a.safetensors", weights=weights)))


def test_non_ema_weights_are_used_if_the_file_has_both(tmp_path):
    averaged = {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}": value
        for name, value in tiny_weights(seed=1).items()
        if name.startswith("model.")
    }
    path = write_checkpoint(tmp_path / "a.safetensors", weights=tiny_weights() | averaged)
    assert_is_tiny(load_tiny(path))


def test_ema_weights_are_used_if_there_are_no_others(tmp_path):
    weights = {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}"
        if name.startswith("model.")
        else name: value
        for name, value in tiny_weights().items()
    }
    assert_is_tiny(load_tiny(write_checkpoint(tmp_path / "a.safetensors", weights=weights)))


def test_vae_attention_may_be_stored_as_linear_layers(tmp_path):
    weights = {
        name: value.flatten(1) if ".attn_1." in name and value.ndim == 4 else value
        for name, value in tiny_weights().items()
    }
    assert_is_tiny(load_tiny(write_checkpoint(tmp_path / "a.safetensors", weights=weights)))


def test_training_leftovers_in_a_file_are_ignored(tmp_path, caplog):
    extra = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "cond_stage_model.logit_scale": torch.ones(()),
        "cond_stage_model.text_projection": torch.ones(32, 32),
        "first_stage_model.loss.discriminator.main.0.weight": torch.ones(2),
        "betas": torch.ones(1000),
        "model_ema.decay": torch.ones(()),
        "logvar": torch.ones(1000),
    }
    path = write_checkpoint(tmp_path / "a.safetensors", weights=tiny_weights() | extra)
    with caplog.at_level(logging.WARNING):
        assert_is_tiny(load_tiny(path))
    assert caplog.text == ""


def test_unknown_weights_outside_the_components_are_listed_in_the_log(tmp_path, caplog):
    path = write_checkpoint(
        tmp_path / "a.safetensors", weights=tiny_weights() | {"something.else": torch.ones(1)}
    )
    load_tiny(path)
    assert "1 weights that are not used: something.else" in caplog.text


def test_unknown_weights_within_a_component_are_an_error(tmp_path):
    name = "model.diffusion_model.input_blocks.1.0.extra.weight"
    weights = tiny_weights() | {name: torch.ones(1)}
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights)
    with pytest.raises(UserError, match=r"does not describe: .*extra\.weight"):
        load_tiny(path)


def test_missing_weights_are_named(tmp_path):
    weights = tiny_weights()
    del weights[UNET_OUT]
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights)
    with pytest.raises(BadFile, match=r"lacks 1 weights that .*out\.2\.weight"):
        load_tiny(path)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [("first_stage_model.", "lacks its VAE"), ("cond_stage_model.", "lacks its text encoder")],
)
def test_a_missing_component_is_named(tmp_path, prefix, message):
    weights = {name: v for name, v in tiny_weights().items() if not name.startswith(prefix)}
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights)
    with pytest.raises(BadFile, match=message):
        load_tiny(path)


def test_a_weight_whose_shape_differs_from_the_yaml_is_named(tmp_path):
    name = "first_stage_model.decoder.mid.block_1.conv1.weight"
    weights = tiny_weights() | {name: torch.ones(16, 16, 1, 1)}
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights)
    with pytest.raises(
        UserError, match=r"block_1\.conv1\.weight as \[16, 16, 3, 3\].*\[16, 16, 1, 1\]"
    ):
        load_tiny(path)


def test_a_yaml_of_another_model_is_refused_by_name(tmp_path):
    path = write_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"v1-inference\.yaml' says .*'a\.safetensors' has") as info:
        load_components(path, ROOT / "configs" / "v1-inference.yaml", FULL)
    assert "remove" not in str(info.value)
    assert "beside it" in str(info.value)


def test_a_file_of_another_kind_is_unsupported_and_named(tmp_path):
    path = write_checkpoint(tmp_path / "a.safetensors", weights={"emb_params": torch.ones(2, 768)})
    with pytest.raises(Unsupported, match="embedding"):
        load_tiny(path)


def test_a_missing_file_or_yaml_is_not_found(tmp_path):
    path = write_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(NotFound):
        load_components(tmp_path / "b.safetensors", path.with_suffix(".yaml"), FULL)
    with pytest.raises(NotFound):
        load_components(path, tmp_path / "b.yaml", FULL)


def test_a_file_with_corrupt_offsets_is_a_bad_file(tmp_path):
    path = write_checkpoint(tmp_path / "a.safetensors")
    content = bytearray(path.read_bytes())
    start = content.index(b'"data_offsets":[') + len(b'"data_offsets":[')
    content[start : start + 1] = b"9"
    path.write_bytes(content)
    with pytest.raises(BadFile):
        load_tiny(path)


def test_changed_weights_do_not_reach_the_file(tmp_path):
    path = write_checkpoint(tmp_path / "a.safetensors")
    before = path.read_bytes()
    components = load_tiny(path)
    components.unet.conv_in.weight.zero_()
    assert path.read_bytes() == before


def test_published_sd_1_keys_and_shapes_are_all_accounted_for():
    shapes = json.loads((ROOT / "tests" / "headers" / "sd1.json").read_text(encoding="utf-8"))
    del shapes["alphas_cumprod"]
    header = Header({n: TensorInfo(tuple(s), "F16") for n, s in shapes.items()}, {}, "safetensors")
    config = read_config(ROOT / "configs" / "v1-inference.yaml", header, "sd1")
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    components = build_components(weights, config, FULL, "sd1", Family("SD 1.x", ()))
    count = sum(parameter.numel() for parameter in components.unet.parameters())
    assert count == 859_520_964  # as in the model card
    assert components.unet.config.sample_size == 64
    assert components.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.heads == 8


def test_head_counts_are_honoured(tmp_path):
    changes = {"unet_config.params.num_heads": None, "unet_config.params.num_head_channels": 16}
    components = load_tiny(write_checkpoint(tmp_path / "a.safetensors", changes=changes))
    assert components.unet.mid_block.attentions[0].transformer_blocks[0].attn1.heads == 4


def test_a_yaml_is_read_from_anywhere(tmp_path):
    path = write_checkpoint(tmp_path / "a.safetensors")
    other = write_yaml(tmp_path / "other.yaml", {"parameterization": "v"})
    assert load_components(path, other, FULL).prediction_type == "v_prediction"
