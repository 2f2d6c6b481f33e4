from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modules import infotext
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings

GOLDENS = json.loads(
    (Path(__file__).parents[1] / "goldens" / "infotext" / "write.json").read_text(encoding="utf-8")
)
# A prompt box delivers no control characters other than newlines.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=80)
LINES = st.lists(TEXT, max_size=4).map("\n".join)


def read(text: str) -> dict[str, str]:
    """Return an infotext's values by the rules that A1111's readers share."""
    *lines, last = text.strip().split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    prompts: dict[str, list[str]] = {"Prompt": [], "Negative prompt": []}
    current = "Prompt"
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            current, line = "Negative prompt", line.removeprefix("Negative prompt:").strip()
        prompts[current].append(line)
    values = {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}
    return {**{key: "\n".join(parts) for key, parts in prompts.items()}, **values}


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden["name"])
def test_infotext_is_written_as_a1111_writes_it(golden: dict[str, Any]):
    assert (
        infotext.create_infotext(
            Txt2ImgRequest(**golden["request"]),
            golden["extra"],
            Settings(**golden.get("settings", {})),
        )
        == golden["text"]
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7.0, "7"),
        (7.5, "7.5"),
        (0.1, "0.1"),
        (20, "20"),
        ("plain words", "plain words"),
        ("a,b", '"a,b"'),
        ("a:b", '"a:b"'),
        ("a\nb", '"a\\nb"'),
        ('say "a"', 'say "a"'),
        ('"a", b', '"\\"a\\", b"'),
        ("ü, ö", '"ü, ö"'),
    ],
)
def test_values_with_special_characters_are_quoted(value: object, text: str):
    assert infotext.quote(value) == text


@settings(deadline=None)
@given(
    prompt=LINES, negative=LINES, model=TEXT, seed=st.integers(0, 2**53 - 1), cfg=st.floats(0, 100)
)
def test_a1111s_readers_get_every_value_back(
    prompt: str, negative: str, model: str, seed: int, cfg: float
):
    stripped = "\n".join(line.strip() for line in prompt.strip().split("\n"))
    stripped_negative = "\n".join(line.strip() for line in negative.strip().split("\n"))
    model = model.strip().strip('"')
    request = Txt2ImgRequest(
        prompt=stripped, negative_prompt=stripped_negative, seed=seed, cfg_scale=cfg, width=64
    )
    values = read(infotext.create_infotext(request, {"Model hash": "0123456789", "Model": model}))
    assert values["Prompt"] == stripped.strip()
    assert values["Negative prompt"] == stripped_negative.strip()
    assert values["Steps"] == "20"
    assert values["Sampler"] == "DPM++ 2M"
    assert values["Schedule type"] == "Automatic"
    assert float(values["CFG scale"]) == cfg
    assert values["Seed"] == str(seed)
    assert values["Size"] == "64x512"
    assert values["Model hash"] == "0123456789"
    assert values.get("Model", "") == model


def test_options_are_written_at_their_defaults_where_a1111_states_them():
    options = Settings(beta_dist_beta=0.7)
    stated = ("beta_dist_alpha", "beta_dist_beta", "inpainting_mask_weight")
    values = read(infotext.create_infotext(Txt2ImgRequest(), {}, options, stated_options=stated))
    assert values["Beta schedule alpha"] == "0.6"
    assert values["Beta schedule beta"] == "0.7"
    assert values["Conditional mask weight"] == "1"
    assert "Clip skip" not in values


def test_hires_and_mask_keys_are_in_a1111s_order():
    """As in A1111's pictures hires_lanczos_2nd and inp_masked_fill2."""
    hires = Txt2ImgRequest(
        enable_hr=True,
        hr_upscaler="Lanczos",
        hr_second_pass_steps=10,
        hr_sampler_name="DPM++ 2M",
        hr_scheduler="Karras",
        hr_prompt="a green square",
        hr_negative_prompt="dark",
    )
    keys = list(read(infotext.create_infotext(hires, {"RNG": "CPU"})))
    assert keys[keys.index("RNG") + 1 :] == [
        "Hires sampler",
        "Hires prompt",
        "Hires negative prompt",
        "Hires schedule type",
        "Hires upscale",
        "Hires steps",
        "Hires upscaler",
    ]
    white = ImageField.from_pil(Image.new("L", (8, 8), 255), MASK)
    inpaint = Img2ImgRequest(mask=white, inpaint_full_res=True, inpainting_fill=2)
    keys = list(read(infotext.create_infotext(inpaint, {"RNG": "CPU"})))
    assert keys[keys.index("RNG") + 1 :] == [
        "Mask blur",
        "Inpaint area",
        "Masked area padding",
        "Masked content",
    ]
