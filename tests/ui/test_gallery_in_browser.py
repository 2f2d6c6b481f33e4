"""The Gallery tab in Chromium: pictures of former runs are found, looked at, compared, trashed and sent on."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.ui.browsing import needs_browser, wait_for_value, wait_until_filled
from tests.ui.gallery_images import write_images

pytestmark = needs_browser

COUNT = 300


@pytest.fixture(scope="module")
def former(server) -> Path:
    """The folder of images of former runs, found while the server runs."""
    write_images(server.data / "outputs", COUNT)
    return server.data / "outputs" / "txt2img-images"


@pytest.fixture
def gallery(former, page):
    page.evaluate("webui.open('Gallery')")
    page.fill(".pic-search", "garden")  # only those of this test
    page.wait_for_selector(f".pic-words:has-text('{COUNT} pictures of')")
    return page


def search(page, text: str, count: int) -> None:
    page.fill(".pic-search", text)
    page.wait_for_selector(f".pic-words:has-text('{count} picture')")


def test_pictures_are_searched_and_trashed_by_keyboard_and_come_back(gallery, server, former: Path):
    search(gallery, "sampler:ddim owl", 20)
    gallery.focus(".pic-open[tabindex='0']")
    for key in ("Space", "ArrowRight", "Space"):
        gallery.keyboard.press(key)
    gallery.wait_for_selector(".pic-chosen-words:has-text('2 chosen')")
    gallery.click("[data-act=compare]")
    gallery.wait_for_selector(".pic-differences th:has-text('Seed')")
    assert gallery.locator(".pic-differences th:has-text('Sampler')").count() == 0  # it is the same
    gallery.keyboard.press("Escape")
    gallery.wait_for_selector(".pic-compare", state="detached")
    gallery.focus(".pic-open[tabindex='0']")
    gallery.keyboard.press("Delete")
    gallery.wait_for_selector(".pic-words:has-text('18 pictures')")
    assert len(list(server.data.glob("outputs/.trash/*/*/*.png"))) == 2
    gallery.click(".pic-toast button:has-text('Undo')")
    gallery.wait_for_selector(".pic-words:has-text('20 pictures')")
    assert len(list(former.glob("2025-10-*/*.png"))) == COUNT


def test_a_picture_is_looked_at_marked_and_sent(gallery):
    search(gallery, "seed:297", 1)
    gallery.click(".pic-open")
    gallery.wait_for_selector(".lightbox-side td:has-text('number 297')")
    gallery.keyboard.press("f")
    gallery.wait_for_selector(".lightbox-tools button:has-text('★')")
    gallery.click(".lightbox button:has-text('→ img2img')")
    wait_for_value(gallery, "#img2img_prompt", "a fox in a garden, number 297")
    wait_for_value(gallery, "#img2img_steps", "10")
    gallery.wait_for_selector("#tab_img2img canvas")
    gallery.reload()
    wait_until_filled(gallery)
    gallery.evaluate("webui.open('Gallery')")
    gallery.click("[data-switch=favourites]")
    gallery.wait_for_selector(".pic-words:has-text('1 picture')")


def test_only_what_is_in_sight_is_in_the_page_and_the_choice_is_zipped(gallery, tmp_path):
    assert gallery.locator(".pic-cell").count() < 120
    gallery.evaluate("document.querySelector('.pic-viewport').scrollTop = 1e6")
    gallery.wait_for_selector(f".pic-cell[data-index='{COUNT - 1}'] img")
    gallery.focus(f".pic-cell[data-index='{COUNT - 1}'] .pic-open")
    gallery.keyboard.press("Space")
    with gallery.expect_download() as download:
        gallery.click("[data-act=zip]")
    download.value.save_as(tmp_path / "pictures.zip")
    with zipfile.ZipFile(tmp_path / "pictures.zip") as archive:
        assert archive.namelist() == ["00000-0.png"]
