"""The forms as the browser gets them."""

from __future__ import annotations

import json
from dataclasses import replace

from modules.engine.engine import Engine
from modules.params.param import params_of
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.ui.forms.layout import Section
from modules.ui.forms.layouts import DEPTH, EXTRAS, IMG2IMG, INPAINT, TXT2IMG
from modules.ui.forms.schema import form_schema
from modules.ui.page import head, page_address, page_files


def test_every_field_of_every_tab_has_one_place(engine: Engine):
    for layout in (TXT2IMG, IMG2IMG, INPAINT, DEPTH, EXTRAS):
        request_type = engine.registries.request_class(layout.task)
        schema = form_schema(layout, request_type, Settings)
        rows = [*schema["rows"], *(row for part in schema["sections"] for row in part["rows"])]
        placed = [name for row in rows for name in row]
        placed += [part["switch"] for part in schema["sections"] if part["switch"]]
        assert len(placed) == len(set(placed))
        prompts = {"prompt", "negative_prompt", "styles"} if schema["generates"] else set()
        assert set(placed) | prompts == set(schema["fields"])
        assert all(part["rows"] for part in schema["sections"])


def test_a_field_without_a_place_goes_to_more_and_more_is_there_only_for_it():
    without = replace(TXT2IMG, sections=(Section("Variation seed", (("subseed",),)),))
    titles = [part["title"] for part in form_schema(without, Txt2ImgRequest, Settings)["sections"]]
    assert titles == ["Variation seed", "More"]
    whole = form_schema(TXT2IMG, Txt2ImgRequest, Settings)
    assert "More" not in [part["title"] for part in whole["sections"]]


def test_a_field_is_described_as_it_is_declared():
    fields = form_schema(DEPTH, DepthRequest, Settings)["fields"]
    declared = params_of(DepthRequest)
    assert fields["width"]["multiple"] == 8
    assert (fields["steps"]["kind"], fields["steps"]["least"], fields["steps"]["most"]) == (
        "slider",
        1,
        1000,
    )
    assert (fields["init_image"]["kind"], fields["seed"]["kind"]) == ("image", "seed")
    assert (fields["sampler_name"]["kind"], fields["sampler_name"]["list"]) == (
        "choice",
        "samplers",
    )
    assert fields["depth_invert"]["kind"] == "check"
    assert all(fields[name]["help"] == declared[name].help for name in fields)


def test_a_setting_with_a_control_in_a_form_is_marked():
    fields = form_schema(IMG2IMG, Img2ImgRequest, Settings)["fields"]
    assert fields["img2img_fix_steps"]["override"]
    assert "override" not in fields["steps"]


def test_the_address_of_the_page_changes_with_its_content(engine: Engine):
    files = page_files(engine)
    page = json.loads(files["page.json"])
    assert page["tabs"][:3] == ["txt2img", "img2img", "Inpaint"]
    assert set(page["forms"]) == {"txt2img", "img2img", "inpaint", "depth", "extras"}
    assert set(page["scripts"]) == {"txt2img", "img2img", "inpaint", "depth2img"}
    address = page_address(files)
    assert page_address({**files, "core.js": b"other"}) != address
    assert f'href="/root{address}/theme.css"' in head(files, None, "/root")
