"""Every family at its true size: names, shapes and dtypes of the published files, random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import LoadOptions, load_components
from modules.models.convert import convert_to_safetensors
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
FULL = Precision(torch.float32, torch.float32, torch.float32)
STORED = Precision(torch.float16, torch.float16, torch.float16)
FAMILIES = {
    "sd1": "v1-inference.yaml",
    "sd1-inpainting": "v1-inpainting-inference.yaml",
    "instruct-pix2pix": "instruct-pix2pix.yaml",
    "sd2": "v2-inference-v.yaml",
    "sd2-inpainting": "v2-inpainting-inference.yaml",
    "sd2-depth": "v2-midas-inference.yaml",
}
SIDE = 8


def test_sd_1_5_as_published_loads_takes_a_step_and_decodes(folder: Path):
    """In 32 bits, as on any CPU, so that it costs seconds: most CPUs take minutes for a step in the file's own 16."""
    path = full_size.write("sd1", folder / "sd1.safetensors")
    prediction, picture = step_and_decode(load_components(path, CONFIGS / FAMILIES["sd1"], FULL))
    assert prediction.shape == (1, 4, SIDE, SIDE)
    assert picture.shape == (1, 3, 8 * SIDE, 8 * SIDE)
    assert prediction.isfinite().all()
    assert picture.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_loads_takes_a_step_and_decodes(folder: Path, family: str):
    path = full_size.write(family, folder / f"{family}.safetensors")
    components = load_components(path, CONFIGS / FAMILIES[family], FULL)
    path.unlink()  # what was converted needs the file no more
    prediction, picture = step_and_decode(components)
    assert prediction.shape == (1, 4, SIDE, SIDE)
    assert picture.shape == (1, 3, 8 * SIDE, 8 * SIDE)
    assert prediction.isfinite().all()
    assert picture.isfinite().all()
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
        1, unet.config["in_channels"], SIDE, SIDE, generator=torch.Generator().manual_seed(0)
    )
    x = x.to(unet.dtype)
    with torch.inference_mode():
        words = components.text_encoder(ids).last_hidden_state
        prediction = unet(x, torch.tensor(500), words).sample
        return prediction, vae.decode(x[:, :4] / vae.config["scaling_factor"]).sample


@pytest.mark.slow
def test_a_ckpt_gives_the_same_model_and_converts(folder: Path):
    path = full_size.write("sd1", folder / "sd1.ckpt")
    pickled = load_components(path, CONFIGS / FAMILIES["sd1"], STORED)
    converted = load_components(
        convert_to_safetensors(path), CONFIGS / FAMILIES["sd1"], STORED, LoadOptions()
    )
    assert read_header(path.with_suffix(".safetensors")).container == "safetensors"
    for part in ("unet", "vae", "text_encoder"):
        mine, theirs = (getattr(model, part).state_dict() for model in (pickled, converted))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize(
    ("family", "config", "words", "layers", "parameters"),
    [
        ("sd1", "v1-inference.yaml", text_shapes("sd1", "text_model."), 12, 123_060_480),
        ("sd2", "v2-inference.yaml", text_shapes("sd2", ""), 23, 340_387_840),
        ("sd2", "v2-inference.yaml", vit_h_shapes(23), 23, 340_387_840),
        ("sd2", "v2-inference.yaml", vit_h_shapes(24), 23, 340_387_840),
    ],
)
def test_a_text_encoder_of_its_own_serves_a_checkpoint_without(
    tmp_path: Path,
    family: str,
    config: str,
    words: dict[str, list[int]],
    layers: int,
    parameters: int,
):
    bare = {k: v for k, v in shapes_of(family).items() if not k.startswith("cond_stage_model.")}
    path = write_safetensors(tmp_path / "bare.safetensors", bare)
    file = write_safetensors(tmp_path / "words.safetensors", words)
    encoder = load_components(
        path, CONFIGS / config, STORED, LoadOptions(text_encoder=file)
    ).text_encoder
    assert encoder.config.num_hidden_layers == layers
    assert sum(weight.numel() for weight in encoder.parameters()) == parameters
