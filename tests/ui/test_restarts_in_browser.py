"""Servers in Chromium that are killed, started again and stopped, with what the page shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.ui.browsing import Server, needs_browser, wait_for_value, wait_until_filled
from tests.ui.plot_form import SCRIPT, fill_plot

pytestmark = needs_browser

GENERATE, IS_IDLE = "#txt2img_generate", "#txt2img_interrupt"
CELLS, DONE = ".cells td.cell", ".cells td.cell button img"
LOST = ".output-words:has-text('The server does not answer')"


class Restarts:
    """Servers on one data folder and port, one after another: each takes long to start, so that tests share them."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.server: Server | None = None

    def ready_server(self) -> Server:
        """Return the server that runs, or a new one."""
        if self.server is None or self.server.process.poll() is not None:
            self.start()
        assert self.server is not None
        self.server.wait_until(lambda: '"ready"' in self.server.state())
        return self.server

    def start(self) -> Server:
        """Start the next server."""
        self.server = Server(self._data, port=self.server.port if self.server else 0)
        return self.server

    def kill(self) -> None:
        assert self.server is not None
        self.server.process.kill()
        self.server.process.wait(60)


@pytest.fixture(scope="module")
def restarts(tmp_path_factory):
    restarts = Restarts(tmp_path_factory.mktemp("restarts"))
    yield restarts
    if restarts.server is not None and restarts.server.process.poll() is None:
        restarts.server.stop()


@pytest.fixture
def page(restarts, browser):
    """A page with empty forms, of a server that is ready."""
    url = restarts.ready_server().url
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{url}internal/state")
    page.evaluate("localStorage.clear()")
    page.goto(url)
    wait_until_filled(page)
    yield page
    page.close()


def test_a_plot_goes_on_in_its_table_after_its_server_was_killed(restarts, page):
    earlier = set(restarts.server.images())
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
    restarts.kill()
    page.wait_for_selector(LOST)
    saved = {path: path.stat().st_mtime_ns for path in restarts.server.images()}
    assert 2 <= len(saved) - len(earlier) < 8

    server = restarts.start()
    page.wait_for_selector(IS_IDLE, state="hidden")
    assert page.locator(DONE).count() == page.locator(CELLS).count() == 8
    assert page.locator(".output-kind:text-is('Grid')").count() == 1
    after = {path: path.stat().st_mtime_ns for path in server.images()}
    assert len(after) - len(earlier) == 8
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


def test_a_lost_server_is_told_and_its_next_start_is_noticed(restarts, page):
    page.fill("#txt2img_prompt", "a green heart on a white background")
    for name, value in {"steps": 150, "width": 128, "height": 128, "n_iter": 50}.items():
        page.fill(f"#txt2img_{name}", str(value))
    page.click(GENERATE)
    page.wait_for_selector(".output-words:has-text('step')")
    restarts.kill()
    page.wait_for_selector(LOST)
    assert "left" not in page.inner_text(".output-words")
    restarts.start()
    page.wait_for_selector("#txt2img_message p:has-text('The server was stopped while it ran')")
    page.wait_for_selector(IS_IDLE, state="hidden")


def test_ctrl_c_stops_a_running_job_at_once_without_errors(restarts, page):
    server = restarts.server
    before = len(server.images())
    page.fill("#txt2img_prompt", "mountains at night")
    for name, value in {"steps": 20, "width": 128, "height": 128, "n_iter": 100}.items():
        page.fill(f"#txt2img_{name}", str(value))
    page.click(GENERATE)
    server.wait_until(lambda: len(server.images()) >= before + 2)

    status, took_s = server.stop()

    log = server.log.read_text()
    assert status == 0
    assert took_s < max(3, server.start_s)  # on a machine under load both take longer
    assert "Traceback" not in log
    for path in server.images():
        with Image.open(path) as image:
            image.load()
