"""The cards of networks in Chromium with 2,000 LoRA files, each with a picture: how soon they are listed and visible.

The files are made in a temporary folder, in 20 folders below models/Lora, with the lists of tensors of LoRAs for SDXL, 150 KB
each, and next to no weights. "Listed" is the route that the page asks, for the first time (by a server that began without a
cache and has read the headers since its start, as far as it came until its device was ready) and again; "first cards" is from the click that
opens the panel to the frame that shows the first six pictures, each time with an empty cache of the browser, and the first
time with thumbnails that are still to be made.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.models.networks.lora_files import PLAIN, write_lora
from tests.ui.browsing import CHROMIUM, CHROMIUM_ARGS, Server
from tools.scrolling import SCROLL, VIEWPORTS

_COLOURS = 40  # different pictures
_LAYERS = {
    f"lora_unet_input_blocks_{place}_1_transformer_blocks_{block}_attn1_{layer}.{part}": shape
    for place in (4, 5, 7, 8)
    for block in range(25)
    for layer in ("to_q", "to_k", "to_v", "to_out_0")
    for part, shape in (("lora_down.weight", (1, 1)), ("lora_up.weight", (1, 1)), ("alpha", ()))
}
_FIRST_CARDS = """
  async () => {
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const started = performance.now();
    document.querySelector("#txt2img_networks > summary").click();
    const shown = () => [...document.querySelectorAll("#txt2img_networks .network-picture")];
    while (shown().length < 6 || !shown().slice(0, 6).every((image) => image.complete && image.naturalWidth)) await frame();
    await frame();
    return performance.now() - started;
  }
"""
_SEARCH = """
  async (text) => {
    const box = document.querySelector("#txt2img_networks input[type=search]"), started = performance.now();
    box.value = text;
    box.dispatchEvent(new Event("input", {bubbles: true}));
    const names = () => [...document.querySelectorAll("#txt2img_networks .network-name")].map((name) => name.textContent);
    while (!names().length || !names().every((name) => name.includes(text))) await new Promise(requestAnimationFrame);
    return performance.now() - started;
  }
"""


def run(rounds: int, count: int = 2000) -> None:
    """Measure and print medians.

    Args:
        rounds: How often the page is loaded.
        count: How many files there are.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_networks(Path(folder) / "models" / "Lora", count)
        server = Server(Path(folder))
        try:
            server.wait_until(lambda: '"ready"' in server.state())
            first, again = _list(server), [_list(server) for _ in range(rounds)]
            print(f"{count} files listed: {first:.2f} s, again {statistics.median(again):.2f} s")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
                for width, height in VIEWPORTS:
                    view = {"width": width, "height": height}
                    print(f"  at {width} x {height}: {_measure(browser, view, server, rounds)}")
                browser.close()
        finally:
            server.stop()


def write_networks(folder: Path, count: int) -> None:
    """Write LoRA files, each with a preview of 512x768 pixels next to it."""
    pictures: list[bytes] = []
    for i in range(_COLOURS):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((512, 768)).rotate(9 * i).convert("RGB").save(
            buffer, "JPEG"
        )
        pictures.append(buffer.getvalue())
    for i in range(count):
        tags = {"1_thing": {f"word {j}": j for j in range(40)}}
        metadata = {"ss_tag_frequency": json.dumps(tags), "ss_base_model_version": "sd_v1"}
        path = folder / f"folder {i % 20}" / f"network {i:05d}.safetensors"
        write_lora(path, {**PLAIN, **_LAYERS}, metadata)
        path.with_suffix(".jpg").write_bytes(pictures[i % _COLOURS])


def _list(server: Server) -> float:
    started = time.monotonic()
    urllib.request.urlopen(f"{server.url}internal/networks", timeout=60).read()
    return time.monotonic() - started


def _measure(browser: Any, view: Any, server: Server, rounds: int) -> str:
    cards: list[float] = []
    searches: list[float] = []
    frames: list[float] = []
    for _ in range(rounds):
        context = browser.new_context(viewport=view)
        context.set_default_timeout(120_000)
        page: Page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("#txt2img_generate[data-filled]", state="attached")
        page.wait_for_timeout(1500)  # the page's other tabs are busy until then
        cards.append(page.evaluate(_FIRST_CARDS))
        frames += page.evaluate(SCROLL, ["#txt2img_networks .networks-grid", 120, 120])
        searches.append(page.evaluate(_SEARCH, "0012"))
        context.close()
    slow = sum(time > 34 for time in frames) / len(frames)
    return (
        f"first cards {cards[0]:.0f} ms, then {statistics.median(cards[1:] or cards):.0f} ms;"
        f" search {statistics.median(searches):.0f} ms; scrolling: {slow:.0%} of the frames take more than 34 ms,"
        f" the longest {max(frames):.0f} ms"
    )
