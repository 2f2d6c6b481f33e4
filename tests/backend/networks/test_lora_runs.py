"""Jobs with LoRAs on a tiny checkpoint, from the tag in the prompt to the picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modules.backend.runner import Runner
from modules.core.errors import NotFinite
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.checkpoints.finder import CheckpointFinder
from modules.plan.planner import Planner
from modules.plan.tables import BUILTIN_TABLES
from modules.prompt.styles import Styles
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_modules, write_checkpoint
from tests.backend.networks.loras import FC1, TO_Q, lora_parts, write_lora
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

Run = Callable[..., tuple[np.ndarray, list[str]]]


@pytest.fixture
def run(tmp_path: Path, tokenizer: ClipTokenizer) -> Run:
    """Generates a picture; returns it with the notes on it."""
    models_folder = tmp_path / "models"
    write_checkpoint(models_folder / "Stable-diffusion" / "model.safetensors")
    paths = Paths(ROOT, tmp_path)
    models = ModelIndex.from_paths(paths)
    finder = CheckpointFinder(models, models_folder / "Stable-diffusion", tmp_path / "none")
    planner = Planner(
        finder,
        Styles(paths.styles_file),
        BUILTIN_TABLES,
        tokenizer,
        paths.wildcards,
    )
    runner = Runner(DeviceOptions(use_cpu=True, full_precision=True), tokenizer, tmp_path)

    def run(prompt: str, **fields: Any) -> tuple[np.ndarray, list[str]]:
        values: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 1, **fields}
        request = Txt2ImgRequest(prompt=prompt, sd_model_checkpoint="model", **values)
        listener = RecordingListener()
        runner.run(planner.plan(request, Settings()), listener, listener.cancel)
        return np.asarray(listener.images[-1][1]), listener.notes

    return run


@pytest.fixture(autouse=True)
def loras(tmp_path: Path) -> None:
    unet, _, encoder = tiny_modules()
    to_q = unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    fc1 = next(m for name, m in encoder.named_modules() if name.endswith("layers.0.mlp.fc1"))
    folder = tmp_path / "models" / "Lora"
    strong = {key: 4 * part for key, part in lora_parts(TO_Q, to_q.weight.detach()).items()}
    write_lora(folder, "unet", strong)
    write_lora(folder, "text", lora_parts(FC1, fc1.weight.detach()))


def test_a_picture_is_as_before_once_the_lora_is_gone(run: Run):
    before, _ = run("a cat")
    for tag in ("<lora:unet>", "<lora:text:2>", "<lora:unet:-1><lora:text>"):
        with_lora, _ = run(f"a cat {tag}")
        assert not np.array_equal(with_lora, before), tag
    after, _ = run("a cat")
    assert np.array_equal(after, before)
    no_weight, _ = run("a cat <lora:unet:0><lora:text:0>")
    assert np.array_equal(no_weight, before)


def test_the_hires_pass_has_its_own_loras(run: Run):
    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6, "batch_size": 1}
    both, _ = run("a cat <lora:unet>", **hires)
    second, _ = run("a cat", hr_prompt="a cat <lora:unet>", **hires)
    first, _ = run("a cat <lora:unet>", hr_prompt="a cat", n_iter=2, **hires)
    none, _ = run("a cat", **hires)
    pictures = [picture.tobytes() for picture in (both, second, first, none)]
    assert len(set(pictures)) == 4


def test_a_checkpoint_whose_file_has_changed_is_loaded_again(run: Run, tmp_path: Path):
    before, _ = run("a cat")
    run("a cat <lora:unet>")
    os.utime(tmp_path / "models" / "Stable-diffusion" / "model.safetensors", ns=(1, 1))
    after, _ = run("a cat")
    assert np.array_equal(after, before)


def test_what_does_not_fit_is_noted_once_for_a_job(run: Run, tmp_path: Path):
    folder = tmp_path / "models" / "Lora"
    write_lora(folder, "odd", lora_parts(TO_Q, torch.zeros(3, 5)))
    before, _ = run("a cat")
    picture, notes = run("a cat <lora:odd>", n_iter=2, seed=0)
    assert np.array_equal(picture, before), "the second picture has the seed 1"
    assert len([note for note in notes if "'odd' cannot be used" in note]) == 1


def test_each_picture_of_a_batch_has_the_loras_drawn_for_it_alone(run: Run):
    template = "a {cat|dog} {<lora:unet>|<lora:text:2>|}"
    fields = {"enable_hr": True, "hr_scale": 1.5, "hr_prompt": "{old|new} <lora:{unet|text}>"}
    alone = [run(template, seed=seed, **fields)[0] for seed in range(1, 5)]
    for count, picture in enumerate(alone, 1):
        together, _ = run(template, batch_size=count, **fields)
        assert np.array_equal(together, picture)
    assert len({picture.tobytes() for picture in alone}) == 4


def test_a_weight_that_no_network_stands_says_what_to_lower(run: Run, tmp_path: Path):
    output = tiny_modules()[0].get_submodule("conv_out")
    assert isinstance(output.weight, torch.Tensor)
    parts = lora_parts("lora_unet_conv_out", output.weight.detach())
    write_lora(tmp_path / "models" / "Lora", "output", parts)
    with pytest.raises(NotFinite, match=r"Lower the weights of the LoRAs"):
        run("a cat <lora:output:1e37>", cfg_scale=30)
