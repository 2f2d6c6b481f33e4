from __future__ import annotations

from PIL import Image

from modules.engine.reproduce import ReproductionResult
from modules.images.compare import compare
from modules.infotext import interpret_infotext, parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.tabs.png_info.rendering import (
    render_fields,
    render_infotext,
    render_report,
    render_verdict,
)
from tests.infotext.context import make_context

TEXT = "a <b>\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1, Script: X/Y/Z plot, Odd: <i>, Model: gone"


def test_a_picture_is_told_by_its_text_its_fields_and_what_is_missing():
    words = parse_infotext(TEXT)
    reading = interpret_infotext(words, make_context(), Txt2ImgRequest)
    assert "a &lt;b&gt;\nNegative prompt: dog" in render_infotext(words)
    fields = render_fields(words, reading)
    assert "<caption>Written by A1111</caption>" in fields
    assert "<tr><td>Steps</td><td>20</td><td></td></tr>" in fields
    assert (
        '<tr class="refused"><td>Script</td><td>X/Y/Z plot</td><td>scripts are not supported.</td></tr>'
        in fields
    )
    assert "<td>&lt;i&gt;</td><td>nothing here knows this key.</td>" in fields
    assert "The picture was made with gone, which is not here." in render_report(reading)


def test_nothing_is_told_of_an_empty_text():
    words = parse_infotext("")
    assert (
        render_infotext(words),
        render_fields(words, interpret_infotext(words, make_context(), Txt2ImgRequest)),
    ) == ("", "")


def test_a_verdict_tells_the_difference_and_what_could_not_be_matched():
    grey = Image.new("RGB", (8, 8), (9, 9, 9))
    found = compare(grey, Image.new("RGB", (8, 8), (19, 9, 9)))
    told = render_verdict(ReproductionResult("Not the same.", ("One <thing>.",), found))
    assert '<p class="verdict">Not the same.</p>' in told
    assert "shows where they differ, brightened 25 times.</p>" in told
    assert "<li>One &lt;thing&gt;.</li>" in told
    assert (
        render_verdict(ReproductionResult("Identical.", (), compare(grey, grey)))
        == '<p class="verdict">Identical.</p>'
    )
