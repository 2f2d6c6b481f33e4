"""The page in Chromium: how soon it can be used, compared with a page of one text box and one button of the same Gradio.

Both pages are loaded in turns in one browser, each cold (nothing cached) and warm (reloaded). "Usable" is when Generate
can be clicked and the form holds what the browser kept; "blocked" is what tasks of the main thread take beyond 50 ms each
(total blocking time, https://web.dev/tbt). Times of a job are this page's own, without a partner.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.ui.browsing import CHROMIUM, CHROMIUM_ARGS, Server, wait_for_value
from tools import gallery_benchmark

VIEWPORTS = ((1280, 800), (390, 844))
_LONG_TASKS = """
  window.blockedMs = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.blockedMs += task.duration - 50;
  }).observe({type: "longtask", buffered: true});
"""
_MINI_PAGE = """
import gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    box, button = gr.Textbox(label="Prompt"), gr.Button("Generate", elem_id="generate")
    button.click(lambda text: text, box, box)
page.launch(server_name="127.0.0.1", quiet=True, ssr_mode=False, prevent_thread_lock=True)
print(page.local_url, flush=True)
page.block_thread()
"""
# Gradio's page is usable when its button is there; ours when the form holds what the browser kept, too.
_OURS, _MINI = "#txt2img_generate[data-filled]", "#generate"


@dataclass(frozen=True)
class Load:
    """One load of a page; times in ms."""

    usable: float
    blocked: float
    kilobytes: float
    requests: int


def run(rounds: int) -> None:
    """Measure and print medians, and their ratios to the small page.

    Args:
        rounds: How often each page is loaded.
    """
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as (ours, mini):
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            for width, height in VIEWPORTS:
                view = {"width": width, "height": height}
                print(f"{width} x {height}")
                _print_loads(_measure_loads(browser, view, ours.url, mini, rounds))
                _print_times(_measure_use(browser, view, ours.url, rounds))
            browser.close()
    gallery_benchmark.run(rounds)


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[Server, str]]:
    """Start the program and the small page; return the program and the small page's address."""
    ours = Server(folder)
    small = subprocess.Popen([sys.executable, "-c", _MINI_PAGE], stdout=subprocess.PIPE, text=True)
    try:
        ours.wait_until(lambda: '"ready"' in ours.state())
        assert small.stdout is not None
        yield ours, small.stdout.readline().strip()
    finally:
        small.terminate()
        small.wait(30)
        ours.stop()


def _measure_loads(
    browser: Browser, view: Any, ours: str, mini: str, rounds: int
) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = defaultdict(list)
    for number in range(rounds):
        sides = [("ours", ours, _OURS), ("mini", mini, _MINI)]
        for name, url, selector in sides if number % 2 else reversed(sides):
            with _context(browser, view) as context:
                page = context.new_page()
                loads[f"{name} cold"].append(
                    _load(page, lambda page=page, url=url: page.goto(url), selector)
                )
                loads[f"{name} warm"].append(_load(page, page.reload, selector))
    return loads


@contextmanager
def _context(browser: Browser, view: Any) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=view)
    context.set_default_timeout(120_000)
    context.add_init_script(_LONG_TASKS)
    yield context
    context.close()


def _load(page: Page, navigate: Any, selector: str) -> Load:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    navigate()
    page.wait_for_selector(selector, state="attached")
    usable = page.evaluate("performance.now()")
    page.wait_for_timeout(1500)  # what is still loaded and computed afterwards counts as well
    blocked = page.evaluate("window.blockedMs")
    session.detach()
    return Load(usable, blocked, sum(sizes) / 1000, len(sizes))


def _print_loads(loads: dict[str, list[Load]]) -> None:
    for kind in ("cold", "warm"):
        ours, mini = (
            {
                name: statistics.median(getattr(load, name) for load in loads[f"{side} {kind}"])
                for name in ("usable", "blocked", "kilobytes", "requests")
            }
            for side in ("ours", "mini")
        )
        print(
            f"  {kind}: usable {ours['usable']:.0f} ms, ratio {ours['usable'] / mini['usable']:.2f}; "
            f"blocked {ours['blocked']:.0f} ms ({mini['blocked']:.0f}); {ours['kilobytes']:.0f} kB "
            f"({mini['kilobytes']:.0f}) in {ours['requests']:.0f} requests ({mini['requests']:.0f})"
        )


def _measure_use(browser: Browser, view: Any, url: str, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    with _context(browser, view) as context:
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector(_OURS, state="attached")
        for name in ("img2img", "Queue", "txt2img", "img2img", "txt2img"):
            samples = times[f"tab {name}" if f"tab {name}" not in times else "tab seen before"]
            samples.append(page.evaluate(_SWITCH_TAB, name))
        page.fill("#txt2img_prompt", "a red circle")
        for _ in range(rounds):
            running, shown = page.evaluate(_GENERATE)
            times["click to running"].append(running)
            times["finished to shown"].append(shown)
        page.fill("#txt2img_prompt", "word " * 10_000)
        page.focus("#txt2img_prompt")
        started = page.evaluate("performance.now()")
        page.keyboard.type("x" * 20)
        wait_for_value(page, "#txt2img_prompt", "word " * 10_000 + "x" * 20)
        times["20 letters in a 50 kB prompt"].append(page.evaluate("performance.now()") - started)
    return times


_SWITCH_TAB = """
  async (name) => {
    const tab = [...document.querySelectorAll(".tab-bar a")].find((link) => link.textContent === name);
    const started = performance.now();
    tab.click();
    while (!tab.hasAttribute("aria-current")) await new Promise((done) => setTimeout(done, 1));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - started;
  }
"""
# The job's end is when its event says so.
_GENERATE = """
  async () => {
    const visible = (id) => document.getElementById(id)?.offsetParent;
    const until = async (condition) => {
      while (!condition()) await new Promise((done) => requestAnimationFrame(done));
      return performance.now();
    };
    const sources = () => [...document.querySelectorAll(".output-box img[src*='/internal/images/']")].map((image) => image.src).join();
    const before = sources(), clicked = performance.now();
    document.getElementById("txt2img_generate").click();
    const running = await until(() => visible("txt2img_interrupt"));
    const ended = await until(() => !visible("txt2img_interrupt"));
    const shown = await until(() => sources() !== before && document.querySelector(".output-box img[src*='/internal/images/']")?.complete);
    return [running - clicked, shown - ended];
  }
"""


def _print_times(times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        print(f"  {name}: {statistics.median(values):.0f} ms")
