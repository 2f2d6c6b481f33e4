"""Picture fields in Chromium: uploads, strokes, masks, inpaint sketches, sizes, outpainting, depth, batches."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ui.browsing import needs_browser, wait_for_value, wait_until_filled

pytestmark = needs_browser

# Puts a file into a paste or drop event, as the system does.
TRANSFER = """
  ([selector, kind, name, bytes]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
    const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: files, bubbles: true, cancelable: true})
      : new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true});
    document.querySelector(selector).dispatchEvent(event);
  }
"""
KEPT_STROKES = """(prefix) => {
  const {init_image_strokes: text} = JSON.parse(sessionStorage.getItem(`webui-form-${prefix}`)) ?? {};
  const strokes = text ? JSON.parse(text).strokes : [];
  const shown = document.querySelector(`#${prefix}_init_image_board`).dataset.strokes;
  return strokes.length === Number(shown ?? 0) && {strokes};
}"""


@pytest.fixture
def photo(server) -> Path:
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[..., 2] = np.linspace(60, 250, 96)[None]
    pixels[..., 1] = np.linspace(0, 120, 64)[:, None]
    Image.fromarray(pixels).save(server.data / "photo.png")
    return server.data / "photo.png"


def open_tab(page, title: str) -> str:
    """Open a generation tab without a picture and return its prefix."""
    page.evaluate("(hash) => { location.hash = hash }", f"#{title}")
    prefix = title.lower()
    page.wait_for_selector(f"#{prefix}_generate[data-filled]:visible")
    # A picture that the form has kept is asked for first.
    field = f"#{prefix}_init_image"
    remove = f"{field} :is(.picture-remove, [data-do=remove]):visible"
    page.wait_for_selector(f"{field} .drop-zone:visible, {remove}")
    if page.is_visible(remove):
        page.click(remove)
    page.wait_for_selector(f"#{prefix}_init_image .drop-zone:visible")
    return prefix


def upload(page, prefix: str, file: Path) -> None:
    page.set_input_files(f"#{prefix}_init_image_file", file)
    page.wait_for_selector(f"#{prefix}_init_image_board .paint-view:visible")
    page.wait_for_function(
        "(id) => document.querySelector(`#${id} .paint-view`).style.height",
        arg=f"{prefix}_init_image_board",
    )


def press_tool(page, prefix: str, name: str) -> None:
    page.click(f"#{prefix}_init_image_board [data-do={name}]")


def stroke(page, prefix: str, *points: tuple[float, float]) -> None:
    """Draw with the mouse; the points are fractions of the view's size."""
    view = page.locator(f"#{prefix}_init_image_board .paint-view")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    positions = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*positions[0])
    page.mouse.down()
    for position in positions[1:]:
        page.mouse.move(*position, steps=4)
    page.mouse.up()


def stroke_count(page, prefix: str) -> int:
    return int(page.get_attribute(f"#{prefix}_init_image_board", "data-strokes") or 0)


def kept_strokes(page, prefix: str) -> list[dict]:
    """Return the strokes as the form keeps them, which is what its request gets, once it keeps as many as are shown."""
    return page.wait_for_function(KEPT_STROKES, arg=prefix).json_value()["strokes"]


def note(page, prefix: str, name: str, words: str):
    """Return the note below a field when it says this."""
    selector = f".generation[data-form={prefix}] [data-note='{name}']:has-text('{words}')"
    page.wait_for_selector(selector)
    return page.locator(selector)


def take_size(page, prefix: str) -> None:
    """Set width and height to the picture's by the button that is offered."""
    fill(page, prefix, "", width=128, height=128)
    note(page, prefix, "scale_by", "size is 96x64").get_by_role("button").click()
    wait_for_value(page, f"#{prefix}_width", "96")
    wait_for_value(page, f"#{prefix}_height", "64")


def fill(page, prefix: str, prompt: str, **numbers: float) -> None:
    page.fill(f"#{prefix}_prompt", prompt)
    for name, value in {"steps": 2, **numbers}.items():
        page.fill(f"#{prefix}_{name}", str(value))


def generate(server, page, prefix: str, button: str = "generate") -> np.ndarray:
    """Press Generate and return the pixels of the one new image in the folder of the task."""
    before = set(server.data.glob("outputs/*/**/*.png"))
    page.click(f"#{prefix}_{button}")
    new: list[Path] = []

    def has_ended() -> bool:
        new[:] = set(server.data.glob("outputs/*/**/*.png")) - before
        return bool(new) and '"running"' not in queue_state(server)

    server.wait_until(has_ended)
    with Image.open(new[0]) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def queue_state(server) -> str:
    with urllib.request.urlopen(f"{server.url}internal/queue", timeout=60) as response:
        return response.read().decode()


def pixels_of(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_sketched_image_is_repainted_and_a_reload_keeps_image_and_strokes(
    server, page, photo: Path
):
    prefix = open_tab(page, "img2img")
    upload(page, prefix, photo)
    take_size(page, prefix)
    stroke(page, prefix, (0.2, 0.5), (0.8, 0.5))
    stroke(page, prefix, (0.2, 0.2), (0.4, 0.2))
    page.keyboard.press("Control+z")
    (kept,) = kept_strokes(page, prefix)
    assert kept["colour"] == "#e02020"
    fill(page, prefix, "a red circle, sketched", denoising_strength=0.05)
    pixels = generate(server, page, prefix)
    assert pixels.shape == (64, 96, 3)
    assert pixels[32, 48, 0] > 80 > pixels[4, 48, 0], "the sketch is part of the init image"

    page.reload()
    wait_until_filled(page)
    page.wait_for_selector("#img2img_init_image_board[data-strokes='1'] .paint-view:visible")
    assert kept_strokes(page, prefix) == [kept]
    press_tool(page, prefix, "clear")
    assert kept_strokes(page, prefix) == []
    press_tool(page, prefix, "undo")
    assert kept_strokes(page, prefix) == [kept]


def test_the_masked_area_is_repainted_and_the_rest_is_unchanged(server, page, photo: Path):
    prefix = open_tab(page, "Inpaint")
    upload(page, prefix, photo)
    take_size(page, prefix)
    fill(page, prefix, "a red house, inpainted", mask_blur=2)
    page.click("#inpaint_generate")
    page.wait_for_selector("text=The mask is empty")
    stroke(page, prefix, (0.2, 0.5), (0.5, 0.5))
    pixels = generate(server, page, prefix)
    changed = np.abs(pixels - pixels_of(photo)).max(axis=2) > 0
    assert changed[32, 24:44].any()
    assert not changed[:, 66:].any() and not changed[:8].any() and not changed[56:].any()


def test_an_inpaint_sketch_colours_the_picture_within_its_mask(server, page, photo: Path):
    prefix = open_tab(page, "Inpaint")
    upload(page, prefix, photo)
    take_size(page, prefix)
    page.check("#inpaint_inpaint_sketch")
    page.fill("#inpaint_init_image_colour", "#ff0000")
    stroke(page, prefix, (0.2, 0.5), (0.5, 0.5))
    assert kept_strokes(page, prefix)[0]["colour"] == "#ff0000"
    fill(page, prefix, "a red house, sketched", mask_blur=0, denoising_strength=0)
    pixels = generate(server, page, prefix)
    original = pixels_of(photo)
    assert pixels[32, 32, 0] > 80 > original[32, 32, 0]
    assert (pixels[:, 66:] == original[:, 66:]).all()
    page.uncheck("#inpaint_inpaint_sketch")


def test_the_source_of_the_mask_decides_what_is_shown(page, photo: Path):
    prefix = open_tab(page, "Inpaint")
    upload(page, prefix, photo)
    assert not page.is_visible("#inpaint_mask")
    page.check("#inpaint_mask_source input >> nth=1")
    page.wait_for_selector("#inpaint_mask .drop-zone:visible")
    assert not page.is_visible("#inpaint_init_image_board [data-do=eraser]")
    stroke(page, prefix, (0.2, 0.5), (0.5, 0.5))
    assert stroke_count(page, prefix) == 0, "the picture was moved, not painted on"
    page.check("#inpaint_mask_source input >> nth=0")
    page.wait_for_selector("#inpaint_mask", state="hidden")


def test_the_brush_is_finer_when_zoomed_in_and_keys_change_it(page, photo: Path):
    prefix = open_tab(page, "Inpaint")
    upload(page, prefix, photo)
    stroke(page, prefix, (0.5, 0.5), (0.6, 0.5))
    page.mouse.wheel(0, -400)
    press_tool(page, prefix, "eraser")
    stroke(page, prefix, (0.5, 0.5), (0.6, 0.5))
    painted, erased = kept_strokes(page, prefix)
    assert erased["erase"] and "erase" not in painted
    assert erased["radius"] < painted["radius"] / 2
    press_tool(page, prefix, "eraser")
    press_tool(page, prefix, "move")
    stroke(page, prefix, (0.5, 0.5), (0.2, 0.2))
    assert stroke_count(page, prefix) == 2, "the picture was moved, not painted on"
    press_tool(page, prefix, "move")
    press_tool(page, prefix, "fit")
    page.focus("#inpaint_init_image_board .paint-view")
    brush = "Number(document.querySelector('#inpaint_init_image_brush').value)"
    before = page.evaluate(brush)
    page.keyboard.press("]")
    assert page.evaluate(brush) > before
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert page.evaluate(brush) < before
    page.hover("#inpaint_init_image_board .paint-view")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function(f"{brush} >= {before}")


def test_the_tools_stand_in_one_row_and_the_page_fits_a_phone(page, photo: Path):
    prefix = open_tab(page, "Inpaint")
    upload(page, prefix, photo)
    page.check("#inpaint_inpaint_sketch")
    tops = page.evaluate(
        "[...document.querySelectorAll('#inpaint_init_image_board .paint-tools > :not([hidden])')]"
        ".map((tool) => { const box = tool.getBoundingClientRect(); return Math.round(box.top + box.height / 2) })"
    )
    assert len(tops) == 12 and max(tops) - min(tops) <= 1
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    page.uncheck("#inpaint_inpaint_sketch")


def test_bad_files_are_refused_at_once_in_words(server, page, photo: Path):
    prefix = open_tab(page, "img2img")
    text = server.data / "text.png"
    text.write_text("no picture")
    page.set_input_files("#img2img_init_image_file", text)
    page.wait_for_selector(
        "#img2img_init_image [role=alert]:has-text('text.png: The picture is not')"
    )
    upload(page, prefix, photo)
    page.wait_for_selector("#img2img_init_image > [role=alert]", state="hidden")


def test_a_picture_is_pasted_and_dropped(page, photo: Path):
    prefix = open_tab(page, "img2img")
    data = list(photo.read_bytes())
    page.evaluate(TRANSFER, ["body", "paste", "pasted.png", data])
    page.wait_for_selector("#img2img_init_image_board .paint-view:visible")
    assert re.search(r"96 . 64", page.inner_text("#img2img_init_image"))
    press_tool(page, prefix, "remove")
    page.wait_for_selector("#img2img_init_image .drop-zone:visible")
    page.evaluate(TRANSFER, ["#img2img_init_image .drop-zone", "drop", "dropped.png", data])
    page.wait_for_selector("#img2img_init_image_board .paint-view:visible")


def test_a_picture_that_is_gone_after_a_reload_is_said(server, page, photo: Path):
    prefix = open_tab(page, "img2img")
    upload(page, prefix, photo)
    page.wait_for_function("JSON.parse(sessionStorage.getItem('webui-form-img2img'))?.init_image")
    for file in (server.data / "tmp" / "uploads").iterdir():
        file.unlink()
    page.reload()
    wait_until_filled(page)
    page.wait_for_selector("#img2img_init_image [role=alert]:has-text('no longer on the server')")
    page.wait_for_selector("#img2img_init_image .drop-zone:visible")


def test_outpainting_enlarges_the_result(server, page, photo: Path):
    prefix = open_tab(page, "Inpaint")
    upload(page, prefix, photo)
    take_size(page, prefix)
    page.click("#inpaint_outpainting summary")
    page.fill("#inpaint_outpaint_right", "64")
    wait_for_value(page, "#inpaint_width", "160")
    note(page, prefix, "outpaint_left", "The result is 160x64; 96x64 of it is the picture.")
    page.fill("#inpaint_width", "128")
    words = "The result is 128x64: the picture of 96x64 is stretched to 64x64."
    note(page, prefix, "outpaint_left", words).get_by_role("button").click()
    wait_for_value(page, "#inpaint_width", "160")
    fill(page, prefix, "a red house, outpainted", mask_blur=0)
    pixels = generate(server, page, prefix)
    assert pixels.shape == (64, 160, 3)
    assert (pixels[:, :96] == pixels_of(photo)).all()
    page.fill("#inpaint_outpaint_right", "0")
    wait_for_value(page, "#inpaint_width", "96")


def test_the_depth_tab_chooses_a_checkpoint_and_shows_the_depth(page, photo: Path):
    prefix = open_tab(page, "Depth")
    page.set_input_files("#depth_init_image_file", photo)
    page.wait_for_selector("#depth_init_image img:visible")
    choose = note(page, prefix, "", "is not a depth checkpoint").get_by_role("button")
    assert re.match(r"Choose .*depth", choose.inner_text())
    choose.click()
    page.wait_for_selector(".generation[data-form=depth] [data-note='']", state="detached")
    page.click("#depth_estimate")
    page.wait_for_selector("#depth_preview img:visible")
    first = page.get_attribute("#depth_preview img", "src")
    page.check("#depth_depth_invert")
    page.wait_for_function(
        "(first) => document.querySelector('#depth_preview img').getAttribute('src') !== first",
        arg=first,
    )
    page.uncheck("#depth_depth_invert")
    page.evaluate(
        "fetch('/internal/model', {method: 'POST', headers: {'content-type': 'application/json'},"
        " body: JSON.stringify({action: 'checkpoint', value: 'demo/demo.safetensors'})})"
    )


def test_a_batch_of_uploads_is_saved_in_its_output_folder(server, page, photo: Path):
    files = [server.data / name for name in ("ant.png", "bee.png", "cat.png")]
    for file in files:
        file.write_bytes(photo.read_bytes())
    files[1].write_bytes(b"no picture")
    prefix = open_tab(page, "img2img")
    fill(page, prefix, "a red circle, many", width=64, height=64)
    page.click("#img2img_batch_many_pictures_one_after_another summary")
    page.set_input_files("#img2img_batch_files_file", files)
    page.wait_for_selector(
        "#img2img_batch_files [role=alert]:has-text('bee.png: The picture is not')"
    )
    page.fill("#img2img_batch_output", "pets")
    page.click("#img2img_batch")
    pets = server.data / "outputs" / "pets"
    server.wait_until(lambda: len(list(pets.glob("*.png"))) == 2)
    assert sorted(path.name for path in pets.iterdir()) == ["ant.png", "cat.png"]
