"""The recipes of the backend: add a row, see it in an image, in a result or in the chosen device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from modules.backend.device import DEVICES, FP16, FP32, DeviceType
from modules.backend.loaded_models import LoadedModels
from modules.backend.loading.ldm_keys import TEXT_ENCODER_KEYS, clip_key
from modules.backend.loading.loader import LoadOptions, load_components
from modules.backend.loading.state_dict import read_state_dict
from modules.backend.memory.policies import POLICIES, MemoryPolicy, ModelBytes, choose_policy
from modules.backend.merging.tensors import MergeFiles, TensorMerger
from modules.backend.noise.noise import (
    NOISE_SOURCES,
    Draws,
    ImageNoise,
    NoiseOptions,
    noise_options,
)
from modules.backend.runner import Runner
from modules.engine.executors.local import LocalExecutor
from modules.models.families import LatentFormat, detect_family, make_family_registry
from modules.models.files.header import read_header
from modules.models.index import ModelIndex
from modules.models.ldm.keys import CLIP_PREFIX
from modules.models.ldm.text_encoder_layouts import (
    CLIP_LAYOUT,
    COND_STAGE_SLOT,
    TEXT_ENCODER_LAYOUTS,
)
from modules.models.merging.layout import MergeOptions, lay_out_result
from modules.models.merging.names import make_stem
from modules.models.merging.recipes import Recipe
from modules.models.merging.sources import MergeSource
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.param import param
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import ImagePlan
from modules.plan.planner import make_plan
from modules.plan.work import Work
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.conftest import ROOT

CPU = DeviceOptions(use_cpu=True)
PATIENCE_S = 60
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)


class ShiftedSettings(Settings):
    """Settings with one more source of noise."""

    randn_source: Literal["GPU", "CPU", "NV", "Shifted"] = param(
        "GPU",
        "Random number generator",
        help="Shifted draws the noise of the next seed.",
        infotext="RNG",
        section="sampling",
    )


def make_tiny_plan(folder: Path, settings: Settings):
    """Return the plan of a small image with these settings, on a new tiny checkpoint."""
    models = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
    checkpoint = models.find_checkpoint("tiny")
    return make_plan(SMALL, models, checkpoint, settings)


def test_a_noise_source_is_a_function_and_a_row(tmp_path: Path):
    def shifted(seed: int, device: torch.device) -> Draws:
        return NOISE_SOURCES["CPU"](seed + 1, device)

    def noise(options: NoiseOptions, seed: int) -> torch.Tensor:
        sources = {**NOISE_SOURCES, "Shifted": shifted}
        device = torch.device("cpu")
        return ImageNoise([ImagePlan(0, seed)], (4, 8, 8), device, options, sources)()

    write_checkpoint(tmp_path / "tiny.safetensors")
    plan = make_tiny_plan(tmp_path, ShiftedSettings(randn_source="Shifted"))
    options = noise_options(plan, LatentFormat())
    assert torch.equal(noise(options, 7), noise(NoiseOptions("CPU"), 8))
    assert not torch.equal(noise(options, 7), noise(NoiseOptions("CPU"), 7))


@dataclass(frozen=True)
class CountLayers(Work[int]):
    """Count the layers of the text encoder."""

    model: ModelSpec


def count_layers(models: LoadedModels, work: CountLayers, *_: object) -> int:
    return models.acquire(work.model).components.text_encoders[0].network.config.num_hidden_layers


def test_a_kind_of_work_is_a_class_a_function_and_a_row(tokenizer: ClipTokenizer, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    model = make_tiny_plan(tmp_path, Settings()).model
    executor = LocalExecutor(CPU, tokenizer, handlers={CountLayers: count_layers})
    executor.start(lambda info, failure: None)
    try:
        count = executor.submit(CountLayers(model)).result(PATIENCE_S)
    finally:
        executor.stop(PATIENCE_S)
    assert count == 2


def test_a_recipe_of_the_merger_is_a_row_and_a_formula(tmp_path: Path):
    row = Recipe("Maximum", "The larger of A and B.", model_count=2, name_format="{a} or {b}")
    formulas = {"Maximum": lambda tensors, _: torch.maximum(*tensors)}
    headers, files = [], []
    for letter, seed in (("A", 0), ("B", 1)):
        path = write_checkpoint(tmp_path / f"{letter}.safetensors", seed=seed)
        header = read_header(path)
        family = detect_family(header, make_family_registry())
        assert family is not None
        headers.append(MergeSource(letter, path.name, family, header))
        files.append(read_state_dict(path, header))
    tensors = lay_out_result(tuple(headers), MergeOptions(row)).tensors
    merger = TensorMerger(MergeFiles(tuple(files)), row, 0, formulas=formulas)
    merged = torch.cat(list(merger.compute(tensors[0])))
    a, b = (tiny_weights(seed)[tensors[0].name].flatten() for seed in (0, 1))
    assert torch.equal(merged, torch.maximum(a, b))
    assert make_stem(row, ["x", "y"], 0) == "x or y"


def test_a_kind_of_device_is_a_row(tokenizer: ClipTokenizer):
    row = DeviceType("meta", lambda: True, lambda _: "Imagined", lambda _: (FP16, FP32))
    devices = (row, *DEVICES)
    chosen = Runner(DeviceOptions(), tokenizer, devices=devices).device
    assert (chosen.torch_device, chosen.label) == (torch.device("meta"), "Imagined")
    assert chosen.precisions == (FP16, FP32)
    assert chosen.warning == ""
    assert Runner(CPU, tokenizer, devices=devices).device.torch_device == torch.device("cpu")


COMPACT_PREFIX = "cond_stage_model.compact."
COMPACT_LAYOUT = replace(
    CLIP_LAYOUT,
    name="Compact",
    prefix=COMPACT_PREFIX,
    **{
        name: getattr(CLIP_LAYOUT, name).replace(CLIP_PREFIX, COMPACT_PREFIX)
        for name in ("token_embedding_key", "position_embedding_key", "mlp_key", "layers_prefix")
    },
)


def compact_key(key: str) -> str:
    return clip_key(key).replace(CLIP_PREFIX, COMPACT_PREFIX)


def test_a_layout_of_a_text_encoder_is_a_row_and_a_function(tmp_path: Path):
    slot = replace(COND_STAGE_SLOT, layouts=(COMPACT_LAYOUT, *TEXT_ENCODER_LAYOUTS))
    options = LoadOptions(
        family=replace(make_family_registry().get("SD 1.x"), text_encoders=(slot,)),
        text_encoder_keys={**TEXT_ENCODER_KEYS, COMPACT_PREFIX: compact_key},
    )
    weights = {
        name.replace(CLIP_PREFIX, COMPACT_PREFIX): value for name, value in tiny_weights(7).items()
    }
    file = write_checkpoint(tmp_path / "compact.safetensors", weights=weights)
    components = load_components(file, file.with_suffix(".yaml"), FP32, options)
    expected = tiny_weights(7)
    for key, value in components.text_encoders[0].network.state_dict().items():
        assert torch.equal(value, expected[clip_key(key)]), key


def test_a_memory_policy_is_a_row(tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    index = ModelIndex({"Checkpoint": [tmp_path]}, ROOT / "configs", tmp_path / "cache")
    spec = make_model_spec(index, index.find_checkpoint("tiny"), Settings())
    row = MemoryPolicy(
        "UNet in halves",
        "",
        lambda size: size.unet // 2,
        lambda components, device: None,
    )
    size = ModelBytes(5000, 4000, 3000, (2000,), working=0)  # two blocks are more than it all
    policies = (*POLICIES, row)
    assert choose_policy(spec, size, 2500, policies=policies) is row
    assert choose_policy(spec, size, 10_000, policies=policies) is POLICIES[0]
