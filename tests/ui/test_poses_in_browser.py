"""The editor of poses: a unit of type OpenPose opens it, and its drawing becomes the unit's picture."""

from __future__ import annotations

import io
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.ui.browsing import needs_browser, wait_for_value, wait_until_filled

pytestmark = needs_browser

UNIT = "#txt2img_control_units_0"
SIZES = ({"width": 1280, "height": 800}, {"width": 390, "height": 844})


def open_unit(page) -> None:
    wait_until_filled(page)
    if page.locator("#txt2img_controlnet details").get_attribute("open") is None:
        page.click("#txt2img_controlnet summary")
    page.wait_for_selector(f"{UNIT}_enabled:visible")
    for name, value in (("width", "128"), ("height", "128")):
        page.fill(f"#txt2img_{name}", value)
    page.locator(f"{UNIT}_type").get_by_label("OpenPose", exact=True).check()


def place(page, point: str) -> str:
    return page.get_attribute(f"[data-point='{point}']", "aria-label").split(": ")[1]


@pytest.mark.parametrize("viewport", SIZES, ids=("wide", "narrow"))
def test_a_pose_is_edited_by_keys_and_mouse_and_becomes_the_picture(server, page, viewport):
    page.set_viewport_size(viewport)
    open_unit(page)
    page.click(f"{UNIT}_pose")
    page.wait_for_selector("dialog.pose-editor[open]")
    assert place(page, "0.0") == "64, 19"
    page.focus("[data-point='0.0']")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert place(page, "0.0") == "63, 29"
    page.keyboard.press("Delete")
    assert page.locator("[data-point='0.0']").count() == 0
    page.keyboard.press("Space")  # its box has the focus
    assert place(page, "0.0") == "64, 19"

    stage = page.locator(".pose-stage").bounding_box()
    dot = page.locator("[data-point='0.4']").bounding_box()
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + stage["height"] / 4, steps=3)
    page.mouse.up()
    x, y = (int(number) for number in place(page, "0.4").split(", "))
    assert (x, y) == (pytest.approx(32, abs=3), pytest.approx(32, abs=3))

    page.click("text=Add a person")
    assert page.evaluate("document.activeElement.dataset.point") == "1.0"
    page.click("text=Remove the person")
    assert page.locator("[data-point^='1.']").count() == 0
    page.click("dialog.pose-editor .generate")
    page.wait_for_selector("dialog.pose-editor", state="detached")
    wait_for_value(page, f"{UNIT}_module", "none")
    page.wait_for_selector(f"{UNIT}_image .paint-view:visible")
    upload = page.evaluate(
        """async () => {
          const unit = document.querySelector("#txt2img_control_units_0_image .paint-view img, #txt2img_control_units_0_image img");
          return unit.src;
        }"""
    )
    with urllib.request.urlopen(upload) as answer, Image.open(io.BytesIO(answer.read())) as image:
        drawn = np.asarray(image.convert("RGB"))
    assert drawn.shape == (128, 128, 3)
    assert drawn[y, x].tolist() == [170, 255, 0]  # the right wrist

    page.click(f"{UNIT}_pose")  # once more, with the pose that was edited
    page.wait_for_selector("dialog.pose-editor[open]")
    assert place(page, "0.4") == f"{x}, {y}"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.pose-editor", state="detached")
