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
from tests.infotext.context import CHOICES, SAMPLERS, SCHEDULES, make_context

CONTEXT = make_context()
# Text that a prompt box can deliver, and fragments of infotexts.
FRAGMENTS = st.sampled_from(
    ["Negative prompt: ", "Steps: 20, ", ", ", ": ", '"', "\n", "\\", "Size: 1x1, a: b, c: d"]
)
PROMPTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | FRAGMENTS, max_size=6
).map("".join)
SIZES = st.integers(8, 1024).map(lambda eighths: eighths * 8)
FRACTIONS = st.floats(0, 1)
COMMON: dict[str, Any] = {
    "prompt": PROMPTS.map(strip_lines),
    "negative_prompt": PROMPTS.map(strip_lines),
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
    "denoising_strength": FRACTIONS,
    "hr_upscaler": st.sampled_from(CHOICES["hires upscalers"]),
    "hr_second_pass_steps": st.integers(0, 1000),
    "hr_sampler_name": st.sampled_from(["", *SAMPLERS.names()]),
    "hr_scheduler": st.sampled_from(["", *SCHEDULES.names()]),
    "hr_prompt": PROMPTS,
    "hr_negative_prompt": PROMPTS,
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


def combine(groups: list[dict[str, Any]]) -> Any:
    """Return request fields: all common ones, and each other group completely or not at all."""
    optional = [st.just({}) | st.fixed_dictionaries(group) for group in groups]
    return st.tuples(st.fixed_dictionaries(COMMON), *optional).map(
        lambda groups: {k: v for d in groups for k, v in d.items()}
    )


def non_default(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the options that differ from their defaults; a default is not written."""
    return {name: value for name, value in overrides.items() if value != getattr(Settings(), name)}


@settings(deadline=None)
@given(
    fields=combine([VARIATION, SEED_RESIZE, HIRES | {"hr_scale": st.floats(1, 8)}, OVERRIDES]),
)
def test_a_txt2img_request_is_read_back(fields: dict[str, Any]):
    overrides = non_default({name: fields.pop(name) for name in OVERRIDES if name in fields})
    request = Txt2ImgRequest(**fields, override_settings=overrides)
    text = infotext.create_infotext(
        request, {"App": "stable-diffusion-webui 0.1.0"}, Settings(**overrides)
    )
    result = infotext.interpret_infotext(infotext.parse_infotext(text), CONTEXT, Txt2ImgRequest)
    assert result.to_request() == request
    assert result.report.messages() == []


@settings(deadline=None)
@given(fields=combine([HIRES | {"hr_resize_x": SIZES, "hr_resize_y": SIZES}]))
def test_a_hires_pass_to_a_size_is_read_back(fields: dict[str, Any]):
    request = Txt2ImgRequest(**fields)
    result = infotext.interpret_infotext(
        infotext.parse_infotext(infotext.create_infotext(request, {})), CONTEXT, Txt2ImgRequest
    )
    assert result.to_request() == request


IMAGE = ImageField((8, 8), bytes(8 * 8 * 3))


@settings(deadline=None)
@given(
    fields=combine([MASK]), strength=FRACTIONS, mode=st.integers(0, 3), padding=st.integers(0, 1024)
)
def test_an_img2img_request_is_read_back_without_its_images(
    fields: dict[str, Any], strength: float, mode: int, padding: int
):
    if fields.get("inpaint_full_res"):
        fields["inpaint_full_res_padding"] = padding
    expected = Img2ImgRequest(**fields, denoising_strength=strength, resize_mode=mode)
    request = expected.replace(init_image=IMAGE, mask=IMAGE if "mask_blur" in fields else None)
    result = infotext.interpret_infotext(
        infotext.parse_infotext(infotext.create_infotext(request, {})), CONTEXT, Img2ImgRequest
    )
    assert result.to_request() == expected
    assert result.needs_init_image
    assert result.report.messages() == []


def test_every_option_with_a_key_is_read_back():
    overrides = {
        name: value
        for name, row in params_of(Settings).items()
        if row.infotext is not None
        for value in [_non_default_value(name)]
    }
    request = Txt2ImgRequest(seed=1, override_settings=overrides)
    text = infotext.create_infotext(request, {}, Settings(**overrides))
    result = infotext.interpret_infotext(infotext.parse_infotext(text), CONTEXT, Txt2ImgRequest)
    assert len(overrides) > 30
    assert result.to_request() == request
    assert result.report.messages() == []


def _non_default_value(name: str) -> Any:
    """Return a valid value that is not the option's default."""
    default = getattr(Settings(), name)
    candidates = [not default] if isinstance(default, bool) else [0.25, 2, 64, *_labels()]
    for value in candidates:
        try:
            found = getattr(Settings(**{name: value}), name)
        except ValueError:
            continue
        if found != default:
            return found
    raise AssertionError(name)


def _labels() -> list[str]:
    return [
        "NV",
        "Ignore",
        "quad",
        "Zero Terminal SNR",
        "bh2",
        "logSNR",
        "both passes",
        "Enable",
        "Half",
        "OpenVINO",
    ]


def read(text: str, model: Any = Txt2ImgRequest, context: Any = CONTEXT) -> infotext.InfotextResult:
    return infotext.interpret_infotext(infotext.parse_infotext(text), context, model)


A1111 = "a cat\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.0, Seed: 42, Size: 512x768, "


def test_an_empty_text_sets_nothing():
    assert read(" \n").values == {}


def test_a_text_without_pairs_sets_only_the_prompt():
    result = read("a cat, Steps: 20")
    assert result.values == {"prompt": "a cat, Steps: 20"}
    assert result.override_settings == {}


def test_implied_options_override_the_current_settings():
    context = make_context(CLIP_stop_at_last_layers=2, randn_source="CPU", eta_ancestral=0.5)
    result = read(A1111 + "Version: v1.10.1", context=context)
    assert result.override_settings == {
        "CLIP_stop_at_last_layers": 1,
        "randn_source": "GPU",
        "eta_ancestral": 1.0,
    }


def test_an_option_equal_to_the_current_setting_is_not_overridden():
    context = make_context(CLIP_stop_at_last_layers=2)
    assert read(A1111 + "Clip skip: 2", context=context).override_settings == {}


def test_a_denoising_strength_alone_is_not_a_hires_pass():
    result = read(A1111 + "Denoising strength: 0.4")
    assert result.values["enable_hr"] is False
    assert result.needs_init_image
    assert (
        str(result.report.unapplied_keys[0])
        == "Denoising strength (0.4): txt2img has no such field."
    )


def test_an_upscale_key_is_a_hires_pass():
    result = read(
        A1111
        + "Denoising strength: 0.4, Hires upscale: 1.5, Hires upscaler: Latent (nearest-exact)"
    )
    assert result.values["enable_hr"] is True
    assert (result.values["hr_scale"], result.values["denoising_strength"]) == (1.5, 0.4)
    assert not result.needs_init_image
    assert result.report.messages() == []


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (
            "Sampler: Eular a",
            "Sampler (Eular a): There is no sampler named 'Eular a'. Did you mean 'Euler a'",
        ),
        ("Steps: many", "Steps (many): Sampling steps is 'many'; a number is needed."),
        (
            "Seed: 18446744073709551616",
            "Seed (18446744073709551616): Seed is 18446744073709551616; the largest valid value is 1844",
        ),
        ("Seed: 1.5", "Seed (1.5): Seed is 1.5; a whole number is needed."),
        ("Size: 60x512", "Size (60x512): Width is 60; the smallest valid value is 64."),
        ("Size: big", "Size (big): a size such as 512x768 is needed."),
        ("RNG: TPU", "RNG (TPU): Random number generator is 'TPU'; use 'GPU', 'CPU' or 'NV'."),
        ("Clip skip: 99", "Clip skip (99): Clip skip is 99; the largest valid value is 12."),
        ("CFG scale: nan", "CFG scale (nan): CFG Scale is nan; a number is needed."),
    ],
)
def test_an_invalid_value_is_reported_and_the_rest_applied(pairs: str, sentence: str):
    key = pairs.partition(":")[0]
    result = read(f"a cat\nFirst: 1, Second: 2, {pairs}")
    reported = [str(unapplied) for unapplied in result.report.unapplied_keys]
    assert [text[: len(sentence)] for text in reported] == [sentence]
    assert [unknown.key for unknown in result.report.unknown_keys] == ["First", "Second"]
    assert key not in [unknown.key for unknown in result.report.unknown_keys]


def test_a_size_is_rounded_down_to_multiples_of_8_and_it_is_said():
    result = read("a cat\nSteps: 20, Sampler: Euler, Seed: 1, Size: 500x333")
    assert (result.values["width"], result.values["height"]) == (496, 328)
    assert result.report.messages() == ["500x333 is rounded to 496x328: sides are multiples of 8."]


def test_a_checkpoint_is_found_by_its_hash_then_by_its_name(tmp_path: Path):
    folder = tmp_path / "models"
    write_listed_checkpoint(folder / "mine.safetensors")
    write_listed_checkpoint(folder / "other.safetensors", "other")
    context = make_context(folder)
    context.models.refresh()
    hashes = {
        checkpoint.model_name: context.models.sha256(checkpoint)[:10]
        for checkpoint in context.models.checkpoints()
    }
    context.models.start_hashing()
    by_hash = read(A1111 + f"Model hash: {hashes['other']}, Model: renamed", context=context)
    assert by_hash.values["sd_model_checkpoint"] == "other.safetensors"
    by_name = read(A1111 + "Model hash: 0123456789, Model: mine", context=context)
    context.models.stop()
    assert by_name.values["sd_model_checkpoint"] == "mine.safetensors"
    assert by_name.report.differences == (
        f"The checkpoint mine.safetensors has the hash {hashes['mine']}, the picture was made with one of that name "
        "and the hash 0123456789.",
    )


def test_a_missing_checkpoint_is_reported_and_not_replaced():
    result = read(
        A1111 + "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, VAE: mse.safetensors"
    )
    assert "sd_model_checkpoint" not in result.values
    assert result.report.missing_files == (
        "The picture was made with v1-5-pruned-emaonly [6ce0161689], which is not here. Put the file into the "
        "checkpoints' folder.",
        "The picture was made with the VAE mse.safetensors, which is not here. Put the file into the VAEs' folder.",
    )


def test_without_a_vae_key_a_version_that_writes_one_implies_the_built_in_vae(tmp_path: Path):
    folder = tmp_path / "models"
    write_listed_checkpoint(folder / "mine.safetensors")
    (tmp_path / "VAE").mkdir()
    (tmp_path / "VAE" / "mine.safetensors").write_bytes(b"")
    context = make_context(folder)
    assert read(A1111 + "Model: mine, Version: v1.10.1", context=context).values["sd_vae"] == "None"
    assert "sd_vae" not in read(A1111 + "Model: mine, Version: v1.5.2", context=context).values
    named = read(A1111 + "Model: mine, VAE: mine, Version: v1.10.1", context=context)
    assert named.values["sd_vae"] == "mine.safetensors"


def test_a_long_last_line_is_read_quickly():
    assert read("a " * 200_000).values["prompt"] == ("a " * 200_000).strip()
    assert read('a: "' * 50_000).values["prompt"].startswith('a: "a')
