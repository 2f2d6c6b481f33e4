"""Upscalers on the page: the one that ships enlarges a picture in hires fix, and the others are fetched from its list."""

from __future__ import annotations

import json

from tests.ui.browsing import needs_browser

pytestmark = needs_browser

STATES = [
    {"state": "running", "received": 20, "size": 40},
    {"state": "checking", "received": 40, "size": 40},
    {"state": "done", "received": 40, "size": 40},
]


def open_hires(page) -> None:
    page.fill("#txt2img_prompt", "a red circle on a blue background")
    page.uncheck("#txt2img_enable_hr")  # the browser keeps the form
    page.check("#txt2img_enable_hr")
    page.wait_for_selector("#txt2img_hr_upscaler", state="visible")


def test_the_upscalers_are_fetched_from_their_list(page):
    asked: list[str] = []
    states = iter(STATES)

    def start(route) -> None:
        asked.append(route.request.url.rsplit("/", 1)[-1])
        route.fulfill(json={"id": "one"})

    def progress(route) -> None:
        state = {"id": "one", "error": "", "note": "", **next(states)}
        route.fulfill(body=json.dumps({"downloads": [state]}), content_type="application/json")

    page.route("**/internal/downloads/official/*", start)
    page.route("**/internal/downloads/progress", progress)
    open_hires(page)
    page.focus("#txt2img_hr_upscaler_get")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Fetching, 50 %")
    page.wait_for_selector("text=Converting the files…")
    page.wait_for_selector("text=They are in the list now.")
    assert asked == ["real-esrgan"]

    page.unroute("**/internal/downloads/official/*")
    page.route(
        "**/internal/downloads/official/*",
        lambda route: route.fulfill(status=400, json={"detail": "pip did not get it."}),
    )
    page.click("#txt2img_hr_upscaler_get")
    page.wait_for_selector(".upscaler-words:has-text('pip did not get it.')")


def test_the_shipped_upscaler_enlarges_in_hires_fix(page):
    open_hires(page)
    page.select_option("#txt2img_hr_upscaler", "R-ESRGAN AnimeVideo")
    for name, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#txt2img_{name}", str(value))
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext:has-text('Hires upscaler: R-ESRGAN AnimeVideo')")
    page.wait_for_function(
        "document.querySelector('#txt2img_infotext').textContent.includes('64x64')"
    )
