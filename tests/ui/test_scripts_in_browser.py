"""An X/Y/Z plot in Chromium: its axes, the table that fills in, a server that is killed in the middle and starts again."""

from __future__ import annotations

import signal

import pytest

from tests.ui.browsing import Server, needs_browser, wait_for_value, wait_until_filled

pytestmark = needs_browser

GENERATE, SCRIPT = "#txt2img_generate", "#txt2img_script"
CELLS, DONE = ".cells td.cell", ".cells td.cell button img"


@pytest.fixture
def own_server(tmp_path):
    server = Server(tmp_path)
    server.wait_until(lambda: '"ready"' in server.state())
    servers = [server]
    yield servers
    for server in servers:
        if server.process.poll() is None:
            server.stop()


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


def test_a_plot_goes_on_in_its_table_after_its_server_was_killed(own_server, browser, tmp_path):
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(own_server[0].url)
    wait_until_filled(page)
    fill_plot(page, steps="1, 2, 3, x")
    page.wait_for_selector(
        ".script-estimate.bad:has-text('X axis (Steps): \\'x\\' is no whole number')"
    )
    page.fill("#txt2img_script_x_values", "8, 60-62")
    page.wait_for_selector(".script-estimate:has-text('8 pictures')")

    page.click(GENERATE)
    page.wait_for_selector(".cells th:text-is('Steps: 8')")
    assert page.inner_text(".cells tbody th >> nth=1") == "DDIM"
    page.wait_for_selector(f"{DONE} >> nth=1")
    own_server[0].process.send_signal(signal.SIGKILL)
    own_server[0].process.wait(60)
    page.wait_for_selector(".output-words:has-text('The server does not answer')")
    saved = {path: path.stat().st_mtime_ns for path in own_server[0].images()}
    assert 2 <= len(saved) < 8

    own_server.append(Server(tmp_path, port=own_server[0].port))
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    assert page.locator(DONE).count() == page.locator(CELLS).count() == 8
    assert page.locator(".output-kind:text-is('Grid')").count() == 1
    after = {path: path.stat().st_mtime_ns for path in own_server[1].images()}
    assert len(after) == 8
    assert saved.items() <= after.items()

    page.reload()
    page.wait_for_selector(f"{DONE} >> nth=7")
    page.click(".cells td.cell button >> nth=6")
    page.wait_for_selector(".lightbox-infotext:has-text('Sampler: DDIM')")
    page.click("text=Use its settings")
    wait_for_value(page, "#txt2img_steps", "61")
    wait_for_value(page, "#txt2img_sampler_name", "DDIM")
    assert page.input_value(SCRIPT) == "X/Y/Z plot"  # the form is kept, too
    wait_for_value(page, "#txt2img_script_x_values", "8, 60-62")
    page.close()


def test_a_large_plot_is_asked_about_and_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    fill_plot(page, steps="1-150")
    questions: list[str] = []

    def refuse(dialog):
        questions.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    page.wait_for_selector(".script-estimate:has-text('300 pictures')")
    page.click(GENERATE)
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    page.wait_for_function("() => document.querySelector('.output-empty')")
    assert questions[0].startswith("The X/Y/Z plot makes 300 pictures")
    assert not page.locator(".cells").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
