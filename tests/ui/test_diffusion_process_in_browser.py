"""The Diffusion process tab with the demo checkpoint, in Chromium."""

from pathlib import Path

import pytest
from PIL import Image

from tests.ui.browsing import needs_browser, wait_for_value

pytestmark = needs_browser

FORWARD, REVERSE = "#process_forward_panel", "#process_reverse_panel"
WORDS = f"{REVERSE} .pv-words"


@pytest.fixture(scope="module")
def image_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "gradient.png"
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(path)
    return path


@pytest.fixture
def process(page):
    page.evaluate("webui.open('Diffusion process')")
    page.wait_for_selector("#process_picture input[type=file]", state="attached")
    return page


def show_forward(page, count: int = 5) -> None:
    page.fill("#process_count", str(count))
    page.click("#process_forward")


def one_row(page, viewer: str) -> bool:
    tops = f"[...document.querySelectorAll('{viewer} .pv-item')].map((item) => item.offsetTop)"
    return len(set(page.evaluate(tops))) == 1


def save_export(page, button: str, path: Path) -> bytes:
    with page.expect_download() as download:
        page.click(f"{REVERSE} {button}")
    download.value.save_as(path)
    return path.read_bytes()


def run_reverse(page, steps: int, other_sampler: str) -> None:
    page.click("#process_halves [role=tab]:has-text('Reverse')")
    page.fill("#process_prompt", "a red circle on a blue background")
    page.fill("#process_seed", "3")
    for name, value in (("steps", steps), ("width", 64), ("height", 64)):
        page.fill(f"#process_{name}", str(value))
    page.select_option("#process_other_sampler", other_sampler)
    page.click("#process_reverse")


def test_the_forward_process_is_shown_for_an_uploaded_image(process, image_path: Path):
    process.set_input_files("#process_picture input[type=file]", str(image_path))
    process.wait_for_selector("#process_picture img")
    show_forward(process)

    process.wait_for_selector(".process-moments table")
    process.wait_for_selector(f"{FORWARD} .pv-item")
    captions = process.locator(f"{FORWARD} .pv-item").all_inner_texts()
    assert [text.strip() for text in captions] == [f"t = {t}" for t in (0, 250, 500, 750, 1000)]
    assert one_row(process, FORWARD)
    assert "48 times fewer" in process.inner_text(".process-moments")
    charts = process.locator(f"{FORWARD} .pv-chart figcaption").all_inner_texts()
    assert [text[:3] for text in charts][2:5] == ["β: ", "ᾱ: ", "log"]

    show_forward(process, 1001)
    process.wait_for_selector(f"{FORWARD} .notice:has-text('1001 timesteps cannot be shown')")
    process.wait_for_selector(f"{FORWARD} .process-viewer:not(.pv-busy)")
    assert process.locator(f"{FORWARD} .pv-item").count() == 5, "the figures are kept"


def test_without_an_image_the_message_asks_for_an_upload(process):
    show_forward(process)
    process.wait_for_selector(f"{FORWARD} .notice:has-text('There is no picture yet')")


def test_the_reverse_process_is_shown_step_by_step(process, server, tmp_path: Path):
    before = len(server.images())
    run_reverse(process, 4, "Heun")
    process.wait_for_selector(f"{REVERSE} .pv-busy, {REVERSE} .pv-item", state="attached")
    process.wait_for_selector(f"{WORDS}:has-text('Evaluation 4 of 4: sigma 0.029, timestep 0')")
    assert process.locator(f"{REVERSE} .pv-chart").count() == 4
    assert process.is_hidden("#process_interrupt")
    assert len(server.images()) == before + 2
    assert process.locator(f"{REVERSE} .pv-track").count() == 2, "two samplers side by side"

    requests: list[str] = []
    process.on("request", lambda request: requests.append(request.url))
    process.focus(f"{REVERSE} .process-viewer")
    process.keyboard.press("Home")
    process.wait_for_selector(f"{WORDS}:has-text('Evaluation 1 of 4: sigma 14.615, timestep 999')")
    assert "14.61" in process.text_content(f"{REVERSE} .pv-formulas")
    process.keyboard.press("ArrowRight")
    process.wait_for_selector(f"{WORDS}:has-text('Evaluation 2 of 4')")
    process.select_option(f"{REVERSE} .pv-speed", "30")
    process.keyboard.press("Escape")
    process.click(f"{REVERSE} .pv-play")
    process.wait_for_selector(f"{WORDS}:has-text('Evaluation 4 of 4')")
    process.click(f"{REVERSE} .pv-item >> nth=2")
    process.wait_for_selector("dialog[open] p:has-text('Evaluation 3 of 4')")
    process.keyboard.press("ArrowLeft")
    process.wait_for_selector("dialog[open] p:has-text('Evaluation 2 of 4')")
    process.keyboard.press("Escape")
    assert not [url for url in requests if "/internal/process" in url]

    process.click(f"{REVERSE} .pv-animate")
    process.wait_for_selector(f"{REVERSE} .pv-animation")
    assert save_export(process, ".pv-png", tmp_path / "strip.png").startswith(b"\x89PNG")
    save_export(process, ".pv-page", tmp_path / "process.html")
    exported = process.context.new_page()
    errors: list[object] = []
    exported.on("pageerror", lambda error: errors.append(error))
    exported.goto((tmp_path / "process.html").as_uri())
    exported.wait_for_selector(".pv-words:has-text('Evaluation 4 of 4')")
    exported.keyboard.press("Tab")
    exported.keyboard.press("Home")
    exported.wait_for_selector(".pv-words:has-text('Evaluation 1 of 4')")
    exported.close()
    assert errors == []


def test_a_finished_image_shows_how_it_was_made(page):
    page.fill("#txt2img_prompt", "a yellow star on a black background")
    for name, value in (("steps", 3), ("width", 64), ("height", 64)):
        page.fill(f"#txt2img_{name}", str(value))
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('a yellow star')")

    page.click("#txt2img_how")

    page.wait_for_selector(f"{WORDS}:has-text('Evaluation 3 of 3')")
    page.wait_for_selector(f"{REVERSE} [data-view=denoised]")
    wait_for_value(page, "#process_prompt", "a yellow star on a black background")
    for name, value in (("steps", 3), ("width", 64), ("height", 64)):
        wait_for_value(page, f"#process_{name}", str(value))
    page.click("#process_halves [role=tab]:has-text('Forward')")
    page.wait_for_selector("#process_picture img")

    page.reload()
    page.click("#process_halves [role=tab]:has-text('Reverse')")
    page.wait_for_selector(f"{WORDS}:has-text('Evaluation 3 of 3')")
    wait_for_value(page, "#process_prompt", "a yellow star on a black background")
