"""Tables are written between their comments, from what they describe."""

from __future__ import annotations

import pytest

from modules.engine.engine import Engine
from modules.infotext import parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import FakeExecutor
from tools.docs_tables import infotext_keys, render, settings, table_names, upscalers

STALE = "Before.\n\n<!-- table: upscalers -->\n\n| old |\n\n<!-- end -->\n\nAfter.\n"


def test_a_stale_table_is_replaced_and_the_rest_stays():
    text = render(STALE)
    assert text == (
        f"Before.\n\n<!-- table: upscalers -->\n\n{upscalers()}\n\n<!-- end -->\n\nAfter.\n"
    )
    assert render(text) == text
    assert table_names(text) == ["upscalers"]


def test_an_unknown_table_is_an_error():
    with pytest.raises(ValueError, match="no table 'upscaler'"):
        render(STALE.replace("upscalers", "upscaler"))


def test_a_table_without_an_end_is_an_error():
    with pytest.raises(ValueError, match="no end"):
        render(STALE.replace("<!-- end -->", ""))


def test_an_option_has_its_name_default_and_values():
    assert (
        "| Clip skip | `CLIP_stop_at_last_layers` | 1 | 1 to 12 | The layer of the text encoder"
        in settings()
    )
    assert "| `GPU` | `GPU`, `CPU`, `NV` |" in settings()


def test_every_key_of_a_saved_infotext_is_in_the_table(engine: Engine, executor: FakeExecutor):
    table = infotext_keys()
    request = Txt2ImgRequest(
        prompt="Negative prompt: a cat",
        enable_hr=True,
        subseed_strength=0.5,
        seed_resize_from_w=512,
        seed_resize_from_h=512,
        sd_vae="None",
    )
    job = engine.submit(request, "api")
    executor.wait_until_idle()
    assert job.wait(60)
    pairs = parse_infotext(job.status().images[0].infotext).pairs
    assert {"Hires upscale", "App", "Variation seed", "Seed resize from"} <= set(pairs)
    assert [key for key in pairs if f"| {key} |" not in table] == []
