"""Makes the screenshots of the documents: every tab, from a server of its own with the demo models.

python tools/screenshots.py                                        docs/screenshots/, light, 1280x800
python tools/screenshots.py --dark --phone --to /tmp/screenshots   dark, 390x844, into another folder
python tools/screenshots.py --only Inpaint

All files together stay below 1 MB: they have as few colours as that takes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.ui.browsing import CHROMIUM, CHROMIUM_ARGS, Server  # noqa: E402 - after the line above
from tools.docs_tables import SCREENSHOTS, SECTION_TITLES, TAB_TITLES, screenshot_file  # noqa: E402

MAX_TOTAL_BYTES = 10**6
PROMPT = "a house with a red roof in the hills at sunset"
# Colours, and how a colour between them is drawn; the first that is small enough is used.
_PALETTES = (
    (256, Image.Dither.FLOYDSTEINBERG),
    (256, Image.Dither.NONE),
    (128, Image.Dither.NONE),
    (64, Image.Dither.NONE),
)
# Jobs for the Gallery and the Queue tab, and the pictures that are repainted.
_PROMPTS = (
    "mountains at sunset",
    "a yellow star on a dark blue background",
    "a boat on the sea at night, stars",
    "two red circles on a white background",
    "a tree in a meadow, sun",
    "a green triangle and a purple heart on a yellow background",
)
# Until nothing has changed for half a second and all pictures are there; at most 15 s, as some parts always move.
_SETTLE = """
  async () => {
    await new Promise((done) => {
      let timer = setTimeout(done, 500);
      const wait = () => { clearTimeout(timer); timer = setTimeout(done, 500); };
      const changes = {subtree: true, childList: true, attributes: true};
      const observer = new MutationObserver(wait);
      observer.observe(document.body, changes);
      setTimeout(done, 15000);
    });
    const images = [...document.images].filter((image) => image.offsetParent && image.src);
    await Promise.race([
      Promise.allSettled(images.map((image) => image.decode())),
      new Promise((done) => setTimeout(done, 15000)),
    ]);
  }
"""


@dataclass(frozen=True)
class Shot:
    """What is done in a tab before its picture is taken.

    Args:
        prepare: Uses the tab; None leaves it as it opens.
        checkpoint: The one that is chosen before.
        is_scrolled: Whether the page stays where `prepare` scrolls it.
        tab: Title of the tab that it is a part of; "" for a whole tab.
    """

    prepare: Callable[[Studio], None] | None = None
    checkpoint: str = "demo/demo"
    is_scrolled: bool = False
    tab: str = ""


@dataclass(frozen=True)
class Studio:
    """The server, the page, and the tab that is open."""

    server: Server
    page: Page
    pictures: list[Path] = field(default_factory=list[Path])

    def open(self, title: str) -> None:
        """Load the page and open a tab by its title, or by its address where its title is out of sight."""
        self.page.goto("about:blank")  # so that another fragment loads the page again
        self.page.goto(f"{self.server.url}#{title.replace(' ', '-')}")
        self.page.locator("textarea").first.wait_for(state="attached")
        self.settle()
        for role in ("tab", "link"):
            shown = self.page.get_by_role(role, name=title, exact=True)
            if shown.count() and shown.first.is_visible():
                shown.first.click()
                break
        self.settle()

    def settle(self) -> None:
        """Wait until the page is at rest."""
        self.page.evaluate(_SETTLE)

    def first_visible(self, selector: str) -> Locator:
        """Return the first visible element of the open tab."""
        return self.page.locator(f"{selector} >> visible=true").first

    def fill_prompt(self, prefix: str, text: str = PROMPT) -> None:
        """Fill in the prompt and the seed."""
        self.page.locator(f"textarea#{prefix}_prompt, #{prefix}_prompt textarea").first.fill(text)
        seed = self.page.locator(f"input#{prefix}_seed, #{prefix}_seed input")
        seed.first.fill("7")

    def choose_picture(self, field_id: str) -> None:
        """Give a picture to a field, or to the first of the tab that takes a file where there is none of that id."""
        inputs = self.page.locator(f"#{field_id} input[type=file]")
        if not inputs.count():
            inputs = self.page.locator("[role=tabpanel]:visible input[type=file]")
        inputs.first.set_input_files(self.pictures[0])
        self.settle()

    def run_job(self, selector: str) -> None:
        """Click a button that starts a job, and wait until the page shows what came of it."""
        before = {job["id"] for job in self.jobs()}
        self.first_visible(selector).click()
        self.wait_until(lambda: before < {job["id"] for job in self.jobs()})
        self.wait_for_jobs()
        self.settle()

    def wait_for_jobs(self) -> None:
        """Wait until the queue is empty."""
        self.wait_until(
            lambda: all(job["state"] not in ("waiting", "running") for job in self.jobs())
        )

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 300) -> None:
        """Wait until something is so.

        Raises:
            TimeoutError: it does not become so.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("The page does not do what was expected of it.")
            time.sleep(0.2)

    def jobs(self) -> list[dict[str, Any]]:  # JSON
        """Return all jobs."""
        return self.call("GET", "jobs")["jobs"]

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # JSON
        """Return the answer of a route of the jobs API, or of one that begins with a slash."""
        address = self.server.url + (path[1:] if path.startswith("/") else f"api/v1/{path}")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            address, data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)


def _txt2img(studio: Studio) -> None:
    studio.fill_prompt("txt2img")
    studio.run_job("#txt2img_generate")


def _controlnet(studio: Studio) -> None:
    outline = Image.new("RGB", (128, 128), "white")  # the size of that model
    ImageDraw.Draw(outline).polygon([(20, 110), (110, 110), (65, 15)], outline="black", width=2)
    file = studio.server.data / "outline.png"
    outline.save(file)
    page, unit = studio.page, "#txt2img_control_units_0"
    page.click("#txt2img_controlnet summary")
    page.locator(f"{unit}_type").get_by_label("Scribble", exact=True).check()
    page.set_input_files(f"{unit}_image_file", file)
    page.check(f"{unit}_enabled")
    page.click(f"{unit}_preview")
    page.wait_for_selector(f"{unit} .unit-preview img[src*='/uploads/']:visible")
    studio.fill_prompt("txt2img", "a red triangle on a blue background")
    for name, value in (("width", "128"), ("height", "128"), ("cfg_scale", "4")):
        page.fill(f"#txt2img_{name}", value)
    studio.run_job("#txt2img_generate")
    # The lower part of the picture, and the fields.
    page.locator(f"{unit}_type").evaluate("(types) => types.scrollIntoView({block: 'center'})")


def _img2img(studio: Studio) -> None:
    studio.choose_picture("img2img_init_image")
    studio.fill_prompt("img2img", "a house with a blue roof in the snow")
    studio.run_job("#img2img_generate")


def _inpaint(studio: Studio) -> None:
    studio.choose_picture("inpaint_init_image")
    studio.fill_prompt("inpaint", "a red heart")
    board = studio.first_visible("canvas")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box is not None
    mouse, x, y = studio.page.mouse, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x - 30, y)
    mouse.down()
    for shift in ((30, 0), (30, 25), (-30, 25), (-30, -25), (30, -25)):
        mouse.move(x + shift[0], y + shift[1], steps=5)
    mouse.up()
    studio.run_job("#inpaint_generate")


def _depth(studio: Studio) -> None:
    studio.choose_picture("depth_init_image")
    studio.fill_prompt("depth", "mountains at night, stars")
    studio.run_job("#depth_generate")


def _png_info(studio: Studio) -> None:
    studio.choose_picture("png_info_image")


def _process(studio: Studio) -> None:
    studio.page.get_by_role("tab", name=re.compile("^Reverse")).first.click()
    studio.settle()
    studio.first_visible("textarea").fill(PROMPT)
    studio.run_job("#process_reverse")
    viewer = studio.first_visible(".process-viewer")
    viewer.evaluate("(element) => element.scrollIntoView({block: 'start'})")


def _gallery(studio: Studio) -> None:
    files = len(list(studio.server.data.glob("outputs/*/*/*.png")))
    studio.wait_until(lambda: studio.call("GET", "/internal/gallery/state")["count"] >= files)
    studio.open("Gallery")


def _merger(studio: Studio) -> None:
    for field_name, name in (("primary", "demo/demo-inpainting"), ("secondary", "demo/demo.")):
        box = studio.page.locator(f"#merger_{field_name}_model_name")
        box.fill(name)
        box.press("Enter")
    studio.settle()
    studio.first_visible(".merger-facts dd").wait_for()


SHOTS: Mapping[str, Shot] = {
    "txt2img": Shot(_txt2img),
    "img2img": Shot(_img2img),
    "Inpaint": Shot(_inpaint, "demo/demo-inpainting"),
    "Depth": Shot(_depth, "demo/demo-depth"),
    "PNG Info": Shot(_png_info),
    "Diffusion process": Shot(_process, is_scrolled=True),
    "Gallery": Shot(_gallery),
    "Checkpoint merger": Shot(_merger),
    "ControlNet": Shot(_controlnet, is_scrolled=True, tab="txt2img"),
}


def main() -> int:
    """Make the screenshots; return the exit status."""
    titles = *TAB_TITLES, *SECTION_TITLES
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    parser.add_argument("--phone", action="store_true", help="390x844 instead of 1280x800")
    parser.add_argument("--to", type=Path, help="folder; docs/screenshots without it")
    parser.add_argument("--only", choices=titles, help="one of them")
    options = parser.parse_args()
    if (options.dark or options.phone) and options.to is None:
        parser.error("--dark and --phone need --to: docs/screenshots has the light ones.")
    folder: Path = options.to or SCREENSHOTS
    shots = _take_all([options.only] if options.only else list(titles), options.dark, options.phone)
    folder.mkdir(parents=True, exist_ok=True)
    for title, data in shrink_below(shots, MAX_TOTAL_BYTES).items():
        file = folder / screenshot_file(title)
        file.write_bytes(data)
        print(f"{file}  {len(data) / 1000:.0f} kB")
    return 0


def _take_all(titles: list[str], dark: bool, phone: bool) -> dict[str, Image.Image]:
    """Return the screenshots of tabs, from a server with an empty data folder."""
    with tempfile.TemporaryDirectory() as data:
        os.environ["TMPDIR"] = (
            data  # the gallery shows what other runs have saved in the system's folder
        )
        server = Server(Path(data))
        try:
            server.wait_until(lambda: '"ready"' in server.state())
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
                width, height = (390, 844) if phone else (1280, 800)
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if dark else "light",
                    reduced_motion="reduce",
                )
                page.set_default_timeout(60_000)
                shots = _take(server, page, titles)
                browser.close()
        finally:
            server.stop()
    return shots


def _take(server: Server, page: Page, titles: list[str]) -> dict[str, Image.Image]:
    studio = Studio(server, page, _make_pictures(server, page))
    shots: dict[str, Image.Image] = {}
    for title in titles:
        shot = SHOTS.get(title, Shot())
        studio.call("POST", "/sdapi/v1/options", {"sd_model_checkpoint": shot.checkpoint})
        server.wait_until(lambda: '"ready"' in server.state())
        studio.open(shot.tab or title)
        if shot.prepare:
            shot.prepare(studio)
        page.mouse.move(1, 1)  # no tooltip, no highlight
        if not shot.is_scrolled:
            page.evaluate("scrollTo(0, 0)")
        studio.settle()
        shots[title] = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        print(f"{title} is taken", flush=True)
    return shots


def _make_pictures(server: Server, page: Page) -> list[Path]:
    """Make a picture for each of the prompts, for the Gallery and the Queue, and return the files."""
    studio = Studio(server, page)
    for seed, prompt in enumerate((PROMPT, *_PROMPTS)):
        job = {"task": "txt2img", "prompt": prompt, "width": 256, "height": 256, "seed": seed}
        studio.call("POST", "jobs", job)
    page.goto(server.url)
    studio.wait_for_jobs()
    return server.images()


def shrink_below(shots: Mapping[str, Image.Image], limit: int) -> dict[str, bytes]:
    """Return PNGs that are smaller than a limit together, with as many colours as that allows."""
    files: dict[str, bytes] = {}
    for colours, dither in _PALETTES:
        files = {title: _png(image, colours, dither) for title, image in shots.items()}
        if sum(map(len, files.values())) < limit:
            break
    return files


def _png(image: Image.Image, colours: int, dither: Image.Dither) -> bytes:
    buffer = io.BytesIO()
    palette = image.quantize(colours)
    image.quantize(palette=palette, dither=dither).save(buffer, "png", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
