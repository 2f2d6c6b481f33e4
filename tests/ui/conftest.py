"""One server and one browser for all tests that look at the page."""

from __future__ import annotations

import pytest

from tests.ui.at_rest import COUNT_EVENTS
from tests.ui.browsing import (
    CHROMIUM,
    CHROMIUM_ARGS,
    Server,
    wait_until_filled,
)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("data"))
    running.wait_until(lambda: '"ready"' in running.state())
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            args=CHROMIUM_ARGS,
            viewport={"width": 1280, "height": 900},
        )
        opened.add_init_script(COUNT_EVENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(server, browser):
    opened = browser.new_page()
    opened.set_default_timeout(120_000)
    opened.goto(server.url)
    wait_until_filled(opened)
    opened.wait_for_function(
        "document.querySelector('#engine_state .state').dataset.phase === 'ready'"
    )
    yield opened
    opened.close()
    server.clear_queue()
