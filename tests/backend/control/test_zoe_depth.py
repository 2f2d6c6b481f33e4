"""ZoeDepth: files in the authors' layout, and what the network sees and draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.backend.control.annotators import zoe_depth
from modules.backend.control.preprocess import Preprocessors
from modules.backend.loading.ldm_keys import QkvSlice
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise
from tests.conftest import ROOT

CPU = torch.device("cpu")
WIDTH, LAYERS, NECK, FUSION, FEATURES, SIDE = 128, 4, (16, 24, 32, 32), 32, 32, 4
BINS, EMBEDDING, ATTRACTORS = 16, 128, (16, 8, 4, 1)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a tiny network in the authors' layout; theirs has 24 layers of 1024 and 64 bins."""
    vit, core, scratch = (
        "core.core.pretrained.model.",
        "core.core.pretrained.",
        "core.core.scratch.",
    )
    shapes: dict[str, tuple[int, ...]] = {vit + "cls_token": (1, 1, WIDTH)}
    layers: dict[str, tuple[int, ...]] = {vit + "patch_embed.proj": (WIDTH, 3, 16, 16)}
    for number in range(LAYERS):
        block = f"{vit}blocks.{number}."
        distances = (2 * SIDE - 1) ** 2 + 3
        shapes[block + "attn.relative_position_bias_table"] = (distances, WIDTH // 64)
        shapes[block + "attn.qkv.weight"] = (3 * WIDTH, WIDTH)
        for name in ("attn.q_bias", "attn.v_bias", "gamma_1", "gamma_2"):
            shapes[block + name] = (WIDTH,)
        layers |= {block + "norm1": (WIDTH,), block + "norm2": (WIDTH,)}
        layers[block + "attn.proj"] = (WIDTH, WIDTH)
        layers |= {block + "mlp.fc1": (4 * WIDTH, WIDTH), block + "mlp.fc2": (WIDTH, 4 * WIDTH)}
    for stage, width in enumerate(NECK, 1):
        part = f"{core}act_postprocess{stage}."
        layers[part + "0.project.0"] = (WIDTH, 2 * WIDTH)
        layers[part + "3"] = (width, WIDTH, 1, 1)
        shapes[f"{scratch}layer{stage}_rn.weight"] = (FUSION, width, 3, 3)
        unit = f"{scratch}refinenet{stage}."
        layers[unit + "out_conv"] = (FUSION, FUSION, 1, 1)
        for name in ("1.conv1", "1.conv2", "2.conv1", "2.conv2"):
            layers[f"{unit}resConfUnit{name}"] = (FUSION, FUSION, 3, 3)
        layers[f"projectors.{stage - 1}._net.0"] = (128, FUSION, 1, 1)
        layers[f"projectors.{stage - 1}._net.2"] = (EMBEDDING, 128, 1, 1)
        layers[f"attractors.{stage - 1}._net.0"] = (EMBEDDING, EMBEDDING, 1, 1)
        layers[f"attractors.{stage - 1}._net.2"] = (ATTRACTORS[stage - 1], EMBEDDING, 1, 1)
    for stage, size in ((1, 4), (2, 2), (4, 3)):
        layers[f"{core}act_postprocess{stage}.4"] = (NECK[stage - 1], NECK[stage - 1], size, size)
    layers |= {
        scratch + "output_conv.0": (FUSION // 2, FUSION, 3, 3),
        scratch + "output_conv.2": (FEATURES, FUSION // 2, 3, 3),
        scratch + "output_conv.4": (1, FEATURES, 1, 1),
        "conv2": (FUSION, FUSION, 1, 1),
        "seed_bin_regressor._net.0": (256, FUSION, 1, 1),
        "seed_bin_regressor._net.2": (BINS, 256, 1, 1),
        "seed_projector._net.0": (128, FUSION, 1, 1),
        "seed_projector._net.2": (EMBEDDING, 128, 1, 1),
        "conditional_log_binomial.mlp.0": (
            (FEATURES + 1 + EMBEDDING) // 2,
            FEATURES + 1 + EMBEDDING,
            1,
            1,
        ),
        "conditional_log_binomial.mlp.2": (4, (FEATURES + 1 + EMBEDDING) // 2, 1, 1),
    }
    for name, shape in layers.items():
        shapes |= {name + ".weight": shape, name + ".bias": shape[:1]}
    return shapes


def published_weights() -> dict[str, Tensor]:
    """Return random weights that keep numbers at their size, drawn in the order of their names."""
    random = np.random.RandomState(0)
    weights: dict[str, Tensor] = {}
    for name, shape in sorted(published_shapes().items()):
        values = random.standard_normal(shape)
        if len(shape) > 1 and "table" not in name:
            values *= (1 / int(np.prod(shape[1:]))) ** 0.5
        else:
            values = 0.1 * values + name.endswith("weight")
        weights[name] = torch.from_numpy(values).float()
    return weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> ModelIndex:
    return ModelIndex.from_paths(Paths(ROOT, tmp_path))


def test_each_published_tensor_has_its_place():
    shapes = published_shapes()
    empty = zoe_depth.make_empty_estimator(published_weights())
    used: set[str] = set()
    for name, tensor in empty.state_dict().items():
        key = zoe_depth.zoe_depth_key(name)
        if isinstance(key, QkvSlice):
            whole = shapes[key.key]
            assert (whole[0] // 3, *whole[1:]) == tuple(tensor.shape), name
        else:
            assert shapes[key] == tuple(tensor.shape), name
        used.add(key.key if isinstance(key, QkvSlice) else key)
    assert set(shapes) - used == set()
    with pytest.raises(KeyError):
        zoe_depth.zoe_depth_key("backbone.beit.pooler.weight")


@torch.inference_mode()
def test_depth_is_the_authors(models: ModelIndex, folder: Path):
    # Expected: the class ZoeDepth in controlnet_aux 0.0.10 with these weights and this image.
    weights = published_weights()
    index = {
        f"core.core.pretrained.model.blocks.{n}.attn.relative_position_index" for n in range(4)
    }
    unused = {name: torch.zeros(1, dtype=torch.int64) for name in index}
    torch.save({"model": weights | unused, "epoch": 3}, folder / "ZoeD_M12_N.pt")
    (file,) = plan_preprocessing(models, "depth_zoe").files
    estimator = zoe_depth.load_estimator(file, CPU)
    depth = zoe_depth.estimate_depth(estimator, noise(64, 96))
    assert depth.shape == (64, 96)
    assert depth[[0, 40, 63], [0, 60, 95]].tolist() == pytest.approx(
        [0.686996, 0.680288, 0.683242], abs=1e-5
    )


@torch.inference_mode()
def test_the_picture_is_mirrored_at_its_border_and_seen_twice():
    class Seeing(torch.nn.Module):
        device = CPU

        def forward(self, pixels: Tensor):
            self.seen = pixels
            self.predicted_depth = pixels[:, 0] * 2
            return self

    image = np.zeros((128, 200, 3), np.uint8)
    image[:, 100:] = (255, 0, 51)
    network = Seeing()
    depth = zoe_depth.estimate_depth(network, image)
    # 24 pixels more above and below, 30 beside; 176 by 260 are enlarged to a width of 512, and multiples of 32.
    assert network.seen.shape == (2, 3, 352, 512)
    assert network.seen[0, :, 190, 500].tolist() == pytest.approx([1, -1, -0.6], abs=1e-5)
    assert float((network.seen[0].flip(2) - network.seen[1]).abs().max()) < 1e-3
    assert depth.shape == (128, 200)
    assert depth[60, 150] == pytest.approx(2, abs=1e-5)
    assert depth[60, 50] == pytest.approx(-2, abs=1e-5)
    drawn = zoe_depth.draw_depth(np.linspace(0, 100, 101, dtype=np.float32)[None])
    assert drawn.shape == (1, 101, 3)
    # The nearest two hundredths are white, the farthest fifteen black.
    assert drawn[0, [0, 2, 43, 85, 100], 0].tolist() == [255, 255, 129, 0, 0]
    flat = zoe_depth.draw_depth(np.ones((4, 4), np.float32))
    assert flat.min() == 255


def test_the_file_is_named_and_others_are_told(models: ModelIndex, folder: Path):
    with pytest.raises(Unsupported, match=r"'depth_zoe' needs the file ZoeD_M12_N.pt. Put it from"):
        plan_preprocessing(models, "depth_zoe")
    torch.save({"model": published_weights()}, folder / "ZoeD_M12_N.pt")
    planned = plan_preprocessing(models, "depth_zoe", (64, -1, -1))
    made = Preprocessors(CPU).make(planned, Image.fromarray(noise(64, 96)))
    assert made.image.size == (96, 64)
    assert np.ptp(np.asarray(made.image)) > 200
    torch.save({"model": {"conv2.weight": torch.zeros(1, 1)}}, folder / "ZoeD_M12_N.pt")
    models.refresh("Annotator")
    planned = plan_preprocessing(models, "depth_zoe", (64, -1, -1))
    with pytest.raises(BadFile, match=r"'ZoeD_M12_N.pt' holds another network than its name says"):
        Preprocessors(CPU).make(planned, Image.fromarray(noise(64, 96)))
