from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules import infotext
from modules.infotext.text_format import strip_lines
from modules.params.image import ImageField
from modules.params.param import params_of
from modules.params.requests.base import MAX_SEED
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from tests.conftest import write_listed_checkpoint
from tests.infotext.context import CHOICES, SAMPLERS, SCHEDULES, known

HERE = known()
# What a prompt box can deliver, and words that an infotext is made of.
MARKS = st.sampled_from(
    ["Negative prompt: ", "Steps: 20, ", ", ", ": ", '"', "\n", "\\", "Size: 1x1, a: b, c: d"]
)
WILD = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | MARKS, max_size=6
).map("".join)
SIZES = st.integers(8, 1024).map(lambda eighths: eighths * 8)
SHARES = st.floats(0, 1)
COMMON: dict[str, Any] = {
    "prompt": WILD.map(strip_lines),
    "negative_prompt": WILD.map(strip_lines),
    "sampler_name": st.sampled_from(SAMPLERS.names()),
    "scheduler": st.sampled_from(SCHEDULES.names()),
    "steps": st.integers(1, 1000),
    "width": SIZES,
    "height": SIZES,
    "cfg_scale": st.floats(0, 100),
    "seed": st.integers(0, MAX_SEED),
}
VARIATION = {"subseed": st.integers(0, MAX_SEED), "subseed_strength": st.floats(0.001, 1)}
SEED_RESIZE = {
    "seed_resize_from_w": st.integers(1, 8192),
    "seed_resize_from_h": st.integers(1, 8192),
}
HIRES = {
    "enable_hr": st.just(True),
    "denoising_strength": SHARES,
    "hr_upscaler": st.sampled_from(CHOICES["hires upscalers"]),
    "hr_second_pass_steps": st.integers(0, 1000),
    "hr_sampler_name": st.sampled_from(["", *SAMPLERS.names()]),
    "hr_scheduler": st.sampled_from(["", *SCHEDULES.names()]),
    "hr_prompt": WILD,
    "hr_negative_prompt": WILD,
}
MASK = {
    "mask_blur": st.integers(1, 256),
    "inpainting_mask_invert": st.booleans(),
    "inpainting_fill": st.integers(0, 3),
    "inpaint_full_res": st.booleans(),
}
OVERRIDES = {
    "CLIP_stop_at_last_layers": st.integers(1, 12),
    "randn_source": st.sampled_from(["GPU", "CPU", "NV"]),
    "eta_noise_seed_delta": st.integers(0, 2**32 - 1),
    "emphasis": st.sampled_from(["None", "Ignore", "Original", "No norm"]),
    "s_churn": st.floats(0, 100),
    "tiling": st.booleans(),
    "sd_noise_schedule": st.sampled_from(["Default", "Zero Terminal SNR"]),
}


def some(groups: list[dict[str, Any]]) -> Any:
    """Return requests' fields: all common ones, and each other group whole or not at all."""
    optional = [st.just({}) | st.fixed_dictionaries(group) for group in groups]
    return st.tuples(st.fixed_dictionaries(COMMON), *optional).map(
        lambda found: {k: v for d in found for k, v in d.items()}
    )


def changed(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the options that differ from their defaults; to say the default again is to say nothing."""
    return {name: value for name, value in overrides.items() if value != getattr(Settings(), name)}


@settings(deadline=None)
@given(
    fields=some([VARIATION, SEED_RESIZE, HIRES | {"hr_scale": st.floats(1, 8)}, OVERRIDES]),
)
def test_what_is_written_is_read_again(fields: dict[str, Any]):
    overrides = changed({name: fields.pop(name) for name in OVERRIDES if name in fields})
    request = Txt2ImgRequest(**fields, override_settings=overrides)
    text = infotext.create_infotext(
        request, {"App": "stable-diffusion-webui 0.1.0"}, Settings(**overrides)
    )
    reading = infotext.interpret_infotext(infotext.parse_infotext(text), HERE, Txt2ImgRequest)
    assert reading.to_request() == request
    assert reading.report.messages() == []


@settings(deadline=None)
@given(fields=some([HIRES | {"hr_resize_x": SIZES, "hr_resize_y": SIZES}]))
def test_a_second_pass_to_a_size_is_read_again(fields: dict[str, Any]):
    request = Txt2ImgRequest(**fields)
    reading = infotext.interpret_infotext(
        infotext.parse_infotext(infotext.create_infotext(request, {})), HERE, Txt2ImgRequest
    )
    assert reading.to_request() == request


PICTURE = ImageField((8, 8), bytes(8 * 8 * 3))


@settings(deadline=None)
@given(fields=some([MASK]), strength=SHARES, mode=st.integers(0, 3), padding=st.integers(0, 1024))
def test_a_repainted_picture_is_read_again_without_the_pictures(
    fields: dict[str, Any], strength: float, mode: int, padding: int
):
    if fields.get("inpaint_full_res"):
        fields["inpaint_full_res_padding"] = padding
    plain = Img2ImgRequest(**fields, denoising_strength=strength, resize_mode=mode)
    whole = plain.replace(init_image=PICTURE, mask=PICTURE if "mask_blur" in fields else None)
    reading = infotext.interpret_infotext(
        infotext.parse_infotext(infotext.create_infotext(whole, {})), HERE, Img2ImgRequest
    )
    assert reading.to_request() == plain
    assert reading.needs_init_image
    assert reading.report.messages() == []


def test_every_option_that_has_a_key_is_read_again():
    others = {
        name: value
        for name, row in params_of(Settings).items()
        if row.infotext is not None
        for value in [_another(name)]
    }
    request = Txt2ImgRequest(seed=1, override_settings=others)
    text = infotext.create_infotext(request, {}, Settings(**others))
    reading = infotext.interpret_infotext(infotext.parse_infotext(text), HERE, Txt2ImgRequest)
    assert len(others) > 30
    assert reading.to_request() == request
    assert reading.report.messages() == []


def _another(name: str) -> Any:
    """Return a valid value that is not the option's default."""
    default = getattr(Settings(), name)
    tries = [not default] if isinstance(default, bool) else [0.25, 2, 0.5, *_words(name)]
    for value in tries:
        try:
            found = getattr(Settings(**{name: value}), name)
        except ValueError:
            continue
        if found != default:
            return found
    raise AssertionError(name)


def _words(name: str) -> list[str]:
    return ["NV", "Ignore", "quad", "Zero Terminal SNR", "bh2", "logSNR"]


def read(text: str, model: Any = Txt2ImgRequest, here: Any = HERE) -> infotext.InfotextResult:
    return infotext.interpret_infotext(infotext.parse_infotext(text), here, model)


A1111 = "a cat\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.0, Seed: 42, Size: 512x768, "


def test_an_empty_text_asks_for_nothing():
    assert read(" \n").values == {}


def test_a_text_without_pairs_is_a_prompt_and_says_nothing_else():
    reading = read("a cat, Steps: 20")
    assert reading.values == {"prompt": "a cat, Steps: 20"}
    assert reading.override_settings == {}


def test_what_a_text_takes_for_granted_overrides_what_holds_now():
    here = known(CLIP_stop_at_last_layers=2, randn_source="CPU", eta_ancestral=0.5)
    reading = read(A1111 + "Version: v1.10.1", here=here)
    assert reading.override_settings == {
        "CLIP_stop_at_last_layers": 1,
        "randn_source": "GPU",
        "eta_ancestral": 1.0,
    }


def test_what_holds_already_is_no_override():
    here = known(CLIP_stop_at_last_layers=2)
    assert read(A1111 + "Clip skip: 2", here=here).override_settings == {}


def test_a_denoising_strength_alone_is_no_second_pass():
    reading = read(A1111 + "Denoising strength: 0.4")
    assert reading.values["enable_hr"] is False
    assert reading.needs_init_image
    assert (
        str(reading.report.unapplied_keys[0])
        == "Denoising strength (0.4): txt2img has no such field."
    )


def test_an_upscale_key_is_a_second_pass():
    reading = read(
        A1111
        + "Denoising strength: 0.4, Hires upscale: 1.5, Hires upscaler: Latent (nearest-exact)"
    )
    assert reading.values["enable_hr"] is True
    assert (reading.values["hr_scale"], reading.values["denoising_strength"]) == (1.5, 0.4)
    assert not reading.needs_init_image
    assert reading.report.messages() == []


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (
            "Sampler: Eular a",
            "Sampler (Eular a): There is no sampler named 'Eular a'. Did you mean 'Euler a'",
        ),
        ("Steps: many", "Steps (many): Sampling steps is 'many'; a number is needed."),
        (
            "Seed: 9007199254740993",
            "Seed (9007199254740993): Seed is 9007199254740993; the largest valid value is 9007",
        ),
        ("Seed: 1.5", "Seed (1.5): Seed is 1.5; a whole number is needed."),
        ("Size: 513x512", "Size (513x512): Width is 513, not a multiple of 8; use 512 or 520."),
        ("Size: big", "Size (big): a size such as 512x768 is needed."),
        ("RNG: TPU", "RNG (TPU): Random number generator is 'TPU'; use 'GPU', 'CPU' or 'NV'."),
        ("Clip skip: 99", "Clip skip (99): Clip skip is 99; the largest valid value is 12."),
        ("CFG scale: nan", "CFG scale (nan): CFG Scale is nan; a number is needed."),
    ],
)
def test_a_value_that_cannot_be_had_is_told_and_the_rest_applied(pairs: str, sentence: str):
    key = pairs.partition(":")[0]
    reading = read(f"a cat\nFirst: 1, Second: 2, {pairs}")
    found = [str(finding) for finding in reading.report.unapplied_keys]
    assert [one[: len(sentence)] for one in found] == [sentence]
    assert [finding.key for finding in reading.report.unknown_keys] == ["First", "Second"]
    assert key not in [finding.key for finding in reading.report.unknown_keys]


def test_a_checkpoint_is_found_by_its_hash_then_by_its_name(tmp_path: Path):
    folder = tmp_path / "models"
    write_listed_checkpoint(folder / "mine.safetensors")
    write_listed_checkpoint(folder / "other.safetensors", "other")
    here = known(folder)
    here.models.refresh()
    listed = {one.model_name: here.models.sha256(one)[:10] for one in here.models.checkpoints()}
    here.models.start_hashing()
    by_hash = read(A1111 + f"Model hash: {listed['other']}, Model: renamed", here=here)
    assert by_hash.values["sd_model_checkpoint"] == "other.safetensors"
    by_name = read(A1111 + "Model hash: 0123456789, Model: mine", here=here)
    here.models.stop()
    assert by_name.values["sd_model_checkpoint"] == "mine.safetensors"
    assert by_name.report.differences == (
        f"The checkpoint mine.safetensors has the hash {listed['mine']}, the picture was made with one of that name "
        "and the hash 0123456789.",
    )


def test_a_checkpoint_that_is_not_there_is_missing_and_none_takes_its_place():
    reading = read(
        A1111 + "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, VAE: mse.safetensors"
    )
    assert "sd_model_checkpoint" not in reading.values
    assert reading.report.missing_files == (
        "The picture was made with v1-5-pruned-emaonly [6ce0161689], which is not here. Put the file into the "
        "checkpoints' folder.",
        "The picture was made with the VAE mse.safetensors, which is not here. Put the file into the VAEs' folder.",
    )


def test_a_text_that_would_name_a_vae_and_names_none_asks_for_none(tmp_path: Path):
    folder = tmp_path / "models"
    write_listed_checkpoint(folder / "mine.safetensors")
    (tmp_path / "VAE").mkdir()
    (tmp_path / "VAE" / "mine.safetensors").write_bytes(b"")
    here = known(folder)
    assert read(A1111 + "Model: mine, Version: v1.10.1", here=here).values["sd_vae"] == "None"
    assert "sd_vae" not in read(A1111 + "Model: mine, Version: v1.5.2", here=here).values
    named = read(A1111 + "Model: mine, VAE: mine, Version: v1.10.1", here=here)
    assert named.values["sd_vae"] == "mine.safetensors"


def test_a_long_last_line_is_read_in_a_moment():
    assert read("a " * 200_000).values["prompt"] == ("a " * 200_000).strip()
    assert read('a: "' * 50_000).values["prompt"].startswith('a: "a')
