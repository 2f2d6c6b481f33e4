"""Scripts in Chromium: their fields in the form, a grid, the same form after a reload, prompts from a file, a large plot."""

from __future__ import annotations

from tests.ui.browsing import needs_browser
from tests.ui.plot_form import SCRIPT, fill_plot

pytestmark = needs_browser

SECTION = "#txt2img_script_section"


def test_a_prompt_matrix_is_chosen_filled_in_and_made(page):
    page.fill("#txt2img_prompt", "a red circle|on blue")
    for name, value in {"width": 64, "height": 64, "steps": 2, "seed": 7}.items():
        page.fill(f"#txt2img_{name}", str(value))
    page.click(f"{SECTION} summary")
    page.select_option(SCRIPT, "Prompt matrix")
    page.fill("#txt2img_script_margin_size", "10")
    page.select_option("#txt2img_script_variations_delimiter", "space")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext:has-text('a red circle')")
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    page.wait_for_selector(".output-kind:text-is('Grid')")
    page.reload()
    page.wait_for_selector(SCRIPT)
    assert page.input_value(SCRIPT) == "Prompt matrix"
    assert page.input_value("#txt2img_script_margin_size") == "10"


def test_prompts_are_read_from_a_file(page, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\n--prompt a dog --steps 3\n", encoding="utf-8")
    page.click(f"{SECTION} summary")
    page.select_option(SCRIPT, "Prompts from file or textbox")
    page.set_input_files("#txt2img_script_prompt_txt_file", file)
    page.wait_for_selector(".script-estimate:has-text('2 pictures')")
    assert page.input_value("#txt2img_script_prompt_txt").startswith("a cat\n--prompt a dog")


def test_a_large_plot_is_asked_about_and_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    fill_plot(page, steps="1-150")
    questions: list[str] = []

    def refuse(dialog):
        questions.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    page.wait_for_selector(".script-estimate:has-text('300 pictures')")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    page.wait_for_function("() => document.querySelector('.output-empty')")
    assert questions[0].startswith("The X/Y/Z plot makes 300 pictures")
    assert not page.locator(".cells").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
