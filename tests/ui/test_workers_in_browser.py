"""The list of workers in the bar and in the Queue tab; a server with one device has neither."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.browsing import needs_browser, open_tab

pytestmark = needs_browser

IDLE = {
    "name": "cuda:0",
    "machine": "one",
    "device": "Fast card",
    "state": "idle",
    "reason": "",
    "checkpoint": "demo/demo.safetensors",
    "memory_used": 3 * 10**9,
    "memory_total": 24 * 10**9,
    "activity": "",
    "job_id": "",
}
LOST = {**IDLE, "machine": "two", "device": "", "checkpoint": "", "memory_used": None}
LOST |= {"state": "lost", "reason": "It ran out of memory."}
TEXT = "2 workers: 1 idle, 1 lost"


def answer_with(page: Any, path: str, **fields: Any) -> None:
    """Let a route answer as the server of a cluster does."""

    def answer(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), **fields})

    page.route(f"**/internal/{path}", answer)


def rows(page: Any, place: str) -> list[str]:
    page.wait_for_selector(f"{place} .worker[data-state=lost]")
    return [row.inner_text() for row in page.query_selector_all(f"{place} .worker")]


def serious_violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    violations = axe.Axe().run(page, context=".top-bar").response["violations"]
    return [one["id"] for one in violations if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("viewport", [(1280, 800), (390, 844)], ids=["wide", "narrow"])
def test_several_workers_are_listed_by_the_bar_and_the_queue(page, viewport):
    page.set_viewport_size({"width": viewport[0], "height": viewport[1]})
    assert page.is_hidden(".bar-workers")
    answer_with(page, "state", workers=TEXT)
    answer_with(page, "workers", workers=[IDLE, LOST], workers_text=TEXT)
    answer_with(page, "queue", workers=[IDLE, LOST], workers_text=TEXT)
    page.wait_for_selector(".bar-workers > summary:has-text('2 workers')")
    page.focus(".bar-workers > summary")
    page.keyboard.press("Enter")
    listed = [
        "cuda:0 on one\nIdle\nFast card · demo/demo.safetensors · 3.00 GB of 24.00 GB in use",
        "cuda:0 on two\nLost: It ran out of memory.",
    ]
    assert rows(page, ".bar-workers") == listed
    assert serious_violations(page) == []
    box = page.locator(".bar-workers .workers").bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= viewport[0]
    page.keyboard.press("Escape")
    assert page.is_hidden(".bar-workers .workers")
    open_tab(page, "Queue")
    assert rows(page, ".queue-workers") == listed
    assert page.inner_text(".queue-workers > summary") == TEXT
    page.emulate_media(color_scheme="dark")
    assert serious_violations(page) == []
