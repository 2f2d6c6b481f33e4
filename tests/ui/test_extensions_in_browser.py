"""The Extensions tab in Chromium: an extension is installed after a warning, loaded by a restart, used and disabled."""

from __future__ import annotations

import json

from tests.ui.browsing import ROOT, Server, needs_browser, open_tab, wait_until_filled

pytestmark = needs_browser
EXAMPLE = ROOT / "docs" / "extensions" / "latent_contrast"


def test_an_extension_is_installed_restarted_used_and_disabled(browser, tmp_path):
    server = Server(tmp_path)
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(server.url)
    wait_until_filled(page)
    open_tab(page, "Extensions")
    page.wait_for_selector(".extensions-none:has-text('No extensions yet')")
    page.click(".extensions-get > summary")
    page.fill(".extensions-folder [name=path]", str(EXAMPLE))
    page.press(".extensions-folder [name=path]", "Enter")
    page.wait_for_selector(".extensions-warning[open]")
    page.keyboard.press("Escape")
    assert not (tmp_path / "extensions" / "latent_contrast").exists()
    page.click(".extensions-folder button")
    page.click("[data-choice=accept]")
    page.wait_for_selector(".extensions-words:has-text('Installed latent_contrast.')")
    row = page.locator(".extensions-row", has_text="latent_contrast")
    row.locator("text=loaded after a restart").wait_for()

    page.click(".extensions-restart")
    page.wait_for_selector(".tab-bar a:text-is('Latent contrast')")
    open_tab(page, "Latent contrast")
    page.wait_for_selector(".extension-tab p:has-text('Latent contrast: 0')")
    open_tab(page, "Extensions")
    row.locator(".extensions-badge:text-is('Loaded')").wait_for()
    row.locator("summary").click()
    row.locator("dd:has-text('step extension: Latent contrast')").wait_for()
    row.locator("input[type=checkbox]").press("Space")
    row.locator("text=disabled after a restart").wait_for()
    stored = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert stored["disabled_extensions"] == ["latent_contrast"]
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
    server.stop()
