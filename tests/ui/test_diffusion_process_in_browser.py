"""The Diffusion process tab with the demo checkpoint, in Chromium."""

from pathlib import Path

import pytest
from PIL import Image

from tests.ui.browsing import needs_browser
from tests.ui.idle import wait_until_idle

pytestmark = needs_browser


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
    page.fill("#process_count input", str(count))
    page.click("#process_forward")


def run_reverse(page, steps: int) -> None:
    page.evaluate("webui.open('Reverse: noise to picture')")
    page.wait_for_selector("#process_prompt textarea")
    page.fill("#process_prompt textarea", "a red circle on a blue background")
    page.fill("#process_seed input", "3")
    for name, value in (("steps", steps), ("width", 64), ("height", 64)):
        page.fill(f"#process_{name} input[type=number]", str(value))
        page.keyboard.press("Tab")
    page.click("#process_reverse")


def test_the_forward_process_is_shown_for_an_uploaded_image(process, image_path: Path):
    process.set_input_files("#process_picture input[type=file]", str(image_path))
    process.wait_for_selector("#process_picture img")
    show_forward(process)

    process.wait_for_selector("#process_moments table")
    assert process.locator("#process_strip figure").count() == 5
    captions = process.locator("#process_strip figcaption").all_inner_texts()
    assert [text.split("\n")[0] for text in captions] == [
        f"t = {t}" for t in (0, 250, 500, 750, 1000)
    ]
    assert "48 times fewer" in process.inner_text("#process_numbers")
    process.wait_for_selector("#process_trained .main-svg")
    process.wait_for_selector("#process_forward_histogram .main-svg")

    show_forward(process, 1001)
    process.wait_for_selector(
        "#process_forward_message p:has-text('1001 timesteps cannot be shown')"
    )
    assert process.locator("#process_strip figure").count() == 5, "the figures are kept"


def test_without_an_image_the_message_asks_for_an_upload(process):
    show_forward(process)
    process.wait_for_selector(
        "#process_forward_message p:has-text('There is no picture. Upload one.')"
    )


def test_the_reverse_process_is_shown_step_by_step(process, server):
    before = len(server.images())
    run_reverse(process, 4)
    process.wait_for_selector("#process_caption:has-text('Evaluation 4: sigma 0.029, timestep 0')")
    process.wait_for_selector("#process_distances .main-svg")
    process.wait_for_selector("#process_schedules .main-svg")
    process.wait_for_selector("#process_histogram .main-svg")
    assert len(server.images()) == before + 1

    process.fill("#process_step input[type=number]", "1")
    process.keyboard.press("Tab")
    process.wait_for_selector(
        "#process_caption:has-text('Evaluation 1: sigma 14.615, timestep 999')"
    )

    process.click("#process_animate")
    process.wait_for_selector("#process_animation a[download]")


def test_a_finished_image_shows_how_it_was_made(page):
    page.fill("#txt2img_prompt textarea", "a yellow star on a black background")
    for name, value in (("steps", 3), ("width", 64), ("height", 64)):
        page.fill(f"#txt2img_{name} input[type=number]", str(value))
        page.keyboard.press("Tab")
    wait_until_idle(page)
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('a yellow star')")

    page.click("#txt2img_how")

    page.wait_for_selector("#process_caption:has-text('Evaluation 3')")
    page.wait_for_selector("#process_view_denoised img")
    page.evaluate("webui.open('Forward: picture to noise')")
    page.wait_for_selector("#process_picture img")
