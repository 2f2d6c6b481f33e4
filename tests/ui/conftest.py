"""The page's tables, and one server and one browser for all browser tests."""

from __future__ import annotations

import pytest

from modules.engine.registries import Registries
from tests.conftest import builtin_registries
from tests.ui.browsing import (
    CHROMIUM,
    CHROMIUM_ARGS,
    Server,
    wait_until_filled,
)


@pytest.fixture
def registries() -> Registries:
    """The engine's tables, tabs included."""
    return builtin_registries(serves_page=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("data"))
    server.wait_until(lambda: '"ready"' in server.state())
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture(scope="session")
def playwright():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright, tmp_path_factory):
    context = playwright.chromium.launch_persistent_context(
        str(tmp_path_factory.mktemp("profile")),
        executable_path=CHROMIUM,
        args=CHROMIUM_ARGS,
        viewport={"width": 1280, "height": 900},
    )
    yield context
    context.close()


@pytest.fixture
def page(server, browser):
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(
        f"{server.url}/internal/state"
    )  # of the same origin as the page, whose forms would be kept
    page.evaluate("localStorage.clear()")
    page.goto(server.url)
    wait_until_filled(page)
    page.wait_for_selector(".state[data-phase=ready]")
    yield page
    page.close()
    server.clear_queue()
