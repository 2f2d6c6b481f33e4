from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.conditioning.text import Conditioning
from modules.backend.device import BF16, FP32
from modules.backend.model import LoadedModel
from modules.backend.model_cache import ModelCache
from modules.core.errors import BadFile, OutOfMemory, UserError, WebUIError
from modules.models.file_cache import read_prediction_type
from modules.models.index import ModelIndex
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.models.weight_counts import count_weights
from modules.params.settings import Settings
from modules.prompt.schedule import StepTimeline
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import same, tiny_modules, tiny_weights, write_checkpoint
from tests.backend.checkpoints_sd2 import tiny_sd2_weights, write_sd2
from tests.conftest import ROOT


@pytest.fixture
def cache(tokenizer: ClipTokenizer, tmp_path: Path) -> ModelCache:
    return ModelCache(torch.device("cpu"), tokenizer, tmp_path / "cache")


@pytest.fixture
def acquire(cache: ModelCache, tmp_path: Path):
    for number, name in enumerate(("a", "b", "c")):
        write_checkpoint(tmp_path / "models" / f"{name}.safetensors", seed=number)
    manager = ModelIndex(
        {"Checkpoint": [tmp_path / "models"], "VAE": [tmp_path / "VAE"]},
        ROOT / "configs",
        tmp_path / "cache",
    )

    def acquire(name: str, limit: int = 1, **settings: Any) -> LoadedModel:
        cache.limit = limit
        manager.refresh("VAE")
        spec = make_model_spec(manager, manager.find_checkpoint(name), Settings(**settings))
        return cache.acquire(spec, FP32)

    return acquire


def test_one_checkpoint_is_cached_by_default(acquire):
    first = acquire("a")
    acquire("b")
    assert acquire("a") is not first


def test_the_least_recently_used_checkpoint_is_evicted(acquire):
    a, b = acquire("a", limit=2), acquire("b", limit=2)
    assert acquire("a", limit=2) is a
    acquire("c", limit=2)
    assert acquire("a", limit=2) is a
    assert acquire("b", limit=2) is not b


def test_a_smaller_limit_evicts_at_once(acquire, cache: ModelCache):
    acquire("a", limit=3)
    b = acquire("b", limit=3)
    assert acquire("b") is b
    assert len(cache._models) == 1


def test_a_checkpoint_that_cannot_be_loaded_evicts_nothing(acquire, tmp_path: Path):
    a = acquire("a")
    (tmp_path / "models" / "b.yaml").write_text("model: {params: {}}", encoding="utf-8")
    with pytest.raises(WebUIError):
        acquire("b")
    assert acquire("a") is a


def vae_weights(seed: int):
    prefix = "first_stage_model."
    return {
        k.removeprefix(prefix): v for k, v in tiny_weights(seed).items() if k.startswith(prefix)
    }


@pytest.mark.parametrize("file", ["models/a.vae.pt", "VAE/a.safetensors", "VAE/a.vae.ckpt"])
def test_a_separate_vae_is_used_instead(acquire, tmp_path: Path, file: str):
    path = tmp_path / file
    loss = {"loss.discriminator.main.0.weight": torch.ones(3)}
    write_checkpoint(
        path,
        weights=vae_weights(1) | loss,
        container="safetensors" if file.endswith("s") else "zip",
    )
    _, other, _ = tiny_modules(1)
    unet, own, _ = tiny_modules(0)
    assert same(acquire("a").components.vae, other)
    assert same(acquire("a").components.unet, unet)
    assert same(acquire("a", sd_vae="None").components.vae, own)


def test_a_vae_that_was_not_made_from_the_checkpoints_own_is_told(acquire, tmp_path: Path):
    trained_on = {name: weight + 0.1 * weight.std() for name, weight in vae_weights(0).items()}
    write_checkpoint(tmp_path / "VAE" / "finetuned.safetensors", weights=trained_on)
    write_checkpoint(tmp_path / "VAE" / "sdxl_vae.safetensors", weights=vae_weights(1))
    assert acquire("a").components.note == ""
    assert acquire("a", sd_vae="finetuned.safetensors").components.note == ""
    assert acquire("a", sd_vae="sdxl_vae.safetensors").components.note == (
        "The VAE 'sdxl_vae.safetensors' was not made from that of 'a.safetensors': if colours are wrong, it is one for"
        " another family; choose Automatic or None."
    )


def test_a_checkpoint_without_vae_works_with_another(acquire, tmp_path: Path):
    bare = {k: v for k, v in tiny_weights(2).items() if not k.startswith("first_stage")}
    write_checkpoint(tmp_path / "models" / "c.safetensors", weights=bare)
    with pytest.raises(WebUIError, match=r"lacks its VAE\. Put one into models/VAE"):
        acquire("c")
    write_checkpoint(tmp_path / "VAE" / "mse.safetensors", weights=vae_weights(1))
    assert same(acquire("c", sd_vae="mse.safetensors").components.vae, tiny_modules(1)[1])


def test_a_checkpoint_in_the_vae_folder_is_an_error_and_evicts_nothing(acquire, tmp_path: Path):
    a = acquire("a")
    write_checkpoint(tmp_path / "VAE" / "whole.safetensors", seed=1)
    with pytest.raises(UserError, match=r"'whole\.safetensors' is no VAE, but of the kind SD 1\.x"):
        acquire("a", sd_vae="whole.safetensors")
    assert acquire("a") is a


def test_a_vae_for_other_models_is_named(acquire, tmp_path: Path):
    weights = vae_weights(1)
    weights["decoder.conv_in.weight"] = torch.ones(16, 16, 3, 3)
    write_checkpoint(tmp_path / "VAE" / "wide.safetensors", weights=weights)
    with pytest.raises(UserError, match=r"wide\.safetensors' is a VAE for latents of 16 channels"):
        acquire("a", sd_vae="wide.safetensors")


def test_ema_weights_are_used_if_enabled(acquire, tmp_path: Path):
    averages = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): value
        for name, value in tiny_weights(1).items()
        if name.startswith("model.")
    }
    write_checkpoint(tmp_path / "models" / "c.ckpt", weights=tiny_weights(0) | averages)
    (tmp_path / "models" / "c.safetensors").unlink()
    assert same(acquire("c.ckpt").components.unet, tiny_modules(0)[0])
    assert same(acquire("c.ckpt", sd_use_ema=True).components.unet, tiny_modules(1)[0])


@pytest.fixture
def unknown(tmp_path: Path) -> ModelSpec:
    """An SD 2.x checkpoint of unknown prediction type, which actually predicts v."""
    weights = tiny_sd2_weights()
    weights["model.diffusion_model.out.2.weight"].zero_()
    weights["model.diffusion_model.out.2.bias"].fill_(-2)
    path = write_sd2(tmp_path / "models" / "two.safetensors", weights=weights)
    manager = ModelIndex({"Checkpoint": [path.parent]}, ROOT / "configs", tmp_path / "cache")
    spec = make_model_spec(manager, manager.find_checkpoint("two"), Settings())
    return replace(spec, prediction_type="probe")


def test_the_prediction_type_is_probed_once(cache: ModelCache, unknown: ModelSpec, tmp_path: Path):
    model = cache.acquire(unknown, FP32)
    assert model.components.prediction_type == "v_prediction"
    assert read_prediction_type(tmp_path / "cache", unknown.checkpoint.stamp) == "v_prediction"
    assert cache.acquire(unknown, FP32) is model
    assert cache.acquire(replace(unknown, prediction_type="v_prediction"), FP32) is model
    other = cache.acquire(replace(unknown, prediction_type="epsilon"), FP32)
    assert other.components.prediction_type == "epsilon"


@torch.inference_mode()
def test_prompts_are_cached_by_clip_skip_and_steps(acquire):
    model = acquire("a")
    default = Settings()
    skip_2 = Settings(CLIP_stop_at_last_layers=2)

    def cond(steps: int, settings: Settings) -> Conditioning:
        return model.encode_prompts(
            "a [cat:dog:0.5]", "", StepTimeline(steps), settings, (64, 64)
        ).conds[0]

    last = cond(10, default)
    assert cond(10, default) is last
    assert cond(10, skip_2) is cond(10, skip_2) is not last
    assert not torch.equal(cond(10, skip_2).at_step(0), last.at_step(0))
    assert [cond(10, default).until, cond(20, default).until] == [(5, 10), (10, 20)]


@torch.inference_mode()
@torch.inference_mode()
def test_prompts_are_remembered_while_their_checkpoint_is_out_of_memory(acquire, cache: ModelCache):
    def encode(model: LoadedModel) -> tuple[Tensor, Tensor]:
        timeline, settings = StepTimeline(20), Settings()
        encoded = model.encode_prompts("cat", "dog", timeline, settings, (64, 64))
        return encoded.conds[0].hidden[0], encoded.uncond.hidden[0]

    first = encode(acquire("a"))
    assert not torch.equal(encode(acquire("b"))[0], first[0]), "each checkpoint has its own"
    again = encode(acquire("a"))
    assert all(one is other for one, other in zip(first, again, strict=True))
    cache.prompts.clear()
    anew = encode(acquire("a"))
    assert all(torch.equal(one, other) for one, other in zip(first, anew, strict=True))
    assert anew[0] is not first[0]


def test_a_prompt_is_split_at_and_but_the_negative_prompt_is_not(acquire):
    model = acquire("a")
    conditioning = model.encode_prompts(
        "cat AND [cat|dog] :0.5", "cat AND cat", StepTimeline(4), Settings(), (64, 64)
    )
    cat, changing = conditioning.conds
    assert conditioning.weights == (1.0, 0.5)
    assert len(conditioning.uncond.hidden) == 1
    assert [changing.at_step(index) is changing.hidden[0] for index in range(4)] == [
        True,
        True,
        False,
        True,
    ]
    assert torch.equal(changing.at_step(0), cat.at_step(0))
    assert conditioning.empty_cond is None
    padded = model.encode_prompts(
        "cat", "", StepTimeline(4), Settings(pad_cond_uncond=True), (64, 64)
    )
    assert torch.equal(padded.empty_cond, padded.uncond.at_step(0))


def test_the_file_with_invalid_numbers_is_named(acquire, cache: ModelCache, tmp_path: Path):
    broken = {key: torch.full_like(value, torch.nan) for key, value in vae_weights(1).items()}
    write_checkpoint(tmp_path / "VAE" / "mse.safetensors", weights=broken)
    acquire("a", sd_vae="mse.safetensors")
    with pytest.raises(BadFile, match=r"'mse\.safetensors' is damaged: its AutoencoderKL"):
        cache.check_weights()
    acquire("a")
    cache.check_weights()


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    write_checkpoint(tmp_path / "models" / "a.safetensors")
    manager = ModelIndex(
        {"Checkpoint": [tmp_path / "models"]}, ROOT / "configs", tmp_path / "cache"
    )
    return make_model_spec(manager, manager.find_checkpoint("a"), Settings())


def test_weights_without_room_in_the_computer_are_refused_with_what_would_fit(
    spec: ModelSpec, tokenizer: ClipTokenizer
):
    count = count_weights(spec).total
    free = [3 * count]  # half of it is 2 bytes a weight
    cache = ModelCache(
        torch.device("cpu"), tokenizer, half_precision=BF16, computer_bytes=lambda: free[0]
    )
    vae = count_weights(spec).vae
    with pytest.raises(OutOfMemory) as error:
        cache.acquire(spec, FP32)
    assert str(error.value) == (
        f"a.safetensors needs {4 * count / 1e9:.1f} GB of memory, and {3 * count / 1e9:.1f} GB are free."
        f" Set Precision to Half in the Models settings, which needs {(2 * count + 2 * vae) / 1e9:.1f} GB."
    )
    with pytest.raises(
        OutOfMemory, match=r"Close other programs, or choose a smaller checkpoint\."
    ):
        free[0] = 100
        cache.acquire(spec, FP32)
    free[0] = 4 * count
    assert cache.acquire(spec, FP32).components.unet.dtype == torch.float32


def test_other_models_leave_for_one_that_the_computer_has_no_room_for_beside_them(
    spec: ModelSpec, tokenizer: ClipTokenizer, tmp_path: Path
):
    write_checkpoint(tmp_path / "models" / "b.safetensors", seed=1)
    manager = ModelIndex(
        {"Checkpoint": [tmp_path / "models"]}, ROOT / "configs", tmp_path / "cache"
    )
    other = make_model_spec(manager, manager.find_checkpoint("b"), Settings())
    each = 4 * count_weights(spec).total
    room = ModelCache(
        torch.device("cpu"),
        tokenizer,
        computer_bytes=lambda: int(1.5 * each) - each * len(room._models),
    )
    room.limit = 2
    first = room.acquire(spec, FP32)
    second = room.acquire(other, FP32)
    assert list(room._models.values()) == [second] != [first]
