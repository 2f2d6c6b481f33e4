"""img2img and Inpaint in Chromium: uploads, brush strokes, sending, reloads, batches."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ui.browsing import needs_browser, wait_until_filled
from tests.ui.idle import wait_until_idle

pytestmark = needs_browser

TITLES = {"img2img": "img2img", "inpaint": "Inpaint"}


@pytest.fixture
def photo(server) -> Path:
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[..., 2] = np.linspace(60, 250, 96)[None]
    pixels[..., 1] = np.linspace(0, 120, 64)[:, None]
    Image.fromarray(pixels).save(server.data / "photo.png")
    return server.data / "photo.png"


def open_tab(page, prefix: str) -> None:
    page.click(f"button[role=tab]:has-text('{TITLES[prefix]}')")
    page.wait_for_selector(f"#{prefix}_generate[data-filled]")
    wait_until_idle(page)


def upload(page, prefix: str, file: Path) -> None:
    page.set_input_files(f"#{prefix}_init_image input[type=file]", file)
    page.wait_for_selector(f"#{prefix}_init_image_board canvas:visible")
    page.wait_for_selector(f"#{prefix}_init_image_board .size:has-text('96')")


def remove_image(page, prefix: str) -> None:
    if page.is_visible(f"#{prefix}_init_image_board canvas"):
        press_tool(page, prefix, "remove")
        page.wait_for_selector(f"#{prefix}_init_image_board canvas", state="hidden")


def press_tool(page, prefix: str, name: str) -> None:
    page.click(f"#{prefix}_init_image_board [data-do={name}]")


def stroke(page, prefix: str, *points: tuple[float, float]) -> None:
    """Draw with the mouse; the points are fractions of the canvas size."""
    canvas = page.locator(f"#{prefix}_init_image_board canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    positions = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*positions[0])
    page.mouse.down()
    for position in positions[1:]:
        page.mouse.move(*position, steps=4)
    page.mouse.up()


def zoom_in(page) -> None:
    """Turn the wheel over the canvas; the page gets the event after the canvas."""
    page.evaluate("addEventListener('wheel', () => { window.wheeled = true }, {once: true})")
    page.mouse.wheel(0, -400)
    page.wait_for_function("window.wheeled")


def strokes(page, prefix: str) -> list[dict]:
    text = page.input_value(f"#{prefix}_init_image_strokes textarea")
    return json.loads(text)["strokes"] if text else []


def fill(page, prefix: str, prompt: str, steps: int = 2, **numbers: float) -> None:
    page.fill(f"#{prefix}_prompt textarea", prompt)
    for name, value in {"steps": steps, **numbers}.items():
        page.fill(f"#{prefix}_{name} input[type=number]", str(value))
        page.keyboard.press("Tab")
    wait_until_idle(page)


def generated(server, page, prefix: str, prompt: str) -> np.ndarray:
    page.click(f"#{prefix}_generate")
    page.wait_for_selector(f"#{prefix}_infotext pre:has-text('{prompt}')")
    saved = re.search(r"Saved: (.+)", page.inner_text(f"#{prefix}_infotext"))
    assert saved is not None
    with Image.open(server.data / "outputs" / saved[1]) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_sketched_image_is_repainted_and_a_reload_keeps_image_and_strokes(
    server, page, photo: Path
):
    open_tab(page, "img2img")
    remove_image(page, "img2img")
    upload(page, "img2img", photo)
    page.click("#img2img_take_size")
    page.wait_for_function("document.querySelector('#img2img_width input').value === '96'")
    stroke(page, "img2img", (0.2, 0.5), (0.8, 0.5))
    stroke(page, "img2img", (0.2, 0.2), (0.4, 0.2))
    press_tool(page, "img2img", "undo")
    (kept,) = strokes(page, "img2img")
    assert kept["colour"] == "#e02020"
    fill(page, "img2img", "a red circle, sketched", denoising_strength=0.05)
    pixels = generated(server, page, "img2img", "a red circle, sketched")
    assert pixels.shape == (64, 96, 3)
    assert pixels[32, 48, 0] > 80 > pixels[4, 48, 0], "the sketch is part of the init image"

    page.reload()
    wait_until_filled(page)
    open_tab(page, "img2img")
    page.wait_for_selector("#img2img_init_image_board canvas:visible")
    page.wait_for_function("document.querySelector('#img2img_init_image_strokes textarea').value")
    assert strokes(page, "img2img") == [kept]
    press_tool(page, "img2img", "clear")
    assert strokes(page, "img2img") == []
    press_tool(page, "img2img", "undo")
    assert strokes(page, "img2img") == [kept]

    page.click("#img2img_to_inpaint")
    page.wait_for_selector("#inpaint_init_image_board canvas:visible")
    assert "/outputs/img2img-images/" in page.get_attribute("#inpaint_init_image img", "src")
    assert page.input_value("#inpaint_prompt textarea") == "a red circle, sketched"
    assert page.input_value("#inpaint_width input[type=number]") == "96"


def test_the_masked_area_is_repainted_and_the_rest_is_unchanged(server, page, photo: Path):
    open_tab(page, "inpaint")
    remove_image(page, "inpaint")
    upload(page, "inpaint", photo)
    page.click("#inpaint_take_size")
    fill(page, "inpaint", "a red house, inpainted", mask_blur=2)
    page.click("#inpaint_generate")
    page.wait_for_selector("#inpaint_message p:has-text('The mask is empty')")
    assert page.input_value("#inpaint_prompt textarea") == "a red house, inpainted"

    stroke(page, "inpaint", (0.2, 0.5), (0.5, 0.5))
    pixels = generated(server, page, "inpaint", "a red house, inpainted")
    with Image.open(photo) as image:
        original = np.asarray(image).astype(int)
    changed = np.abs(pixels - original).max(axis=2) > 0
    assert changed[32, 24:44].any()
    assert not changed[:, 66:].any() and not changed[:8].any() and not changed[56:].any()


def test_the_brush_is_finer_when_zoomed_in_and_the_eraser_erases_and_the_page_fits_a_phone(
    server, page, photo: Path
):
    open_tab(page, "inpaint")
    remove_image(page, "inpaint")
    upload(page, "inpaint", photo)
    stroke(page, "inpaint", (0.5, 0.5), (0.6, 0.5))
    zoom_in(page)
    press_tool(page, "inpaint", "eraser")
    stroke(page, "inpaint", (0.5, 0.5), (0.6, 0.5))
    painted, erased = strokes(page, "inpaint")
    assert erased["erase"] and "erase" not in painted
    assert erased["radius"] < painted["radius"] / 2
    press_tool(page, "inpaint", "move")
    stroke(page, "inpaint", (0.5, 0.5), (0.2, 0.2))
    assert len(strokes(page, "inpaint")) == 2, "the picture was moved, not painted on"

    page.set_viewport_size({"width": 390, "height": 844})
    tops = {
        name: page.locator(f"#inpaint_{name}").bounding_box()["y"]
        for name in ("generate", "init_image_board", "gallery", "steps")
    }
    assert sorted(tops, key=tops.get) == list(tops)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("webui.open('Depth')")
    page.wait_for_selector("#depth_generate:visible")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_batch_of_uploads_is_saved_in_its_output_folder(server, page, photo: Path):
    files = [server.data / name for name in ("ant.png", "bee.png", "cat.png")]
    for file in files:
        file.write_bytes(photo.read_bytes())
    files[1].write_bytes(b"no picture")
    open_tab(page, "img2img")
    fill(page, "img2img", "a red circle, many", width=64, height=64)
    page.click("#tab_img2img button:has-text('Batch: many pictures')")
    page.set_input_files("#img2img_batch_files input[type=file]", files)
    page.fill("#img2img_batch_output textarea, #img2img_batch_output input", "pets")
    wait_until_idle(page)
    page.click("#img2img_batch")
    page.wait_for_selector("#img2img_message p:has-text('bee.png:')")
    page.wait_for_selector("#img2img_generate:visible")
    assert sorted(path.name for path in server.data.glob("outputs/pets/*")) == [
        "ant.png",
        "cat.png",
    ]
