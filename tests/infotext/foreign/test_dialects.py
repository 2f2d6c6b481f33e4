from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modules import infotext
from modules.images.metadata import Metadata
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.infotext.context import make_context

FOLDER = Path(__file__).parents[2] / "goldens" / "infotext"
TEXTS = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))
IMAGES = json.loads((FOLDER / "pictures.json").read_text(encoding="utf-8"))
REQUEST_CLASSES: Any = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}


def read_golden(golden: dict[str, Any]) -> dict[str, Any]:
    """Return what is read from a golden's text or from its image's metadata."""
    if "text" in golden:
        parsed = infotext.parse_infotext(golden["text"])
    else:
        parsed = infotext.extract_infotext(Metadata("PNG", (64, 64), golden["items"]))
    request_class = REQUEST_CLASSES[golden["model"]]
    result = infotext.interpret_infotext(parsed, make_context(), request_class)
    defaults = dict(request_class())
    return {
        "origin": result.report.origin,
        "values": {name: value for name, value in result.values.items() if value != defaults[name]},
        "overrides": result.override_settings,
        "from a picture": result.needs_init_image,
        "report": result.report.messages(),
    }


@pytest.mark.parametrize("golden", [*TEXTS, *IMAGES], ids=lambda golden: golden["name"])
def test_every_programs_infotext_is_read(golden: dict[str, Any]):
    expected = {
        key: golden[key] for key in ("origin", "values", "overrides", "from a picture", "report")
    }
    assert read_golden(golden) == expected
