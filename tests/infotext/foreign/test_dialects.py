from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modules import infotext
from modules.images.metadata import Metadata
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.infotext.context import known

FOLDER = Path(__file__).parents[2] / "goldens" / "infotext"
TEXTS = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))
PICTURES = json.loads((FOLDER / "pictures.json").read_text(encoding="utf-8"))
MODELS: Any = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}


def told(golden: dict[str, Any]) -> dict[str, Any]:
    """Return what is read of a golden's text, or of the texts in its picture."""
    if "text" in golden:
        words = infotext.parse_infotext(golden["text"])
    else:
        words = infotext.extract_infotext(Metadata("PNG", (64, 64), golden["items"]))
    model = MODELS[golden["model"]]
    reading = infotext.interpret_infotext(words, known(), model)
    defaults = dict(model())
    return {
        "origin": reading.report.origin,
        "values": {
            name: value for name, value in reading.values.items() if value != defaults[name]
        },
        "overrides": reading.override_settings,
        "from a picture": reading.needs_init_image,
        "report": reading.report.messages(),
    }


@pytest.mark.parametrize("golden", [*TEXTS, *PICTURES], ids=lambda golden: golden["name"])
def test_every_program_is_understood(golden: dict[str, Any]):
    expected = {
        key: golden[key] for key in ("origin", "values", "overrides", "from a picture", "report")
    }
    assert told(golden) == expected
