"""The Checkpoint merger tab in Chromium: two demo checkpoints become one, on a desktop and a phone, by the keyboard."""

from __future__ import annotations

import pytest

from tests.ui.browsing import needs_browser, open_tab, wait_for_value

pytestmark = needs_browser
MODEL = "#merger_{}_model_name"


def choose(page, field: str, name: str) -> None:
    """Choose the checkpoint that the list offers first for what is typed."""
    page.fill(MODEL.format(field), name)
    page.keyboard.press("Enter")


@pytest.fixture
def result(server):
    path = server.data / "models" / "Stable-diffusion" / "walk.inpainting.safetensors"
    yield path
    path.unlink(missing_ok=True)


def test_two_checkpoints_become_one_that_is_chosen_by_a_click(server, page, result):
    open_tab(page, "Checkpoint merger")
    page.wait_for_selector(".merger-notes:has-text('Weighted sum needs a checkpoint A.')")
    assert page.is_disabled("#merger_merge")
    choose(page, "primary", "demo/demo.s")
    choose(page, "secondary", "demo/demo-v2")
    page.wait_for_selector(".merger-notes:has-text('is SD 2.x: their layers differ.')")
    choose(page, "secondary", "demo/demo-inpainting")
    page.wait_for_selector(
        ".merger-notes:has-text(\"Choose 'demo/demo-inpainting.safetensors' as A.\")"
    )
    choose(page, "primary", "demo/demo-inpainting")
    choose(page, "secondary", "demo/demo.s")
    page.wait_for_selector(".merger-facts:has-text('0.7(demo-inpainting) + 0.3(demo)')")
    assert not page.is_visible(MODEL.format("tertiary"))
    page.click("#merger_interp_method label:has-text('Add difference')")
    page.wait_for_selector(".merger-notes:has-text('Add difference needs a checkpoint C.')")
    page.click("#merger_interp_method label:has-text('Weighted sum')")
    page.fill("#merger_custom_name", "walk")
    page.wait_for_selector(".merger-facts:has-text('walk.inpainting.safetensors')")
    page.focus("#merger_merge")
    page.keyboard.press("Enter")
    page.wait_for_selector("#merger_use")
    assert result.exists()
    page.wait_for_selector(
        ".merger-notes:has-text(\"'walk.inpainting.safetensors' already exists\")"
    )
    page.click("#merger_use")
    page.wait_for_selector("#merger_use:has-text('Chosen')")
    assert page.input_value("#setting_sd_model_checkpoint").startswith("walk.inpainting.")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    # The form is kept, and so are its fields: a reload begins with them.
    page.reload()
    wait_for_value(page, "#merger_custom_name", "walk")
    page.evaluate("webui.open('txt2img')")
    page.fill("#setting_sd_model_checkpoint", "demo/demo.s")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('#setting_sd_model_checkpoint').value.startsWith('demo/demo.s')"
    )
