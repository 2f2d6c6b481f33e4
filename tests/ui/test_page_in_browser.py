"""The whole page in Chromium: generation, reloads, phones, stopping."""

import json
import re
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.backend.checkpoints_depth import write_depth
from tests.ui.browsing import (
    ROOT,
    Server,
    needs_browser,
    wait_for_value,
    wait_until_filled,
)
from tests.ui.idle import wait_until_idle

pytestmark = needs_browser


def fill_number(page, name: str, value: int) -> None:
    page.fill(f"#txt2img_{name} input[type=number]", str(value))
    page.keyboard.press("Tab")


def fill_form(page, prompt: str, *, steps: int = 20, side: int = 128, count: int = 1) -> None:
    page.fill("#txt2img_prompt textarea", prompt)
    fill_number(page, "width", side)
    fill_number(page, "height", side)
    fill_number(page, "steps", steps)
    fill_number(page, "n_iter", count)
    wait_until_idle(page)


def mean_colour(image: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    width, height = image.size
    part = image.crop(
        (int(box[0] * width), int(box[1] * height), int(box[2] * width), int(box[3] * height))
    )
    return np.asarray(part.convert("RGB"), dtype=float).mean(axis=(0, 1))


def test_a_prompt_becomes_a_saved_image_with_its_infotext(server, page):
    fill_form(page, "a red circle on a blue background")
    page.fill("#txt2img_seed input", "3")
    before = len(server.images())

    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('Seed: 3,')")
    page.wait_for_selector("#txt2img_gallery img")

    assert len(server.images()) == before + 1
    with Image.open(server.images()[-1]) as image:
        assert image.size == (128, 128)
        assert image.info["parameters"] == page.inner_text("#txt2img_infotext pre")
        red, _, blue = mean_colour(image, (0.42, 0.42, 0.58, 0.58))
        assert red > 120 > blue
        red, _, blue = mean_colour(image, (0, 0, 1, 0.08))
        assert blue > 120 > red


def test_the_page_waits_for_its_script_that_comes_late(page):
    page.route("**/webui.js", lambda route: (page.wait_for_timeout(6000), route.continue_()))
    page.reload()
    wait_until_filled(page)
    page.wait_for_selector("#engine_state .state:has-text('Ready')")


def test_the_gallery_shows_the_saved_file(server, page):
    fill_form(page, "mountains at sunset", steps=4)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#txt2img_infotext pre:has-text('mountains at sunset')")

    url = page.get_attribute("#txt2img_gallery img", "src")
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.read() == server.images()[-1].read_bytes()


def test_a_reload_restores_the_running_job_and_the_form(page):
    fill_form(page, "a yellow star on a purple background", steps=150, count=50)
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_progress .words:has-text('step')")

    page.reload()
    page.wait_for_selector("#txt2img_interrupt:visible")
    page.wait_for_selector("#txt2img_progress .words:has-text('of 7500')")

    wait_for_value(page, "#txt2img_prompt textarea", "a yellow star on a purple background")
    page.click("#txt2img_interrupt")
    page.wait_for_selector("#txt2img_message p:has-text('Interrupted')")
    page.wait_for_selector("#txt2img_generate:visible")


def test_a_preview_is_shown_while_the_job_runs(page):
    fill_form(page, "a green heart on a white background", steps=150, count=50)
    page.click("#txt2img_generate")

    page.wait_for_selector("#txt2img_progress img.preview:visible")

    page.click("#txt2img_interrupt")
    page.wait_for_selector("#txt2img_generate:visible")


def test_the_queue_tab_shows_a_job_and_stops_retries_and_pauses(server, page):
    body = {
        "task": "txt2img",
        "prompt": "a queue of hearts",
        "steps": 20,
        "width": 64,
        "height": 64,
        "n_iter": 500,
    }
    headers = {"content-type": "application/json"}
    url = f"{server.url}api/v1/jobs"
    urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60
    ).close()
    page.click("button[role=tab]:has-text('Queue')")
    running = ".queue-jobs .queue-job[data-state=running]"
    page.wait_for_selector(f"{running} .queue-prompt:has-text('a queue of hearts')")
    page.wait_for_selector(f"{running} .queue-thumbnails img")

    page.click(f"{running} [data-queue=finish]")
    page.wait_for_selector(
        ".queue-past .queue-job:first-child .queue-state:has-text('of 500 pictures were finished')"
    )

    page.click("#queue [data-queue=pause]")
    page.wait_for_selector(".queue-words:has-text('Paused')")
    page.click(".queue-past .queue-job:first-child [data-queue=retry]")
    page.wait_for_selector(".queue-jobs .queue-state:has-text('Waiting, number 1')")
    page.click("#queue [data-queue=cancel]")
    page.wait_for_selector(".queue-jobs .queue-job", state="detached")
    page.click("#queue [data-queue=resume]")
    page.wait_for_selector(".queue-words:has-text('Nothing runs')")


def test_the_settings_tab_finds_saves_and_resets_an_option(server, page):
    def stored() -> int:
        with urllib.request.urlopen(f"{server.url}sdapi/v1/options", timeout=60) as answer:
            return json.load(answer)["uni_pc_order"]

    page.click("button[role=tab]:has-text('Settings')")
    option = page.locator(".settings-option:has(#option_uni_pc_order)")
    option.wait_for()
    page.fill(".settings-find", "uni_pc_order")
    page.wait_for_function(
        "document.querySelectorAll('.settings-option:not([hidden])').length === 1"
    )
    option.locator("input").fill("2")
    page.keyboard.press("Tab")
    page.wait_for_selector(".settings-words:has-text('Saved')")
    assert stored() == 2

    option.locator("button").click()
    page.wait_for_function(
        "document.querySelector('.settings-option:not([hidden]) input').value === '3'"
    )
    assert stored() == 3
    page.fill(".settings-find", "no such option")
    page.wait_for_selector(".settings-words:has-text('No option matches')")


def test_a_size_that_is_no_multiple_of_8_is_reported(page):
    fill_form(page, "a red circle", steps=2, side=130)

    page.click("#txt2img_generate")

    page.wait_for_selector(
        "#txt2img_message p:has-text('Width is 130, not a multiple of 8; use 128 or 136.')"
    )


def test_seed_buttons_reuse_and_reset_the_seed(page):
    fill_form(page, "a red circle", steps=2, side=64)
    page.click("#txt2img_random_seed")
    page.wait_for_function("document.querySelector('#txt2img_seed input').value === '-1'")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('Size: 64x64')")
    seed = re.search(r"Seed: (\d+)", page.inner_text("#txt2img_infotext pre"))[1]

    page.click("#txt2img_reuse_seed")

    page.wait_for_function(f"document.querySelector('#txt2img_seed input').value === '{seed}'")


def test_clip_skip_applies_to_the_next_image(page):
    slider = "#setting_CLIP_stop_at_last_layers input[type=number]"
    page.fill(slider, "2")
    wait_until_idle(page)
    fill_form(page, "a red circle", steps=2, side=64)

    page.click("#txt2img_generate")

    page.wait_for_selector("#txt2img_infotext pre:has-text('Clip skip: 2')")
    page.fill(slider, "1")
    wait_until_idle(page)
    page.reload()
    wait_for_value(page, slider, "1")


def test_an_idle_page_requests_only_the_state(page):
    fill_form(page, "a red circle", steps=2, side=64)
    page.reload()
    wait_until_filled(page)
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.wait_for_timeout(2000)  # nothing may happen for this long
    assert [url for url in urls if not url.endswith("/internal/state")] == []


def test_nothing_is_fetched_from_another_host(server, browser):
    urls = []
    page = browser.new_page()
    page.on("request", lambda request: urls.append(request.url))
    page.goto(server.url)
    wait_until_filled(page)
    page.close()

    own = (server.url, "data:", "blob:")
    assert [url for url in urls if not url.startswith(own)] == []


def test_a_phone_shows_generate_and_gallery_before_the_settings(page):
    page.set_viewport_size({"width": 390, "height": 844})
    tops = {
        name: page.locator(f"#txt2img_{name}").bounding_box()["y"]
        for name in ("prompt", "generate", "gallery", "steps")
    }

    assert sorted(tops, key=tops.get) == ["prompt", "generate", "gallery", "steps"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def choose_checkpoint(server, page, name: str) -> None:
    page.click("#setting_sd_model_checkpoint input")
    page.locator("[role=option]", has_text=name).click()
    server.wait_until(lambda: f'"checkpoint":"{name}"' in server.state())


@pytest.fixture
def deep(server, page):
    """Add a depth checkpoint without selecting it; select the demo again afterwards."""
    folder = server.data / "models" / "Stable-diffusion"
    folder.mkdir(parents=True, exist_ok=True)
    yield write_depth(folder / "deep.safetensors").name
    page.set_viewport_size({"width": 1280, "height": 900})
    choose_checkpoint(server, page, "demo/demo.safetensors")


def test_the_depth_tab_repaints_an_uploaded_image(server, page, deep):
    before = set(server.data.glob("outputs/img2img-images/*/*.png"))
    photo = server.data / "photo.jpg"
    Image.linear_gradient("L").save(photo)
    page.click("#refresh_checkpoints")
    wait_until_idle(page)
    page.click("button[role=tab]:has-text('Depth')")
    page.wait_for_selector("#depth_generate[data-filled]")
    page.wait_for_selector("#depth_model_message p:has-text('is not a depth checkpoint')")
    assert not page.is_visible("#depth_interrupt")

    choose_checkpoint(server, page, deep)
    page.wait_for_function("!document.querySelector('#depth_model_message p')")
    page.set_input_files("#depth_init_image input[type=file]", photo)
    page.wait_for_selector("#depth_init_image img")
    page.click("#depth_estimate")
    page.wait_for_selector("#depth_preview img")
    for name, value in {"width": 128, "height": 64, "steps": 4}.items():
        page.fill(f"#depth_{name} input[type=number]", str(value))
        page.keyboard.press("Tab")
    wait_until_idle(page)
    page.click("#depth_generate")
    page.wait_for_selector("#depth_infotext pre:has-text('Denoising strength: 0.75')")

    (saved,) = set(server.data.glob("outputs/img2img-images/*/*.png")) - before
    with Image.open(saved) as image:
        assert image.size == (128, 64)
        assert image.info["parameters"] == page.inner_text("#depth_infotext pre")
    # Image and depth map, in the strip and in the grid behind it.
    assert page.locator("#depth_gallery .thumbnail-item").count() == 4

    page.set_viewport_size({"width": 390, "height": 844})
    names = ("generate", "init_image", "gallery", "steps")
    tops = {name: page.locator(f"#depth_{name}").bounding_box()["y"] for name in names}
    assert sorted(tops, key=tops.get) == list(names)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_largest_seed_is_not_rounded_and_png_info_reproduces_its_image(server, page):
    fill_form(page, "a red circle", steps=3, side=64)
    page.fill("#txt2img_seed input", "18446744073709551616")
    page.click("#txt2img_generate")
    page.wait_for_selector(
        "#txt2img_message p:has-text('Seed is 18446744073709551616; the largest valid')"
    )
    page.fill("#txt2img_seed input", "18446744073709551615")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('Seed: 18446744073709551615')")
    image_path = server.images()[-1]

    page.click("button[role=tab]:has-text('PNG Info')")
    page.set_input_files("#png_info_image input[type=file]", image_path)
    page.wait_for_selector("#png_info_fields td:has-text('18446744073709551615')")
    assert page.inner_text("#png_info_infotext pre").startswith("a red circle")
    page.click("#png_info_generate")
    page.wait_for_selector(
        "#png_info_verdict p:has-text('Identical: all 4096 pixels are the same.')"
    )
    page.wait_for_selector("#png_info_gallery img")

    page.click("#png_info_to_txt2img")
    page.wait_for_function(
        "document.querySelector('#txt2img_seed input').value === '18446744073709551615'"
    )


def test_ctrl_c_stops_a_running_job_at_once_without_errors(tmp_path, browser):
    server = Server(tmp_path)
    server.wait_until(lambda: '"ready"' in server.state())
    page = browser.new_page()
    page.goto(server.url)
    wait_until_filled(page)
    fill_form(page, "mountains at night", steps=20, count=100)
    page.click("#txt2img_generate")
    server.wait_until(lambda: len(server.images()) >= 2)

    status, took_s = server.stop()

    page.close()
    log = server.log.read_text()
    assert status == 0
    assert took_s < max(3, server.start_s)  # on a machine under load both take longer
    assert "Traceback" not in log
    for path in server.images():
        with Image.open(path) as image:
            image.load()


def test_refresh_finds_a_new_file_and_shows_why_a_broken_one_cannot_be_used(server, page):
    folder = server.data / "models" / "Stable-diffusion"
    folder.mkdir(parents=True, exist_ok=True)
    demo = ROOT / "models" / "Stable-diffusion" / "demo"
    (folder / "mine.safetensors").write_bytes((demo / "demo.safetensors").read_bytes())
    (folder / "mine.yaml").write_bytes((demo / "demo.yaml").read_bytes())
    (folder / "cut.safetensors").write_bytes((demo / "demo.safetensors").read_bytes()[:1_000_000])

    page.click("#refresh_checkpoints")
    wait_until_idle(page)
    page.click("#setting_sd_model_checkpoint input")
    page.locator("[role=option]", has_text="cut.safetensors").click()
    page.wait_for_selector("#checkpoint_message p:has-text('is incomplete: 1.0 of')")
    page.click("#setting_sd_model_checkpoint input")
    page.locator("[role=option]", has_text="mine.safetensors").click()

    server.wait_until(lambda: '"checkpoint":"mine.safetensors"' in server.state())
    page.wait_for_function("!document.querySelector('#checkpoint_message p')")


def test_the_page_fills_the_window(page):
    page.set_viewport_size({"width": 1280, "height": 900})

    assert page.locator("#checkpoint_bar").bounding_box()["width"] > 1200


def test_a_first_visit_has_the_models_native_size_and_a_reload_keeps_the_users_size(server, page):
    page.goto(f"{server.url}internal/ping")  # the same origin, without a page that stores anything
    page.evaluate("localStorage.clear(); sessionStorage.clear()")
    page.goto(server.url)
    page.wait_for_function("document.querySelector('#txt2img_width input')?.value === '256'")

    fill_number(page, "width", 512)
    fill_number(page, "height", 512)
    wait_until_idle(page)
    page.reload()

    wait_for_value(page, "#txt2img_width input[type=number]", "512")
