"""Whatever lies among the models: one clear sentence, and the model loaded before stays usable."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modules.backend.runner import Runner
from modules.core.errors import WebUIError
from modules.models import pickled
from modules.models.manager import ModelManager
from modules.models.model_plan import plan_model
from modules.params.device import DeviceOptions
from modules.params.request import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan import make_plan
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.checkpoints_sd2 import write_sd2
from tests.backend.tiny import Recorder
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
        archive.writestr("archive/data.pkl", bytes(pickled.LARGEST_PICKLE_BYTES + 1))


def with_yaml(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_checkpoint(path)
        path.with_suffix(".yaml").write_text(text, encoding="utf-8")

    return write


def with_yaml_of_another_family(path: Path) -> None:
    write_checkpoint(path)
    other = write_sd2(path.with_name("other.safetensors"))
    path.with_suffix(".yaml").write_bytes(other.with_suffix(".yaml").read_bytes())


def deleted(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def two_of_one_name(path: Path) -> None:
    write_checkpoint(path.parent / "one" / path.name)
    write_checkpoint(path.parent / "two" / path.name)


def a_vae(path: Path) -> None:
    prefix = "first_stage_model."
    vae = {k.removeprefix(prefix): v for k, v in tiny_weights().items() if k.startswith(prefix)}
    write_checkpoint(path, weights=vae)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265380512\n"
ANCHORS = "a: &a [1]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20))
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, r"'bad\.safetensors' is incomplete: .* of .*\. Download it again"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "begins with zeros"),
    "LFS pointer": (lambda path: path.write_bytes(POINTER), "is a Git LFS pointer"),
    "zip bomb": (zip_bomb, "is damaged"),
    "os.system": (pickle_with_system, r"'bad\.ckpt' is not safe: it asks for \w+\.system"),
    "yaml with code": (with_yaml("a: !!python/object/apply:os.system ['touch attacked']"), r"bad\.yaml' is broken"),
    "yaml of 10 MB": (with_yaml("a: 1\n" * 2_000_000), r"bad\.yaml' is too large"),
    "yaml of anchors": (with_yaml(ANCHORS), r"bad\.yaml' is too entangled"),
    "yaml of another family": (with_yaml_of_another_family, r"bad\.yaml' describes the text encoder OpenCLIP, but 'bad\.safetensors' has CLIP"),
    "deleted": (deleted, r"is no longer at .*bad\.safetensors"),
    "two of one name": (two_of_one_name, r"'one/bad\.safetensors' or 'two/bad\.safetensors'"),
    "a VAE": (a_vae, "is a VAE, not a checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_one_sentence_and_the_loaded_model_stays(
    case: str, tokenizer: ClipTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    make, said = CASES[case]
    folder = tmp_path / "models"
    write_checkpoint(folder / "good.safetensors")
    make(folder / "bad.safetensors")
    manager = ModelManager([folder], ROOT / "configs", tmp_path / "cache")
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)
    good = make_plan(SMALL, manager, manager.find("good"), SAMPLERS, SCHEDULES)
    runner.load(good.model)
    loaded = list(runner._cache._models.values())
    with pytest.raises(WebUIError, match=said) as caught:
        runner.load(plan_model(manager, manager.find("bad"), Settings()))
    assert "\n" not in str(caught.value)
    assert list(runner._cache._models.values()) == loaded
    recorder = Recorder()
    runner.run(good, recorder)
    assert len(recorder.images) == 1
    assert not (tmp_path / "attacked").exists()


def test_weights_that_are_no_numbers_are_named(tokenizer: ClipTokenizer, tmp_path: Path):
    weights = tiny_weights()
    weights["model.diffusion_model.out.2.bias"] = torch.full((4,), float("nan"))
    write_checkpoint(tmp_path / "bad.safetensors", weights=weights)
    manager = ModelManager([tmp_path], ROOT / "configs", tmp_path / "cache")
    plan = make_plan(SMALL, manager, manager.find("bad"), SAMPLERS, SCHEDULES)
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)
    with pytest.raises(WebUIError, match=r"'bad\.safetensors' is damaged: .* \(NaN\) in conv_out\.bias"):
        runner.run(plan, Recorder())
