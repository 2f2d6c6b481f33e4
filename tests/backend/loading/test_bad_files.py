"""Unusable files among the models: one clear sentence, and the model loaded before stays usable."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from modules.backend.runner import Runner
from modules.core.errors import NotFound, WebUIError
from modules.models.files import safe_pickle
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.planner import make_plan
from modules.plan.work import LoadModel
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.checkpoints_sd2 import write_sd2
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(width=64, height=64, steps=2, seed=1)


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def truncated(path: Path) -> None:
    write_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-1000])


def pickle_with_system(path: Path) -> None:
    torch.save({"state_dict": Attack()}, path)
    path.rename(path.with_suffix(".ckpt"))


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(safe_pickle.MAX_PICKLE_BYTES + 1))


def with_yaml(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_checkpoint(path)
        path.with_suffix(".yaml").write_text(text, encoding="utf-8")

    return write


def with_yaml_of_another_family(path: Path) -> None:
    write_checkpoint(path)
    other = write_sd2(path.with_name("other.safetensors"))
    path.with_suffix(".yaml").write_bytes(other.with_suffix(".yaml").read_bytes())


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def two_of_one_name(path: Path) -> None:
    write_checkpoint(path.parent / "one" / path.name)
    write_checkpoint(path.parent / "two" / path.name)


def a_vae(path: Path) -> None:
    prefix = "first_stage_model."
    vae = {k.removeprefix(prefix): v for k, v in tiny_weights().items() if k.startswith(prefix)}
    write_checkpoint(path, weights=vae)


def a_text_encoder(path: Path) -> None:
    prefix = "cond_stage_model.transformer."
    weights = {k.removeprefix(prefix): v for k, v in tiny_weights().items() if k.startswith(prefix)}
    write_checkpoint(path, weights=weights)


def without_text_encoder(others: Callable[[Path], object] | None = None) -> Callable[[Path], None]:
    """Write a checkpoint that needs another width than the good one's, and a file in models/text_encoder."""

    def write(path: Path) -> None:
        weights = {k: v for k, v in tiny_weights().items() if not k.startswith("cond_stage_model.")}
        for name in [k for k in weights if k.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]:
            weights[name] = torch.ones(weights[name].shape[0], 48)
        write_checkpoint(path, weights=weights)
        if others is not None:
            others(path.parents[1] / "text_encoder" / "text.safetensors")

    return write


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265380512\n"
ANCHORS = "a: &a [1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20)
)
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, r"'bad\.safetensors' is incomplete: .* of .*\. Download it again"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "begins with zeros"),
    "LFS pointer": (lambda path: path.write_bytes(POINTER), "is a Git LFS pointer"),
    "zip bomb": (zip_bomb, "is damaged"),
    "os.system": (pickle_with_system, r"'bad\.ckpt' is not safe: it asks for \w+\.system"),
    "yaml with code": (with_yaml("a: !!python/object/apply:os.system ['touch attacked']"), r"bad\.yaml' is broken"),
    "yaml of 10 MB": (with_yaml("a: 1\n" * 2_000_000), r"bad\.yaml' is too large"),
    "yaml of anchors": (with_yaml(ANCHORS), r"bad\.yaml' is too deeply nested"),
    "yaml of another family": (with_yaml_of_another_family, r"bad\.yaml' describes the text encoder OpenCLIP, but 'bad\.safetensors' has CLIP"),
    "link to nowhere": (link_to_nowhere, r"is no longer at .*bad\.safetensors"),
    "two of one name": (two_of_one_name, r"'one/bad\.safetensors' or 'two/bad\.safetensors'"),
    "a VAE": (a_vae, r"is a VAE, not a checkpoint\. It belongs in models/VAE"),
    "a text encoder": (a_text_encoder, r"is only a text encoder, not a checkpoint\. It belongs in models/text_encoder"),
    "no text encoder": (without_text_encoder(), r"'bad\.safetensors' lacks its text encoder\. Put a CLIP of width 48 into models/text_encoder"),
    "a text encoder of another width": (without_text_encoder(a_text_encoder), r"'text\.safetensors' there is a CLIP of width 32"),
    "a VAE among the text encoders": (without_text_encoder(a_vae), r"'text\.safetensors' there is of type VAE"),
}  # fmt: skip


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelIndex:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "models" / "good.safetensors")
    folders = {
        "Checkpoint": [tmp_path / "models"],
        "VAE": [tmp_path / "VAE"],
        "Text encoder": [tmp_path / "text_encoder"],
    }
    return ModelIndex(folders, ROOT / "configs", tmp_path / "cache")


@pytest.fixture
def runner(manager: ModelIndex, tokenizer: ClipTokenizer) -> Iterator[Runner]:
    """Return a runner with the good model loaded, which must still be loaded and usable at the end."""
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)
    good = make_plan(SMALL, manager, manager.find_checkpoint("good"))
    runner.run(LoadModel(good.model))
    loaded = list(runner.models._cache._models.values())
    yield runner
    assert list(runner.models._cache._models.values()) == loaded
    listener = RecordingListener()
    runner.run(good, listener)
    assert len(listener.images) == 1


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_one_sentence_and_the_loaded_model_stays(
    case: str, manager: ModelIndex, runner: Runner, tmp_path: Path
):
    write, message = CASES[case]
    write(tmp_path / "models" / "bad.safetensors")
    manager.refresh()
    with pytest.raises(WebUIError, match=message) as caught:
        runner.run(LoadModel(make_model_spec(manager, manager.find_checkpoint("bad"), Settings())))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "attacked").exists()


def test_a_checkpoint_deleted_while_listed(manager: ModelIndex, runner: Runner, tmp_path: Path):
    path = write_checkpoint(tmp_path / "models" / "bad.safetensors")
    manager.refresh()
    spec = make_model_spec(manager, manager.find_checkpoint("bad"), Settings())
    path.unlink()
    with pytest.raises(NotFound, match=r"bad\.safetensors' does not exist\. Put the file back"):
        runner.run(LoadModel(spec))
    with pytest.raises(NotFound, match=r"'bad\.safetensors' is no longer at"):
        manager.find_checkpoint("bad")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_checkpoint, r"'wrong\.safetensors' is no VAE, but of the kind SD 1\.x"),
        (a_text_encoder, r"'wrong\.safetensors' is no VAE, but of the kind Text encoder"),
        (lambda path: path.write_bytes(POINTER), r"'wrong\.safetensors' is a Git LFS pointer"),
    ],
)
def test_a_file_in_the_vae_folder_that_is_no_vae(
    write: Callable[[Path], object],
    message: str,
    manager: ModelIndex,
    runner: Runner,
    tmp_path: Path,
):
    (tmp_path / "VAE").mkdir()
    write(tmp_path / "VAE" / "wrong.safetensors")
    manager.refresh()
    with pytest.raises(WebUIError, match=message):
        runner.run(
            LoadModel(
                make_model_spec(
                    manager, manager.find_checkpoint("good"), Settings(sd_vae="wrong.safetensors")
                )
            )
        )


def test_nan_weights_are_named(tokenizer: ClipTokenizer, manager: ModelIndex, tmp_path: Path):
    weights = tiny_weights()
    weights["model.diffusion_model.out.2.bias"] = torch.full((4,), float("nan"))
    write_checkpoint(tmp_path / "models" / "bad.safetensors", weights=weights)
    good, bad = (make_plan(SMALL, manager, manager.find_checkpoint(n)) for n in ("good", "bad"))
    runner, listener = Runner(DeviceOptions(use_cpu=True), tokenizer), RecordingListener()
    runner.run(LoadModel(good.model))
    with pytest.raises(
        WebUIError, match=r"'bad\.safetensors' is damaged: .* \(NaN\) in conv_out\.bias"
    ):
        runner.run(bad, listener)
    assert listener.images == []
    runner.run(good, listener)
    assert len(listener.images) == 1
