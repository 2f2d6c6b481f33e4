"""Every family at full size: names, shapes and dtypes of the published files, random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import LoadOptions, load_components
from modules.models.files.convert import convert_to_safetensors
from modules.models.files.header import read_header
from tests.models.model_files import (
    CONFIGS,
    shapes_of,
    text_shapes,
    vit_h_shapes,
    write_safetensors,
)
from tools import full_size

pytestmark = pytest.mark.timeout(900)
FLOAT32 = Precision(torch.float32, torch.float32, torch.float32)
FLOAT16 = Precision(torch.float16, torch.float16, torch.float16)
FAMILIES = {
    "sd1": "v1-inference.yaml",
    "sd1-inpainting": "v1-inpainting-inference.yaml",
    "instruct-pix2pix": "instruct-pix2pix.yaml",
    "sd2": "v2-inference-v.yaml",
    "sd2-inpainting": "v2-inpainting-inference.yaml",
    "sd2-depth": "v2-midas-inference.yaml",
}
LATENT_SIZE = 8


def networks(components):
    return components.unet, components.vae, components.text_encoders[0].network


def test_sd_1_5_as_published_loads_and_runs_a_step_and_a_decode(folder: Path):
    """In float32, as on any CPU, so that it costs seconds: most CPUs take minutes for a step in the file's float16."""
    path = full_size.write("sd1", folder / "sd1.safetensors")
    noise_pred, image = step_and_decode(load_components(path, CONFIGS / FAMILIES["sd1"], FLOAT32))
    assert noise_pred.shape == (1, 4, LATENT_SIZE, LATENT_SIZE)
    assert image.shape == (1, 3, 8 * LATENT_SIZE, 8 * LATENT_SIZE)
    assert noise_pred.isfinite().all()
    assert image.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_loads_and_runs_a_step_and_a_decode(folder: Path, family: str):
    path = full_size.write(family, folder / f"{family}.safetensors")
    components = load_components(path, CONFIGS / FAMILIES[family], FLOAT32)
    path.unlink()  # converted weights no longer need the file
    noise_pred, image = step_and_decode(components)
    assert noise_pred.shape == (1, 4, LATENT_SIZE, LATENT_SIZE)
    assert image.shape == (1, 3, 8 * LATENT_SIZE, 8 * LATENT_SIZE)
    assert noise_pred.isfinite().all()
    assert image.isfinite().all()
    assert (components.depth_estimator is not None) == (family == "sd2-depth")
    if components.depth_estimator is not None:
        with torch.inference_mode():
            depth = components.depth_estimator(torch.zeros(1, 3, 384, 384)).predicted_depth
        assert depth.shape == (1, 384, 384)
        assert depth.isfinite().all()


def step_and_decode(components: Components) -> tuple[torch.Tensor, torch.Tensor]:
    unet, vae = components.unet, components.vae
    ids = torch.tensor([[49406, 320, 2368, 49407, *[0] * 73]])
    x = torch.randn(
        1,
        unet.config["in_channels"],
        LATENT_SIZE,
        LATENT_SIZE,
        generator=torch.Generator().manual_seed(0),
    )
    x = x.to(unet.dtype)
    with torch.inference_mode():
        cond = components.text_encoders[0].network(ids).last_hidden_state
        noise_pred = unet(x, torch.tensor(500), cond).sample
        return noise_pred, vae.decode(x[:, :4] / vae.config["scaling_factor"]).sample


@pytest.mark.slow
def test_a_ckpt_loads_the_same_weights_as_its_conversion(folder: Path):
    path = full_size.write("sd1", folder / "sd1.ckpt")
    original = load_components(path, CONFIGS / FAMILIES["sd1"], FLOAT16)
    converted = load_components(
        convert_to_safetensors(path), CONFIGS / FAMILIES["sd1"], FLOAT16, LoadOptions()
    )
    assert read_header(path.with_suffix(".safetensors")).container == "safetensors"
    pairs = zip(networks(original), networks(converted), strict=True)
    for before, after in ((one.state_dict(), other.state_dict()) for one, other in pairs):
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("family", "config", "shapes", "layer_count", "parameter_count"),
    [
        ("sd1", "v1-inference.yaml", text_shapes("sd1", "text_model."), 12, 123_060_480),
        ("sd2", "v2-inference.yaml", text_shapes("sd2", ""), 23, 340_387_840),
        pytest.param(
            "sd2", "v2-inference.yaml", vit_h_shapes(23), 23, 340_387_840, marks=pytest.mark.slow
        ),
        ("sd2", "v2-inference.yaml", vit_h_shapes(24), 23, 340_387_840),
    ],
)
def test_a_separate_text_encoder_file_is_loaded_for_a_checkpoint_without(
    tmp_path: Path,
    family: str,
    config: str,
    shapes: dict[str, list[int]],
    layer_count: int,
    parameter_count: int,
):
    bare = {k: v for k, v in shapes_of(family).items() if not k.startswith("cond_stage_model.")}
    path = write_safetensors(tmp_path / "bare.safetensors", bare)
    file = write_safetensors(tmp_path / "clip.safetensors", shapes)
    encoder = (
        load_components(path, CONFIGS / config, FLOAT16, LoadOptions(text_encoders=(file,)))
        .text_encoders[0]
        .network
    )
    assert encoder.config.num_hidden_layers == layer_count
    assert sum(weight.numel() for weight in encoder.parameters()) == parameter_count
