"""The recipes of the floors infotext, plan and prompt: keys, other programs, models of a few steps, emphasis."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules import infotext
from modules.api import routes
from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.infotext.codecs import Codec, Pairs
from modules.infotext.foreign.dialects import Dialect
from modules.infotext.foreign.json_formats import JsonFormat, parse_json_object
from modules.params.param import param
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.checkpoints.few_step_models import FewStepModel, few_step_note
from modules.prompt.chunks import Chunker
from modules.prompt.emphasis import EMPHASES, Emphasis
from modules.prompt.tokens import ClipTokenizer


class StereoRequest(Txt2ImgRequest):
    """A request with two more fields, which share a key."""

    left: int = param(5, "Left", help="More is louder on the left.", ge=0, le=11)
    right: int = param(5, "Right", help="More is louder on the right.", ge=0, le=11)


def write_balance(values: Mapping[str, Any]) -> Mapping[str, object]:
    return {"Balance": f"{values['left']}/{values['right']}"}


def read_balance(pairs: Pairs) -> dict[str, Any]:
    left, _, right = pairs.get("Balance", "5/5").partition("/")
    return {"left": left, "right": right}


def test_an_infotext_key_of_several_fields_is_a_row(engine: Engine):
    row = Codec("balance", ("left", "right"), ("Balance",), write_balance, read_balance)
    engine.registries.codecs.add(row)
    request = StereoRequest(seed=1, left=2, right=9)
    text = infotext.create_infotext(request, {}, codecs=engine.registries.codecs)
    assert "Balance: 2/9" in text
    assert read_infotext(engine, text, StereoRequest).to_request() == request
    assert read_infotext(engine, text, Txt2ImgRequest).report.messages() == [
        "Balance (2/9): txt2img has no such field."
    ]


def read_png(engine: Engine, **items: str) -> dict[str, Any]:
    """Return what the HTTP API reads from an image with these texts."""
    info, file = PngInfo(), io.BytesIO()
    for key, value in items.items():
        info.add_text(key, value)
    Image.new("RGB", (8, 8)).save(file, format="PNG", pnginfo=info)
    app = FastAPI()
    routes.add_routes(app, engine)
    image = base64.b64encode(file.getvalue()).decode("ascii")
    return TestClient(app).post("/sdapi/v1/png-info", json={"image": image}).json()


def test_a_program_whose_infotext_is_read_is_a_row(engine: Engine):
    row = Dialect(
        "Painter",
        lambda text: text.pairs.get("App") == "Painter 2",
        key_aliases={"Rounds": "Steps"},
        default_pairs={"RNG": "CPU"},
        warning="{} mixes its own colours.",
    )
    engine.registries.dialects.add(row, before="A1111")
    text = "a cat\nRounds: 7, Sampler: Euler, Seed: 3, App: Painter 2"
    result = read_infotext(engine, text, Txt2ImgRequest)
    assert result.report.origin == "Painter 2"
    assert result.to_request().steps == 7
    assert result.override_settings == {"randn_source": "CPU"}
    assert "Painter mixes its own colours." in read_png(engine, parameters=text)["warnings"]


def test_a_program_that_writes_json_is_a_row(engine: Engine):
    row = JsonFormat(
        "Painter",
        lambda items: parse_json_object(items.get("painter", "")),
        ("motif",),
        ("omit",),
        {"rounds": "Steps", "seed": "Seed"},
        lambda data: {"Size": f"{data['side']}x{data['side']}"},
    )
    engine.registries.json_formats.add(row)
    text = '{"motif": "a cat", "omit": "a dog", "rounds": 7, "seed": 3, "side": 256}'
    assert read_png(engine, painter=text)["info"] == (
        "a cat\nNegative prompt: a dog\nSteps: 7, Seed: 3, Size: 256x256"
    )


class ShoutingSettings(Settings):
    """Settings with one more emphasis mode."""

    emphasis: Literal["None", "Ignore", "Original", "No norm", "Shout"] = param(
        "Original",
        "Emphasis mode",
        help="Shout restores the mean, too.",
        infotext="Emphasis",
        section="prompt",
    )


def test_an_emphasis_mode_is_a_row(tokenizer: ClipTokenizer):
    emphases = EMPHASES.copy()
    emphases.add(Emphasis("Shout", parses_brackets=False))
    settings = ShoutingSettings(emphasis="Shout")
    chunker = Chunker.from_settings(tokenizer, settings, emphases=emphases)
    (chunk,) = chunker.split_into_chunks("(cat)")
    assert set(chunk.weights) == {1.0}
    request = Txt2ImgRequest(prompt="(cat)", seed=1)
    assert "Emphasis: Shout" in infotext.create_infotext(request, {}, settings)


def test_a_few_step_model_is_a_row():
    row = FewStepModel("Quick", "quick", max_cfg_scale=3, max_steps=6)
    request = Txt2ImgRequest(steps=4, cfg_scale=7)
    assert few_step_note("dream_quick", request, "Euler", "Simple", (row,)) == (
        "dream_quick seems to be a Quick model: a CFG scale of 1 to 3 suits it better."
    )
