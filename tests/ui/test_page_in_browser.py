"""The whole page in Chromium: generation, reloads, phones, stopping."""

import json
import re
import urllib.request

import numpy as np
from PIL import Image

from tests.ui.browsing import (
    ROOT,
    Traffic,
    needs_browser,
    open_tab,
    wait_for_value,
    wait_until_filled,
    wait_until_kept,
)

pytestmark = needs_browser


def fill_form(page, prompt: str, *, steps: int = 20, side: int = 128, count: int = 1) -> None:
    page.fill("#txt2img_prompt", prompt)
    for name, value in {"width": side, "height": side, "steps": steps, "n_iter": count}.items():
        page.fill(f"#txt2img_{name}", str(value))


def mean_colour(image: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    width, height = image.size
    part = image.crop(
        (int(box[0] * width), int(box[1] * height), int(box[2] * width), int(box[3] * height))
    )
    return np.asarray(part.convert("RGB"), dtype=float).mean(axis=(0, 1))


def test_a_prompt_becomes_a_saved_image_with_its_infotext(server, page):
    fill_form(page, "a red circle on a blue background")
    page.fill("#txt2img_seed", "3")
    before = len(server.images())

    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('Seed: 3,')")
    page.wait_for_selector(".output-box img")

    assert len(server.images()) == before + 1
    with Image.open(server.images()[-1]) as image:
        assert image.size == (128, 128)
        assert image.info["parameters"] == page.inner_text("#txt2img_infotext pre")
        red, _, blue = mean_colour(image, (0.42, 0.42, 0.58, 0.58))
        assert red > 120 > blue
        red, _, blue = mean_colour(image, (0, 0, 1, 0.08))
        assert blue > 120 > red


def test_the_page_waits_for_its_script_that_comes_late(page):
    def hold(route):
        page.wait_for_function("window.webuiCalls.length > 0")  # Gradio has called it already
        route.continue_()

    page.route("**/webui.js", hold)
    page.reload()
    wait_until_filled(page)
    page.wait_for_selector("#engine_state .state:has-text('Ready')")


def test_the_gallery_shows_the_saved_file(server, page):
    fill_form(page, "mountains at sunset", steps=4)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#txt2img_infotext pre:has-text('mountains at sunset')")

    url = page.evaluate("document.querySelector('.output-box img').src")
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.read() == server.images()[-1].read_bytes()


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
    open_tab(page, "Queue")
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

    open_tab(page, "Settings")
    option = page.locator(".settings-option:has(#option_uni_pc_order)")
    option.wait_for()
    page.fill(".settings-find", "uni_pc_order")
    page.wait_for_function(
        "document.querySelectorAll('.settings-option:not([hidden])').length === 1"
    )
    option.locator("input[type=number]").fill("2")
    page.keyboard.press("Tab")
    page.wait_for_selector(".settings-words:has-text('Saved')")
    assert stored() == 2

    option.locator("button").click()
    wait_for_value(page, "#option_uni_pc_order", "3")
    assert stored() == 3
    page.fill(".settings-find", "no such option")
    page.wait_for_selector(".settings-words:has-text('No option matches')")


def test_a_size_that_is_no_multiple_of_8_is_reported(page):
    fill_form(page, "a red circle", steps=2, side=130)

    page.click("#txt2img_generate")

    words = "Width is 130, not a multiple of 8; use 128 or 136."
    page.wait_for_selector(f"#txt2img_width_problem:has-text('{words}')")
    page.wait_for_selector(f".output [role=alert]:has-text('{words}')")


def test_seed_buttons_reuse_and_reset_the_seed(page):
    fill_form(page, "a red circle", steps=2, side=64)
    page.click("#txt2img_random_seed")
    page.wait_for_function("document.querySelector('#txt2img_seed').value === '-1'")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('Size: 64x64')")
    seed = re.search(r"Seed: (\d+)", page.inner_text("#txt2img_infotext pre"))[1]

    page.click("#txt2img_reuse_seed")

    page.wait_for_function(f"document.querySelector('#txt2img_seed').value === '{seed}'")


def test_clip_skip_applies_to_the_next_image(page):
    slider = "#setting_CLIP_stop_at_last_layers"
    page.fill(slider, "2")
    page.keyboard.press("Tab")
    fill_form(page, "a red circle", steps=2, side=64)

    page.click("#txt2img_generate")

    page.wait_for_selector("#txt2img_infotext pre:has-text('Clip skip: 2')")
    page.fill(slider, "1")
    with page.expect_response("**/internal/model/option"):
        page.keyboard.press("Tab")
    page.reload()
    wait_for_value(page, slider, "1")


def test_an_idle_page_requests_only_the_state(page):
    fill_form(page, "a red circle", steps=2, side=64)
    page.clock.install()
    traffic = Traffic(page)
    with page.expect_response("**/internal/describe"):  # the form's notes, once it is filled
        page.reload()
    wait_until_filled(page)
    traffic.wait_until_quiet()
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    for _ in range(4):
        page.clock.run_for(15_000)
        traffic.wait_until_quiet()
    assert urls, "the state is asked for"
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


def test_a_phone_has_prompt_picture_and_generate_in_the_first_screen(page):
    page.set_viewport_size({"width": 390, "height": 844})
    tops = {
        name: page.locator(selector).bounding_box()["y"]
        for name, selector in {
            "prompt": "#txt2img_prompt",
            "picture": ".generation .output-box",
            "steps": "#txt2img_steps",
        }.items()
    }

    assert sorted(tops, key=tops.get) == ["prompt", "picture", "steps"]
    generate = page.locator("#txt2img_generate").bounding_box()
    assert 700 < generate["y"] < 844 - generate["height"]
    assert tops["prompt"] < 300
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_tab_has_an_address_and_back_leads_to_the_one_before(server, page):
    open_tab(page, "Queue")
    assert page.url == f"{server.url}#Queue"
    open_tab(page, "PNG Info")
    page.go_back()
    page.wait_for_selector("#queue:visible")
    page.reload()
    page.wait_for_selector("#queue:visible")
    page.wait_for_selector(".tab-bar a[aria-current=page]:text-is('Queue')")


def test_the_colours_are_chosen_and_kept(page):
    page.emulate_media(color_scheme="light")
    assert not page.evaluate("document.body.classList.contains('dark')")
    page.click("#theme_button")  # light
    page.click("#theme_button")  # dark
    page.reload()
    page.wait_for_function("document.body.classList.contains('dark')")
    page.click("#theme_button")  # as the system again
    page.wait_for_function("!document.body.classList.contains('dark')")


def test_a_banner_that_was_closed_stays_closed(page):
    note = page.locator(".bar-note", has_text="Demo model")
    note.wait_for()
    note.locator("button").click()
    page.reload()
    page.wait_for_selector("#engine_state .state[data-phase=ready]")
    page.wait_for_selector(".bar-note:has-text('CPU')")
    assert note.count() == 0
    page.evaluate("localStorage.clear()")


def test_two_tabs_of_a_browser_keep_their_own_forms(server, browser, page):
    page.fill("#txt2img_prompt", "a yellow square")
    other = browser.new_page()
    other.goto(server.url)
    wait_until_filled(other)
    other.fill("#txt2img_prompt", "a green triangle")
    wait_until_kept(other, "txt2img", "prompt", "a green triangle")
    page.reload()
    wait_for_value(page, "#txt2img_prompt", "a yellow square")
    other.close()


def test_the_bar_has_the_options_that_were_chosen_for_it(server, page):
    open_tab(page, "Settings")
    page.fill(".settings-find", "quicksettings")
    page.select_option("#option_quicksettings_list_add", "eta_ddim")
    page.wait_for_selector("#setting_eta_ddim")
    page.fill("#setting_eta_ddim", "0.5")
    with page.expect_response("**/internal/model/option"):
        page.keyboard.press("Tab")
    with urllib.request.urlopen(f"{server.url}sdapi/v1/options", timeout=60) as answer:
        assert json.load(answer)["eta_ddim"] == 0.5
    for name in ("eta_ddim", "quicksettings_list"):
        page.fill(".settings-find", name)
        page.click(f".settings-option:has([id^=option_{name}]) .settings-back")
    page.wait_for_selector("#setting_eta_ddim", state="detached")


def test_the_largest_seed_is_not_rounded_and_png_info_reproduces_its_image(server, page):
    fill_form(page, "a red circle", steps=3, side=64)
    page.fill("#txt2img_seed", "18446744073709551616")
    page.click("#txt2img_generate")
    page.wait_for_selector(
        ".output [role=alert]:has-text('Seed is 18446744073709551616; the largest valid')"
    )
    page.fill("#txt2img_seed", "18446744073709551615")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_infotext pre:has-text('Seed: 18446744073709551615')")
    image_path = server.images()[-1]

    open_tab(page, "PNG Info")
    page.set_input_files("#png_info_image input[type=file]", image_path)
    page.wait_for_selector(".png-info td:has-text('18446744073709551615')")
    assert page.inner_text("#png_info_infotext").startswith("a red circle")
    page.click("#png_info_generate")
    page.wait_for_selector(".verdict:has-text('Identical: all 4096 pixels are the same.')")
    page.wait_for_selector(".png-info-made img[alt='Made again']")

    page.click("#png_info_to_txt2img")
    wait_for_value(page, "#txt2img_seed", "18446744073709551615")


def test_refresh_finds_a_new_file_and_shows_why_a_broken_one_cannot_be_used(server, page):
    folder = server.data / "models" / "Stable-diffusion"
    folder.mkdir(parents=True, exist_ok=True)
    demo = ROOT / "models" / "Stable-diffusion" / "demo"
    (folder / "mine.safetensors").write_bytes((demo / "demo.safetensors").read_bytes())
    (folder / "mine.yaml").write_bytes((demo / "demo.yaml").read_bytes())
    (folder / "cut.safetensors").write_bytes((demo / "demo.safetensors").read_bytes()[:1_000_000])

    with page.expect_response("**/internal/choices"):
        page.click("#refresh_checkpoints")
    page.click("#setting_sd_model_checkpoint")
    page.locator("[role=option]", has_text="cut.safetensors").click()
    page.wait_for_selector("#bar .bar-words:has-text('is incomplete: 1.0 of')")
    page.click("#setting_sd_model_checkpoint")
    page.locator("[role=option]", has_text="mine.safetensors").click()

    server.wait_until(lambda: '"checkpoint":"mine.safetensors"' in server.state())
    page.wait_for_selector(".bar-words", state="hidden")


def test_the_page_fills_the_window(page):
    page.set_viewport_size({"width": 1280, "height": 900})

    assert page.locator(".bar-row").bounding_box()["width"] > 1200


def test_a_first_visit_has_the_models_native_size_and_a_reload_keeps_the_users_size(server, page):
    page.goto(f"{server.url}internal/ping")  # the same origin, without a page that stores anything
    page.evaluate("localStorage.clear(); sessionStorage.clear()")
    page.goto(server.url)
    page.wait_for_function("document.querySelector('#txt2img_width')?.value === '256'")

    for name in ("width", "height"):
        page.fill(f"#txt2img_{name}", "512")
    page.reload()

    wait_for_value(page, "#txt2img_width", "512")
