"""The Gallery tab in Chromium with 10,000 small pictures: how soon it is painted, and how it scrolls.

The pictures are made in a temporary folder and indexed before the tab is opened. "First paint" is from the click on the
tab, once the page is idle, to the frame that shows the first thumbnails. Scrolling is by wheel-sized steps, one a frame.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.ui.browsing import CHROMIUM, CHROMIUM_ARGS, Server
from tests.ui.gallery_images import write_images
from tools.scrolling import SCROLL, VIEWPORTS

_SCROLL_FRAMES = 240
# The page's other tabs are still busy when Generate can be clicked.
_LAST_LONG_TASK = """
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.lastLongTask = task.startTime + task.duration;
  }).observe({type: "longtask", buffered: true});
"""
_FIRST_PAINT = """
  async () => {
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const started = performance.now();
    webui.open("Gallery");
    const shown = () => [...document.querySelectorAll(".pic-open img")];
    while (!shown().length || !shown().slice(0, 6).every((image) => image.complete && image.naturalWidth)) await frame();
    await frame();
    return performance.now() - started;
  }
"""
_SEARCH = """
  async (text) => {
    const box = document.querySelector(".pic-search"), words = document.querySelector(".pic-words");
    const before = words.textContent, started = performance.now();
    box.value = text;
    box.dispatchEvent(new Event("input", {bubbles: true}));
    while (words.textContent === before) await new Promise(requestAnimationFrame);
    return performance.now() - started;
  }
"""


def run(rounds: int, count: int = 10_000) -> None:
    """Measure and print medians.

    Args:
        rounds: How often the page is loaded.
        count: How many pictures there are.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "outputs", count)
        server = Server(Path(folder))
        try:
            print(f"  indexed {count} pictures in {_index(server, count):.0f} s")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
                for width, height in VIEWPORTS:
                    times = _measure(browser, {"width": width, "height": height}, server, rounds)
                    print(f"  gallery at {width} x {height}: {times}")
                browser.close()
        finally:
            server.stop()


def _index(server: Server, count: int) -> float:
    server.wait_until(lambda: '"ready"' in server.state())
    started = time.monotonic()

    def is_ready() -> bool:
        with urllib.request.urlopen(f"{server.url}internal/gallery/state", timeout=60) as answer:
            state = json.load(answer)
        time.sleep(1)
        return state["count"] >= count and not state["waiting"]

    server.wait_until(is_ready, 1800)
    return time.monotonic() - started


def _measure(browser: Any, view: Any, server: Server, rounds: int) -> str:
    paints: list[float] = []
    searches: list[float] = []
    frames: list[float] = []
    cells = 0
    for _ in range(rounds):
        context = browser.new_context(viewport=view)
        context.set_default_timeout(120_000)
        context.add_init_script(_LAST_LONG_TASK)
        page: Page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("#txt2img_generate[data-filled]", state="attached")
        page.wait_for_function("performance.now() - (window.lastLongTask ?? 0) > 2000")
        paints.append(page.evaluate(_FIRST_PAINT))
        frames += page.evaluate(SCROLL, [".pic-viewport", _SCROLL_FRAMES, 120])
        cells = max(cells, page.locator(".pic-cell").count())
        searches.append(page.evaluate(_SEARCH, "owl sampler:ddim"))
        context.close()
    slow = sum(time > 34 for time in frames) / len(frames)
    return (
        f"first paint {statistics.median(paints):.0f} ms; scrolling {1000 / statistics.mean(frames):.0f} frames/s,"
        f" {slow:.0%} of the frames take more than 34 ms, the longest {max(frames):.0f} ms;"
        f" search {statistics.median(searches):.0f} ms (250 of them waiting for more letters);"
        f" at most {cells} cells in the page"
    )
