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


def test_infotext_fields_and_missing_files_are_rendered():
    infotext = parse_infotext(TEXT)
    result = interpret_infotext(infotext, make_context(), Txt2ImgRequest)
    assert "a &lt;b&gt;\nNegative prompt: dog" in render_infotext(infotext)
    fields = render_fields(infotext, result)
    assert "<caption>Written by A1111</caption>" in fields
    assert "<tr><td>Steps</td><td>20</td><td></td></tr>" in fields
    assert (
        '<tr class="refused"><td>Script</td><td>X/Y/Z plot</td><td>scripts are not supported.</td></tr>'
        in fields
    )
    assert "<td>&lt;i&gt;</td><td>this key is unknown.</td>" in fields
    assert "The picture was made with gone, which is not here." in render_report(result)


def test_an_empty_infotext_renders_as_nothing():
    infotext = parse_infotext("")
    result = interpret_infotext(infotext, make_context(), Txt2ImgRequest)
    assert (render_infotext(infotext), render_fields(infotext, result)) == ("", "")


def test_a_verdict_shows_the_difference_and_what_could_not_be_matched():
    grey = Image.new("RGB", (8, 8), (9, 9, 9))
    comparison = compare(grey, Image.new("RGB", (8, 8), (19, 9, 9)))
    verdict = render_verdict(ReproductionResult("Not the same.", ("One <thing>.",), comparison))
    assert '<p class="verdict">Not the same.</p>' in verdict
    assert "shows where they differ, brightened 25 times.</p>" in verdict
    assert "<li>One &lt;thing&gt;.</li>" in verdict
    assert (
        render_verdict(ReproductionResult("Identical.", (), compare(grey, grey)))
        == '<p class="verdict">Identical.</p>'
    )
