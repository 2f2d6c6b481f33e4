"""A checkpoint with its text encoder in another file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from modules.backend.components import Precision
from modules.backend.device import FP32
from modules.backend.loading.loader import LoadOptions, load_components
from modules.backend.model import LoadedModel
from modules.backend.model_cache import ModelCache
from modules.backend.runner import Runner
from modules.core.errors import BadFile, UserError
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import same, tiny_modules, tiny_weights, write_checkpoint
from tests.backend.checkpoints_sd2 import tiny_sd2_modules, tiny_sd2_weights, write_sd2
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

FULL = Precision(torch.float32, torch.float32, torch.float32)
CLIP, OPEN_CLIP = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)


def without_text(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in weights.items() if not k.startswith("cond_stage_model.")}


def text_alone(weights: Mapping[str, Tensor], prefix: str, new_prefix: str) -> dict[str, Tensor]:
    return {
        new_prefix + k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)
    }


@pytest.fixture
def manager(tmp_path: Path) -> ModelIndex:
    write_checkpoint(
        tmp_path / "models" / "bare.safetensors", weights=without_text(tiny_weights(0))
    )
    return ModelIndex(
        {
            "Checkpoint": [tmp_path / "models"],
            "VAE": [tmp_path / "VAE"],
            "Text encoder": [tmp_path / "text"],
        },
        ROOT / "configs",
        tmp_path / "cache",
    )


@pytest.fixture
def acquire(manager: ModelIndex, tokenizer: ClipTokenizer):
    cache = ModelCache(torch.device("cpu"), tokenizer)

    def acquire(name: str = "bare", **settings: Any) -> LoadedModel:
        manager.refresh()
        return cache.acquire(
            make_model_spec(manager, manager.find_checkpoint(name), Settings(**settings)), FP32
        )

    return acquire


@pytest.mark.parametrize("new_prefix", ["text_model.", "transformer.text_model.", CLIP, ""])
@pytest.mark.parametrize("extension", ["safetensors", "ckpt"])
def test_a_clip_file_provides_the_text_encoder(
    acquire, tmp_path: Path, new_prefix: str, extension: str
):
    unused = {"text_projection.weight": torch.ones(32, 32), "logit_scale": torch.ones(())}
    weights = text_alone(tiny_weights(1), CLIP, new_prefix) | unused
    write_checkpoint(tmp_path / "text" / f"clip_l.{extension}", weights=weights)
    components = acquire().components
    assert same(components.text_encoders[0].network, tiny_modules(1)[2])
    assert same(components.unet, tiny_modules(0)[0])
    assert same(components.vae, tiny_modules(0)[1])


@pytest.mark.parametrize("new_prefix", [OPEN_CLIP, ""])
def test_an_open_clip_file_provides_the_text_encoder(tmp_path: Path, new_prefix: str):
    path = write_sd2(tmp_path / "bare.safetensors", weights=without_text(tiny_sd2_weights()))
    weights = text_alone(tiny_sd2_weights(), OPEN_CLIP, new_prefix)
    visual = {"visual.conv1.weight": torch.ones(2, 3, 2, 2)}
    file = write_checkpoint(tmp_path / "text" / "h.safetensors", weights=weights | visual)
    components = load_components(
        path, path.with_suffix(".yaml"), FULL, LoadOptions(text_encoders=(file,))
    )
    whole = write_sd2(tmp_path / "whole.safetensors")
    assert same(
        components.text_encoders[0].network,
        load_components(whole, whole.with_suffix(".yaml"), FULL).text_encoders[0].network,
    )
    assert same(components.unet, tiny_sd2_modules()[0])
    assert components.text_encoders[0].pad_token_id == 0


@pytest.mark.parametrize(("layers", "computed"), [(2, 2), (24, 23)])
def test_open_clip_in_transformers_layout_works_for_sd_2(
    tmp_path: Path, layers: int, computed: int
):
    weights = without_text(tiny_sd2_weights())
    for name in [k for k in weights if k.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]:
        weights[name] = torch.zeros(weights[name].shape[0], 1024)
    changes = {
        "unet_config.params.context_dim": 1024,
        "cond_stage_config.params": {"freeze": True, "layer": "penultimate"},
    }
    path = write_sd2(tmp_path / "bare.safetensors", weights=weights, changes=changes)
    sizes = {
        "hidden_size": 1024,
        "intermediate_size": 8,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = (
            CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_act="gelu", **sizes))
            .eval()
            .half()
        )
    weights = {f"text_model.{name}": value for name, value in encoder.state_dict().items()}
    file = write_checkpoint(tmp_path / "text" / "h.safetensors", weights=weights)
    half = Precision(torch.float32, torch.float32, torch.float16)
    components = load_components(
        path, path.with_suffix(".yaml"), half, LoadOptions(text_encoders=(file,))
    )
    loaded = components.text_encoders[0].network
    assert loaded.config.num_hidden_layers == computed
    assert (loaded.config.hidden_act, components.text_encoders[0].pad_token_id) == ("gelu", 0)
    mine = loaded.state_dict()
    assert all(torch.equal(mine[key], encoder.state_dict()[key]) for key in mine)


def test_another_checkpoint_provides_only_its_text_encoder(
    acquire, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    write_checkpoint(tmp_path / "models" / "whole.safetensors", seed=1)
    with caplog.at_level(logging.INFO):
        components = acquire().components
    assert same(components.text_encoders[0].network, tiny_modules(1)[2])
    assert same(components.unet, tiny_modules(0)[0])
    assert same(components.vae, tiny_modules(0)[1])
    note = "'bare.safetensors' has no text encoder; the one of 'whole.safetensors' is used."
    assert note in caplog.text


def test_the_job_notes_which_text_encoder_is_used(
    manager: ModelIndex, tokenizer: ClipTokenizer, tmp_path: Path
):
    write_checkpoint(tmp_path / "models" / "whole.safetensors", seed=1)
    listener = RecordingListener()
    plan = make_plan(SMALL, manager, manager.find_checkpoint("bare"))
    Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan, listener)
    assert len(listener.images) == 1
    assert listener.notes == [
        "'bare.safetensors' has no text encoder; the one of 'whole.safetensors' is used."
    ]


def test_a_text_encoder_from_its_folder_needs_no_note(manager: ModelIndex, tmp_path: Path):
    write_checkpoint(
        tmp_path / "text" / "l.safetensors",
        weights=text_alone(tiny_weights(1), CLIP, "text_model."),
    )
    assert make_plan(SMALL, manager, manager.find_checkpoint("bare")).notes == ()


def test_the_model_is_reloaded_when_the_text_encoder_file_changes(acquire, tmp_path: Path):
    file = tmp_path / "text" / "l.safetensors"
    write_checkpoint(file, weights=text_alone(tiny_weights(1), CLIP, "text_model."))
    first = acquire()
    assert acquire() is first
    write_checkpoint(file, weights=text_alone(tiny_weights(2), CLIP, "text_model."))
    os.utime(file, ns=(1, 1))
    assert same(acquire().components.text_encoders[0].network, tiny_modules(2)[2])
    write_checkpoint(
        tmp_path / "text" / "bare.safetensors", weights=text_alone(tiny_weights(1), CLIP, "")
    )
    assert same(acquire().components.text_encoders[0].network, tiny_modules(1)[2])


def test_without_a_text_encoder_the_loader_says_where_to_put_one(tmp_path: Path):
    path = write_checkpoint(tmp_path / "bare.safetensors", weights=without_text(tiny_weights()))
    with pytest.raises(
        BadFile,
        match=r"'bare\.safetensors' lacks its text encoder\. Put one into models/text_encoder",
    ):
        load_components(path, path.with_suffix(".yaml"), FULL)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            text_alone(tiny_weights(), "first_stage_model.", ""),
            r"'text\.safetensors' is no text encoder, but of the kind VAE\.",
        ),
        (
            {"a": torch.ones(1)},
            r"'text\.safetensors' is no text encoder, nor any other model known here\.",
        ),
        (
            {
                k: v.repeat_interleave(2, dim=-1)
                for k, v in text_alone(tiny_weights(), CLIP, "text_model.").items()
            },
            r"hidden_size 32, but 'text\.safetensors' has 64",
        ),
        (text_alone(tiny_sd2_weights(), OPEN_CLIP, ""), "'text.safetensors' has OpenCLIP"),
    ],
)
def test_an_unsuitable_file_is_named(tmp_path: Path, weights: dict[str, Tensor], message: str):
    changes = {"cond_stage_config.target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"}
    path = write_checkpoint(
        tmp_path / "bare.safetensors", weights=without_text(tiny_weights()), changes=changes
    )
    file = write_checkpoint(tmp_path / "text.safetensors", weights=weights)
    with pytest.raises(UserError, match=message):
        load_components(path, path.with_suffix(".yaml"), FULL, LoadOptions(text_encoders=(file,)))


def test_a_text_encoder_of_the_wrong_width_is_refused(tmp_path: Path):
    changes = {"cond_stage_config.params": {}}
    path = write_checkpoint(
        tmp_path / "bare.safetensors", weights=without_text(tiny_weights()), changes=changes
    )
    wide = {
        k: v.repeat_interleave(2, dim=-1)
        for k, v in text_alone(tiny_weights(), CLIP, "text_model.").items()
    }
    file = write_checkpoint(tmp_path / "text.safetensors", weights=wide)
    with pytest.raises(
        UserError,
        match=r"says context_dim 32, but the text encoder of 'text\.safetensors' gives 64",
    ):
        load_components(path, path.with_suffix(".yaml"), FULL, LoadOptions(text_encoders=(file,)))


def test_an_incomplete_text_encoder_is_ignored(acquire, tmp_path: Path):
    incomplete = {f"{CLIP}final_layer_norm.weight": torch.ones(32)}
    write_checkpoint(
        tmp_path / "models" / "bare.safetensors", weights=without_text(tiny_weights(0)) | incomplete
    )
    write_checkpoint(tmp_path / "models" / "whole.safetensors", seed=1)
    assert same(acquire().components.text_encoders[0].network, tiny_modules(1)[2])


@pytest.mark.parametrize("name", ["demo", "demo-v2"])
def test_a_demo_with_a_separate_text_encoder_gives_the_same_image(
    tokenizer: ClipTokenizer, tmp_path: Path, name: str
):
    demo = ROOT / "models" / "Stable-diffusion" / "demo" / f"{name}.safetensors"
    weights = load_file(demo)
    text_weights = {k: v for k, v in weights.items() if k.startswith("cond_stage_model.")}
    models = tmp_path / "models"
    write_checkpoint(models / "bare.safetensors", weights=without_text(weights))
    write_checkpoint(tmp_path / "text" / "text.safetensors", weights=text_weights)
    for copy in ("bare.yaml", "whole.yaml"):
        (models / copy).write_bytes(demo.with_suffix(".yaml").read_bytes())
    (models / "whole.safetensors").symlink_to(demo)
    manager = ModelIndex(
        {"Checkpoint": [models], "Text encoder": [tmp_path / "text"]},
        ROOT / "configs",
        tmp_path / "cache",
    )
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)
    whole, bare = RecordingListener(), RecordingListener()
    runner.run(make_plan(SMALL, manager, manager.find_checkpoint("whole")), whole)
    runner.run(make_plan(SMALL, manager, manager.find_checkpoint("bare")), bare)
    assert whole.images[0][1].tobytes() == bare.images[0][1].tobytes()
