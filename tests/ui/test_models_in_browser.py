"""The Models tab in Chromium: search, rename, trash and undo, downloads that are refused, on a desktop and a phone."""

from __future__ import annotations

from tests.conftest import write_listed_checkpoint
from tests.ui.browsing import needs_browser, open_tab

pytestmark = needs_browser


def open_models(page) -> None:
    open_tab(page, "Models")
    page.wait_for_selector(".models-file")


def test_a_model_is_found_renamed_deleted_and_brought_back(server, page):
    folder = server.data / "models" / "Stable-diffusion"
    write_listed_checkpoint(folder / "walk.safetensors", "walk")
    (folder / "walk.yaml").write_text("model: {}")
    open_models(page)
    page.click(".models-refresh")
    page.fill(".models-find", "walk")
    row = page.locator(".models-file", has_text="walk.safetensors")
    row.locator("summary").click()
    row.locator(".models-rename input").fill("run")
    page.evaluate("scrollTo(0, 9999)")
    page.evaluate("scrollTo(0, 0)")
    assert row.locator("details[open]").count() == 1  # also after a refresh
    page.keyboard.press("Enter")
    page.wait_for_selector(".models-words:has-text('Renamed walk.safetensors')")
    assert (folder / "run.yaml").exists()

    page.fill(".models-find", "run.s")
    row = page.locator(".models-file", has_text="run.safetensors")
    row.locator("summary").click()
    row.locator("button:has-text('Delete')").click()
    page.wait_for_selector(".models-words:has-text('in the trash')")
    assert not (folder / "run.safetensors").exists()
    page.click(".models-words button")
    page.wait_for_selector(".models-words:has-text('is back')")
    assert (folder / "run.safetensors").exists()
    assert (folder / "run.yaml").exists()


def test_a_download_is_offered_and_refused_in_words_on_a_phone(server, page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("webui.open?.('Models')")
    page.wait_for_selector(".models-file")
    page.click(".models-get > summary")
    page.wait_for_selector(".models-entry:has-text('Stable Diffusion 1.5')")
    assert page.locator(".models-entry").count() == 15
    page.fill(".models-address [name=url]", "https://127.0.0.1/a.safetensors")
    page.click(".models-address button")
    page.wait_for_selector(".models-download:has-text('nothing is fetched from there')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click(".models-download button:has-text('Cancel')")
    page.wait_for_selector(".models-download", state="detached")
