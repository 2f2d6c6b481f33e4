"""ControlNet units on the page: what they are given makes a picture, whose infotext fills them again."""

from __future__ import annotations

from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image, ImageDraw

from tests.models.control.control_files import write_demo_controlnet, write_demo_ip_adapter
from tests.ui.browsing import (
    needs_browser,
    open_tab,
    wait_for_value,
    wait_until_filled,
    wait_until_kept,
)

pytestmark = needs_browser

UNIT = "#txt2img_control_units_0"
SIZES = ({"width": 1280, "height": 800}, {"width": 390, "height": 844})


@pytest.fixture(scope="module")
def model(server) -> str:
    """A control model for the demo model, by its file's name."""
    write_demo_controlnet(server.data / "models" / "ControlNet" / "sketch_canny.safetensors")
    with urlopen(f"{server.url}controlnet/model_list?update=true") as answer:
        assert b"sketch_canny" in answer.read()
    return "sketch_canny"


@pytest.fixture
def drawing(server) -> Path:
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((12, 12, 52, 52), fill="black")
    image.save(server.data / "drawing.png")
    return server.data / "drawing.png"


def open_section(page) -> None:
    section = page.locator("#txt2img_controlnet details")
    if section.get_attribute("open") is None:
        page.click("#txt2img_controlnet summary")
    page.wait_for_selector(f"{UNIT}_enabled:visible")


def choose_type(page, name: str) -> None:
    page.locator(f"{UNIT}_type").get_by_label(name, exact=True).check()


def label_of(page, name: str) -> str:
    return page.inner_text(f"label[for='{UNIT[1:]}_{name}']")


@pytest.mark.parametrize("viewport", SIZES, ids=("wide", "narrow"))
def test_a_unit_makes_a_picture_and_is_filled_from_its_infotext(
    server, page, model, drawing, viewport
):
    page.set_viewport_size(viewport)
    page.reload()  # the list of control models
    wait_until_filled(page)
    open_section(page)
    choose_type(page, "Canny")
    wait_for_value(page, f"{UNIT}_module", "canny")
    title = page.input_value(f"{UNIT}_model")
    assert title.startswith(f"{model} [")
    assert [label_of(page, name) for name in ("processor_res", "threshold_a", "threshold_b")] == [
        "Resolution",
        "Low Threshold",
        "High Threshold",
    ]
    page.set_input_files(f"{UNIT}_image_file", drawing)
    page.wait_for_selector(f"{UNIT}_image_board .paint-view:visible")
    page.click(f"{UNIT}_preview")
    page.wait_for_selector(f"{UNIT} .unit-preview img[src*='/uploads/']:visible")
    page.check(f"{UNIT}_enabled")
    page.wait_for_selector("#txt2img_controlnet summary:has-text('1 unit on')")
    page.fill(f"{UNIT}_weight", "0.7")
    page.fill(f"{UNIT}_threshold_a", "300")
    page.wait_for_selector(f"{UNIT} .field-problem:has-text('the largest is 255')")
    page.fill(f"{UNIT}_threshold_a", "60")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"

    page.fill("#txt2img_prompt", "a red circle on a blue background")
    for name, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#txt2img_{name}", str(value))
    before = set(server.images())
    page.click("#txt2img_generate")
    page.wait_for_selector(
        f"#txt2img_infotext:has-text('ControlNet 0: \"Module: canny, Model: {title}, Weight: 0.7')"
    )
    (made,) = set(server.images()) - before

    page.uncheck(f"{UNIT}_enabled")
    choose_type(page, "All")
    page.fill(f"{UNIT}_weight", "1")
    open_tab(page, "PNG Info")
    page.set_input_files("#png_info_image input[type=file]", made)
    page.wait_for_selector(".png-info-facts :text('add that of ControlNet 0')")
    page.click("#png_info_to_txt2img")
    wait_for_value(page, f"{UNIT}_weight", "0.7")
    wait_for_value(page, f"{UNIT}_model", title)
    wait_for_value(page, f"{UNIT}_threshold_a", "60")
    assert page.is_checked(f"{UNIT}_enabled")
    assert page.locator(f"{UNIT}_type").get_by_label("Canny", exact=True).is_checked()
    assert page.is_visible(f"{UNIT}_image_board .paint-view"), "the picture stays"


def test_a_drawing_is_kept_and_units_have_tabs_by_keyboard(page):
    page.fill("#txt2img_width", "64")
    page.fill("#txt2img_height", "64")
    open_section(page)
    page.click(f"{UNIT}_canvas")
    view = page.locator(f"{UNIT}_image_board .paint-view")
    page.wait_for_function(  # the picture is shown
        "(id) => document.querySelector(`${id} .paint-view`)?.style.height",
        arg=f"{UNIT}_image_board",
    )
    view.focus()
    page.keyboard.press("Enter")  # a dot in the middle
    page.wait_for_selector(f"{UNIT}_image_board[data-strokes='1']")
    page.focus("#txt2img_control_units_tab_0")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#txt2img_control_units_1:visible")
    page.check("#txt2img_control_units_1_enabled")
    page.wait_for_function(
        "Object.values(localStorage).some((text) => text.includes('image_strokes') && text.includes('\"enabled\":true'))"
    )
    page.reload()
    wait_until_filled(page)
    page.wait_for_selector("#txt2img_controlnet summary:has-text('1 unit on')")
    page.click("#txt2img_controlnet summary")
    page.wait_for_selector("#txt2img_control_units_1:visible")
    page.click("#txt2img_control_units_tab_0")
    page.wait_for_selector(f"{UNIT}_image_board[data-strokes='1']")


@pytest.fixture(scope="module")
def adapter(server) -> str:
    """An IP-Adapter for the demo model, by its file's name."""
    models = server.data / "models"
    write_demo_ip_adapter(
        models / "ControlNet" / "style_ip.safetensors", models / "clip_vision" / "tiny.safetensors"
    )
    with urlopen(f"{server.url}controlnet/model_list?update=true") as answer:
        assert b"style_ip" in answer.read()
    return "style_ip"


@pytest.fixture
def pictures(server) -> list[Path]:
    paths = [server.data / f"{colour}.png" for colour in ("red", "lime", "blue")]
    for path in paths:
        Image.new("RGB", (48, 32), path.stem).save(path)
    return paths


def colours_of(page, count: int, unit: str = UNIT) -> list[str]:
    """Return the colours of a unit's further pictures in their order, once there are so many."""
    page.wait_for_function(
        """([list, count]) => {
          const all = [...document.querySelectorAll(`${list} img`)];
          return all.length === count && all.every((image) => image.complete && image.naturalWidth);
        }""",
        arg=[f"{unit}_more_images .picture-list", count],
    )
    return page.evaluate(
        """(list) => [...document.querySelectorAll(`${list} img`)].map((image) => {
          const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          const [red, green] = context.getImageData(1, 1, 1, 1).data;
          return red ? "red" : green ? "lime" : "blue";
        })""",
        f"{unit}_more_images .picture-list",
    )


def choose_ip_adapter(page) -> str:
    """Choose the IP-Adapter in unit 0, and return its title."""
    page.reload()  # the list of control models
    wait_until_filled(page)
    open_section(page)
    choose_type(page, "IP-Adapter")
    page.wait_for_selector(f"{UNIT}_more_images:visible")
    return page.input_value(f"{UNIT}_model")


@pytest.mark.parametrize("viewport", SIZES, ids=("wide", "narrow"))
def test_an_ip_adapter_takes_several_pictures(page, model, adapter, drawing, pictures, viewport):
    page.set_viewport_size(viewport)
    assert choose_ip_adapter(page).startswith(f"{adapter} [")
    more = page.locator(f"{UNIT}_more_images")
    choose_type(page, "Canny")
    wait_for_value(page, f"{UNIT}_module", "canny")
    assert not more.is_visible(), "a ControlNet takes one picture"
    assert page.locator(f"{UNIT} option:has-text('(missing)')").count() == 0
    choose_type(page, "IP-Adapter")
    # Those after the first one are further pictures, moved and removed by keys and by the mouse.
    page.set_input_files(f"{UNIT}_image_file", [drawing, *pictures])
    assert colours_of(page, 3) == ["red", "lime", "blue"]
    forward = more.get_by_role("button", name="Move picture 4 forward (Left)")
    forward.press("Enter")
    page.wait_for_selector(f"{UNIT}_more_images :text('Picture 4 is now picture 3.')")
    assert colours_of(page, 3) == ["red", "blue", "lime"]
    page.keyboard.press("ArrowLeft")  # on the button of the picture that was moved
    assert colours_of(page, 3) == ["blue", "red", "lime"]
    items = more.locator(".picture-item")
    items.nth(2).locator("img").drag_to(items.nth(0).locator("img"))
    assert colours_of(page, 3) == ["lime", "blue", "red"]
    more.get_by_role("button", name="Remove picture 4 (Delete)").press("Delete")
    assert colours_of(page, 2) == ["lime", "blue"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page, context="#txt2img_controlnet").response["violations"]
    assert [violation["id"] for violation in found] == []
    page.locator(f"{UNIT}_image_board [data-do=remove]").click()
    assert colours_of(page, 1) == ["blue"]  # the other one is now the unit's own


def test_several_pictures_are_copied_kept_and_reproduced(
    server, page, model, adapter, drawing, pictures
):
    title = choose_ip_adapter(page)
    page.set_input_files(f"{UNIT}_image_file", [drawing, *pictures[1:]])
    assert colours_of(page, 2) == ["lime", "blue"]
    page.check(f"{UNIT}_enabled")
    page.select_option("#txt2img_control_units_copy", label="Unit 2")
    page.wait_for_selector("#txt2img_control_units_2:visible")
    assert colours_of(page, 2, "#txt2img_control_units_2") == ["lime", "blue"]
    page.click("#txt2img_control_units_clear")
    page.wait_for_selector("#txt2img_control_units_2_more_images", state="hidden")
    page.wait_for_selector("#txt2img_controlnet summary:has-text('1 unit on')")
    page.click("#txt2img_control_units_tab_0")
    page.fill("#txt2img_prompt", "a red circle")
    for name, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#txt2img_{name}", str(value))
    wait_until_kept(page, "txt2img", "steps", 2)
    page.reload()
    wait_until_filled(page)
    open_section(page)
    assert colours_of(page, 2) == ["lime", "blue"]
    before = set(server.images())
    page.click("#txt2img_generate")
    page.wait_for_selector(f"#txt2img_infotext:has-text('Model: {title}')")
    (made,) = set(server.images()) - before

    open_tab(page, "PNG Info")
    page.set_input_files("#png_info_image input[type=file]", made)
    page.click("#png_info_generate")
    page.wait_for_selector("#tab_PNG_Info :text('Identical')")
    page.click("#png_info_to_txt2img")
    wait_for_value(page, f"{UNIT}_model", title)
    assert colours_of(page, 2) == ["lime", "blue"]  # which no infotext has
    choose_type(page, "Canny")
    page.wait_for_selector(f"{UNIT}_more_images", state="hidden")  # and the control model takes one
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext:has-text('Module: canny')")
