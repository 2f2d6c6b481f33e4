"""Merging tiny checkpoints: the arithmetic, every kind of file, and that nothing half is ever left."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.core.errors import BadFile, Cancelled, StorageError, UserError
from modules.params.events import Phase, Progress
from modules.plan.jobs.merge import check_free_space
from tests.backend.checkpoints import tiny_modules, tiny_weights, write_checkpoint
from tests.backend.checkpoints_sdxl import UNET, sdxl_weights, write_sdxl
from tests.backend.merging.merging import Folder, positions, read, read_metadata

OUT = "model.diffusion_model.out.2.weight"
IN = "model.diffusion_model.input_blocks.0.0.weight"
DECODER = "first_stage_model.decoder.conv_in.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Two tiny SD 1.x checkpoints, `a` and `b`."""
    folder = Folder(tmp_path)
    for seed, name in enumerate("ab"):
        write_checkpoint(folder.checkpoints / f"{name}.safetensors", seed=seed)
    return folder


def test_a_weighted_sum_of_all_that_both_have(folder: Folder):
    a, b = tiny_weights(0), tiny_weights(1)
    merged = read(folder.merge("a", "b", multiplier=0.25))
    assert merged.keys() == a.keys()
    assert all(torch.equal(merged[name], 0.75 * a[name] + 0.25 * b[name]) for name in a)
    assert positions(folder.events, Phase)[-1] == Phase("Merging")
    progress = positions(folder.events, Progress)
    assert (progress[-1].step, progress[-1].steps) == (len(a), len(a))


def test_a_difference_is_added_and_what_c_lacks_changes_nothing(folder: Folder):
    a, b, c = (tiny_weights(seed) for seed in range(3))
    del c[OUT]
    write_checkpoint(folder.checkpoints / "c.safetensors", weights=c)
    fields = {"interp_method": "add difference", "multiplier": 1, "custom_name": "sum"}
    merged = read(folder.merge("a", "b", "c", **fields))
    assert torch.equal(merged[DECODER], a[DECODER] + (b[DECODER] - c[DECODER]))
    assert torch.equal(merged[OUT], a[OUT])


def as_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.half() for name, weight in weights.items()}


def as_bfloat16(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.bfloat16() for name, weight in weights.items()}


def with_strides(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
        for name, weight in weights.items()
    }


@pytest.mark.parametrize(
    ("suffix", "change", "dtype"),
    [
        (".safetensors", as_half, torch.float32),
        (".safetensors", as_bfloat16, torch.float32),
        (".ckpt", with_strides, torch.float32),
        (".ckpt", as_half, torch.float32),
    ],
)
def test_files_of_every_kind_are_merged_by_the_rules_of_torch(
    folder: Folder,
    suffix: str,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    dtype: torch.dtype,
):
    b = change(tiny_weights(5))
    write_checkpoint(folder.checkpoints / f"other{suffix}", weights=b)
    merged, a = read(folder.merge("a", "other", multiplier=0.3)), tiny_weights(0)
    assert merged[OUT].dtype == dtype
    assert all(torch.equal(merged[name], 0.7 * a[name] + 0.3 * b[name]) for name in a)


def test_weights_in_8_bits_are_merged_with_their_scales(folder: Folder):
    weights = tiny_weights(0)
    stored = (weights[OUT] * 4).to(torch.float8_e4m3fn)
    scale = torch.tensor(0.25)
    eight = {**weights, OUT: stored, OUT.replace("weight", "scale_weight"): scale}
    eight["scaled_fp8"] = torch.zeros(2).to(torch.float8_e4m3fn)
    write_checkpoint(folder.checkpoints / "eight.safetensors", weights=eight)
    merged = read(folder.merge("eight", "b", multiplier=0.5, custom_name="one"))
    b = tiny_weights(1)[OUT]
    assert torch.equal(merged[OUT], 0.5 * (stored.half() * scale) + 0.5 * b)
    assert (
        merged.keys() == weights.keys()
    )  # neither the scale nor the mark, which would count again
    kept = read(folder.merge("eight", interp_method="No interpolation", custom_name="two"))
    assert kept[OUT].dtype == torch.float8_e4m3fn and kept.keys() == eight.keys()


def test_float16_is_for_what_was_merged_or_without_interpolation_for_all(folder: Folder):
    weights = {**tiny_weights(0), "betas": torch.linspace(0, 1, 4)}
    write_checkpoint(folder.checkpoints / "c.safetensors", weights=weights)
    merged = read(folder.merge("c", "b", save_as_half=True))
    assert (merged[OUT].dtype, merged["betas"].dtype) == (torch.float16, torch.float32)
    single = read(folder.merge("c", interp_method="No interpolation", save_as_half=True))
    assert single["betas"].dtype == torch.float16
    assert torch.equal(single[OUT], weights[OUT].half())


@pytest.mark.parametrize("is_diffusers", [False, True])
def test_a_vae_is_baked_in_from_names_of_ldm_and_of_diffusers(folder: Folder, is_diffusers: bool):
    other = tiny_weights(7)
    vae = {
        name.removeprefix("first_stage_model."): weight
        for name, weight in other.items()
        if name.startswith("first_stage_model.")
    }
    if is_diffusers:
        vae = dict(tiny_modules(7)[1].state_dict())
    (folder.data / "models" / "VAE").mkdir()
    save_file(vae, folder.data / "models" / "VAE" / "other.safetensors")
    merged = read(folder.merge("a", "b", bake_in_vae="other.safetensors", save_as_half=True))
    names = [name for name in merged if name.startswith("first_stage_model.")]
    assert len(names) > 20
    assert all(torch.equal(merged[name], other[name].half()) for name in names)


def test_discarded_tensors_the_config_and_the_metadata(folder: Folder):
    result = folder.merge(
        "a", "b", discard_weights=r"^first_stage_model\.", metadata_json='{"author": "me", "n": 3}'
    )
    assert result.name == "0.7(a) + 0.3(b).safetensors"
    assert not any(name.startswith("first_stage_model.") for name in read(result))
    assert result.with_suffix(".yaml").read_bytes() == (folder.checkpoints / "a.yaml").read_bytes()
    metadata = read_metadata(result)
    assert (metadata["author"], metadata["n"], metadata["format"]) == ("me", "3", "pt")
    recipe = json.loads(metadata["sd_merge_recipe"])
    assert (recipe["interp_method"], recipe["multiplier"]) == ("Weighted sum", 0.3)
    again = read_metadata(
        folder.merge(result.name, interp_method="No interpolation", custom_name="x")
    )
    models = json.loads(again["sd_merge_models"])
    assert {row["name"] for row in models.values()} == {
        "a.safetensors",
        "b.safetensors",
        result.name,
    }
    assert again["author"] == "me"
    plain = folder.merge("a", "b", save_metadata=False, config_source=3, custom_name="plain")
    assert read_metadata(plain) == {"format": "pt"}
    assert not plain.with_suffix(".yaml").exists()


def test_a_ckpt_has_the_same_tensors_and_runs_nothing(folder: Folder):
    extra = {**tiny_weights(0), "step": torch.tensor(7), "empty": torch.zeros(0, 3)}
    write_checkpoint(folder.checkpoints / "c.safetensors", weights=extra)
    expected = read(folder.merge("c", "b", save_as_half=True))
    path = folder.merge("c", "b", save_as_half=True, checkpoint_format="ckpt", custom_name="d.ckpt")
    assert path.name == "d.ckpt" and path.with_suffix(".yaml").exists()
    tensors = read(path)
    mapped = torch.load(path, mmap=True, weights_only=True)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
        assert torch.equal(mapped[name], tensor) and mapped[name].data_ptr() % 64 == 0
    again = read(folder.merge("d.ckpt", interp_method="No interpolation", custom_name="e"))
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())
    eight = {**tiny_weights(0), OUT: tiny_weights(0)[OUT].to(torch.float8_e4m3fn)}
    write_checkpoint(folder.checkpoints / "eight.safetensors", weights=eight)
    before = folder.names
    with pytest.raises(UserError, match=r"cannot hold tensors of the type F8_E4M3\. Save it as"):
        folder.merge("eight", interp_method="No interpolation", checkpoint_format="ckpt")
    assert folder.names == before


def test_sdxl_checkpoints_are_merged_an_inpainting_one_as_a_and_no_other_family(folder: Folder):
    wider = replace(UNET, in_channels=9)
    files = {"x": UNET, "y": UNET, "inpainting": wider}
    for seed, (name, config) in enumerate(files.items()):
        write_sdxl(folder.checkpoints / f"{name}.safetensors", config, seed=seed)
    x, y, inpainting = (sdxl_weights(config, seed) for seed, config in enumerate(files.values()))
    merged = read(folder.merge("x", "y", multiplier=0.25))
    assert merged.keys() == x.keys()
    assert all(torch.equal(merged[name], 0.75 * x[name] + 0.25 * y[name]) for name in x)
    fields = {"interp_method": "Add difference", "multiplier": 1.0}
    path = folder.merge("inpainting", "y", "x", **fields)
    assert path.name.endswith(".inpainting.safetensors")
    channels = read(path)[IN]
    assert torch.equal(channels[:, 4:], inpainting[IN][:, 4:])
    assert torch.equal(channels[:, :4], inpainting[IN][:, :4] + (y[IN] - x[IN]))
    with pytest.raises(UserError, match=r"B \('a\.safetensors'\) is SD 1\.x: their layers differ"):
        folder.merge("x", "a")


def test_a_name_is_never_taken_away_from_a_file(folder: Folder):
    second = [folder.merge("a", "b", config_source=3).name for _ in range(2)][1]
    assert second == "0.7(a) + 0.3(b) (2).safetensors"
    with pytest.raises(UserError, match=r"'a\.safetensors' already exists"):
        folder.merge("a", "b", custom_name="a")
    odd = folder.merge("a", "b", custom_name="../A:1.safetensors", config_source=3)
    assert odd == folder.checkpoints / "_A_1.safetensors"
    (folder.checkpoints / "left.yaml").write_text("model: {}")
    with pytest.raises(UserError, match=r"'left\.yaml' already exists"):
        folder.merge("a", "b", custom_name="left")


def test_a_merge_that_is_stopped_leaves_nothing(folder: Folder):
    before = folder.names
    folder.cancel.interrupt()
    with pytest.raises(Cancelled):
        folder.merge("a", "b")
    assert folder.names == before


def test_a_disk_that_is_full_leaves_nothing(folder: Folder):
    before = folder.names
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limit[1]))  # a write beyond it is an error
    try:
        with pytest.raises(StorageError, match=r"cannot be written: .*disk space"):
            folder.merge("a", "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert folder.names == before
    with pytest.raises(StorageError, match=r"'x' needs 1000000000\.00 GB, and .* are free"):
        check_free_space(folder.checkpoints / "x", 10**18)


def test_a_file_that_is_cut_short_leaves_nothing(folder: Folder):
    before = folder.names
    path = folder.checkpoints / "b.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    with pytest.raises(BadFile, match="incomplete"):
        folder.merge("a", "b")
    assert folder.names == before
