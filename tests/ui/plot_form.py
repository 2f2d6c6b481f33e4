"""Fills in the form of an X/Y/Z plot."""

from __future__ import annotations

from tests.ui.browsing import wait_for_value

SCRIPT = "#txt2img_script"


def choose_axis(page, letter: str, name: str) -> None:
    box = f"#txt2img_script_{letter}_type"
    page.click(box)
    page.wait_for_selector(f"{box}_list li:has-text('Steps')")
    page.fill(box, name)
    page.keyboard.press("Enter")
    wait_for_value(page, box, name)


def fill_plot(page, *, steps: str, side: int = 64) -> None:
    page.fill("#txt2img_prompt", "a red circle")
    for name, value in {"width": side, "height": side, "seed": 7}.items():
        page.fill(f"#txt2img_{name}", str(value))
    page.click("#txt2img_script_section summary")
    page.select_option(SCRIPT, "X/Y/Z plot")
    choose_axis(page, "x", "Steps")
    page.fill("#txt2img_script_x_values", steps)
    choose_axis(page, "y", "Sampler")
    for name in ("Euler", "DDIM"):
        page.select_option("#txt2img_script_y_values_add", name)
