"""The output of a tab in Chromium: progress, pictures, the queue of a tab, its keys, and what is done with a picture."""

from __future__ import annotations

import json
import re
import urllib.request
import zipfile

import pytest

from tests.ui.browsing import needs_browser, wait_for_value, wait_until_filled

pytestmark = needs_browser

INTERRUPT, GENERATE = "#txt2img_interrupt", "#txt2img_generate"


def fill_form(page, prompt: str, *, steps: int = 10, side: int = 128, count: int = 1) -> None:
    page.fill("#txt2img_prompt", prompt)
    for name, value in {"steps": steps, "width": side, "height": side, "n_iter": count}.items():
        page.fill(f"#txt2img_{name}", str(value))


def wait_for_infotext(page, text: str, prefix: str = "txt2img") -> None:
    page.wait_for_selector(f"#{prefix}_infotext pre:has-text('{text}')")


def wait_until_idle(page, prefix: str = "txt2img") -> None:
    page.wait_for_selector(f"#{prefix}_interrupt", state="hidden")


def start_long_job(page, prompt: str = "a green heart on a white background") -> None:
    fill_form(page, prompt, steps=150, count=50)
    page.click(GENERATE)
    page.wait_for_selector(".output-words:has-text('step')")


def box_of(page, selector: str) -> dict[str, float]:
    return page.query_selector(selector).bounding_box()


def test_progress_and_preview_lie_over_the_picture_and_move_nothing(page):
    fill_form(page, "a red circle on a blue background")
    page.click(GENERATE)
    wait_for_infotext(page, "a red circle on a blue background")
    wait_until_idle(page)
    before = box_of(page, ".output-box"), box_of(page, ".output-tools")

    start_long_job(page)
    page.wait_for_selector(".output-preview:visible")
    assert re.match(r"\d+% · ", page.title())
    words = page.inner_text(".output-words")
    assert "of 7500" in words
    assert "of 50 pictures" in words
    assert before == (box_of(page, ".output-box"), box_of(page, ".output-tools"))

    page.keyboard.press("Escape")
    page.wait_for_selector("#txt2img_message p:has-text('Interrupted: 0 of 50')")
    wait_until_idle(page)
    assert page.title() == "Stable Diffusion WebUI"


def test_the_whole_picture_is_in_the_first_screen(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    fill_form(page, "a blue star", steps=2, side=256)
    page.click(GENERATE)
    wait_for_infotext(page, "a blue star")
    picture, box = box_of(page, ".output-one img"), box_of(page, ".output-box")
    assert picture["y"] + picture["height"] <= 800
    assert (picture["width"], picture["height"]) == (256, 256)
    middle = picture["x"] + picture["width"] / 2
    assert middle == pytest.approx(box["x"] + box["width"] / 2, abs=1)


def test_a_click_shows_at_once_that_a_job_starts_and_a_refusal_goes_with_its_cause(page):
    fill_form(page, "a red circle")
    page.fill("#txt2img_seed", "abc")
    page.evaluate(
        f"document.querySelector('{GENERATE}').click(); "
        f"window.wasShown = document.querySelector('{INTERRUPT}').offsetParent !== null"
    )
    assert page.evaluate("window.wasShown")
    page.wait_for_selector(".output-messages .error:has-text(\"Seed is 'abc'\")")
    wait_until_idle(page)
    page.fill("#txt2img_seed", "-1")
    page.wait_for_selector(".output-messages .error", state="detached")


def test_a_reload_comes_back_to_the_running_job_the_waiting_one_and_then_to_the_pictures(page):
    start_long_job(page, "a yellow star on a purple background")
    fill_form(page, "a second job", steps=4)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f"{GENERATE}:has-text('Add to queue (1)')")

    page.reload()
    page.wait_for_selector(".output-words:has-text('of 7500')")
    page.wait_for_selector(f"{GENERATE}:has-text('(1)')")
    wait_for_value(page, "#txt2img_prompt", "a second job")
    page.click(INTERRUPT)
    wait_for_infotext(page, "a second job")
    wait_until_idle(page)

    page.reload()
    wait_until_filled(page)
    wait_for_infotext(page, "a second job")
    page.wait_for_selector(".output-one img")


def test_pictures_are_generated_forever_until_the_menu_ends_it(server, page):
    fill_form(page, "for ever and ever", steps=2, side=64)
    page.click(GENERATE, button="right")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    before = len(server.images())
    server.wait_until(lambda: len(server.images()) > before + 2)
    page.click("[aria-label^='More ways']:visible >> nth=0")
    page.click("[role=menuitem]:has-text('Stop generating forever')")
    wait_until_idle(page)  # the next job would begin as the last one ends
    assert page.inner_text(GENERATE) == "Generate"
    with urllib.request.urlopen(f"{server.url}internal/queue", timeout=60) as answer:
        assert json.load(answer)["jobs"] == []


def test_alt_enter_leaves_a_picture_out(page):
    fill_form(page, "a skipped picture", steps=150, count=2)
    page.click(GENERATE)
    page.wait_for_selector(".output-words:has-text('step')")
    page.keyboard.press("Alt+Enter")
    wait_for_infotext(page, "a skipped picture")
    wait_until_idle(page)
    assert page.locator(".output-one").count() == 1


def test_four_pictures_are_side_by_side_enlarged_chosen_and_saved(page):
    page.fill("#txt2img_seed", "5")
    fill_form(page, "four of a kind", steps=2, side=64, count=4)
    page.click(GENERATE)
    wait_for_infotext(page, "four of a kind")
    wait_until_idle(page)
    page.wait_for_selector(".output-kind:has-text('Grid')")
    tiles, stage = page.locator(".output-tile img"), box_of(page, ".output-stage")
    assert tiles.count() == 4
    last = tiles.nth(3).bounding_box()
    assert last["y"] + last["height"] <= stage["y"] + stage["height"]

    page.locator(".output-tile").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.lightbox .lightbox-title:has-text('picture 2')")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("dialog.lightbox .lightbox-title:has-text('picture 3')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.lightbox", state="detached")
    wait_for_infotext(page, "Seed: 7,")

    page.check(".output-cell input >> nth=0", force=True)
    page.check(".output-cell input >> nth=2", force=True)
    with page.expect_download() as download:
        page.click(".output-tools button:has-text('Zip (2)')")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    assert [re.search(r"-(\d+)\.png", name)[1] for name in names] == ["5", "7"]
    page.fill("#txt2img_seed", "-1")


def test_a_picture_is_sent_with_its_prompt_and_sampling(page):
    page.fill("#txt2img_seed", "11")
    page.select_option("#txt2img_sampler_name", "Euler a")
    fill_form(page, "to be repainted", steps=7, side=192)
    page.click(GENERATE)
    wait_for_infotext(page, "to be repainted")
    wait_until_idle(page)
    page.click("#txt2img_to_img2img")
    page.wait_for_selector("#img2img_prompt:visible")
    wait_for_value(page, "#img2img_prompt", "to be repainted")
    wait_for_value(page, "#img2img_steps", "7")
    wait_for_value(page, "#img2img_sampler_name", "Euler a")
    wait_for_value(page, "#img2img_width", "192")
    wait_for_value(page, "#img2img_seed", "11")
    page.keyboard.press("Control+Enter")
    wait_for_infotext(page, "Denoising strength", "img2img")
