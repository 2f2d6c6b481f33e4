"""Extras in Chromium: a picture sent from another tab is enlarged, compared with its source, and sent on."""

from __future__ import annotations

from PIL import Image

from tests.backend.upscale.tiny_upscalers import make_network, write_network
from tests.ui.browsing import needs_browser, wait_for_value

pytestmark = needs_browser


def test_a_picture_is_enlarged_compared_and_sent_on(page, tmp_path):
    page.fill("#txt2img_prompt", "a red circle on a blue background")
    for name, value in {"steps": 2, "width": 64, "height": 64}.items():
        page.fill(f"#txt2img_{name}", str(value))
    page.click("#txt2img_generate")
    page.click("#txt2img_to_extras")
    page.wait_for_selector("#extras_image .picture-size:has-text('64 \u00d7 64')")

    page.select_option("#extras_upscaler_1", "Lanczos")
    page.wait_for_selector(".extras .field-note:has-text('From 64x64 to 128x128.')")
    page.wait_for_selector(".extras .field-note:has-text('GFPGAN has no file. Put GFPGANv1.4.pth')")
    page.click("#extras_generate")
    page.wait_for_selector("#extras_compare .extras-words:has-text('After: 128 \u00d7 128')")
    infotext = page.inner_text("#extras_infotext pre")
    assert "a red circle on a blue background" in infotext
    assert infotext.endswith("Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos")
    slider = page.locator("#extras_compare input")
    slider.focus()
    page.keyboard.press("Home")
    assert slider.input_value() == "0"

    page.click("#extras_to_img2img")
    page.wait_for_selector("#img2img_init_image .picture-size:has-text('128 \u00d7 128')")
    assert page.input_value("#img2img_prompt") == "a red circle on a blue background"

    page.goto(f"{page.url.split('#')[0]}#Extras")
    page.check("#extras_resize_mode input >> nth=1")
    page.wait_for_selector("#extras_upscaling_crop")
    assert page.is_hidden("#extras_upscaling_resize")
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    for file in files:
        Image.new("RGB", (16, 8), "red").save(file)
    page.click(".extras summary:has-text('Batch')")
    page.set_input_files("#extras_batch_files_file", files)
    page.wait_for_selector("#extras_batch_files li >> nth=1")
    page.click("#extras_batch")
    page.wait_for_selector(".extras .output-place a:has-text('one')")
    page.reload()
    page.wait_for_selector(".extras .output-place a:has-text('one')")


def test_resize_is_taken_from_the_upscalers_name_where_that_is_asked_for(page, server):
    write_network(
        server.data / "models" / "ESRGAN" / "4x-tiny.pth", make_network("Compact").state_dict()
    )
    page.request.post(f"{server.url}internal/model", data={"action": "refresh"})
    option = "set_scale_by_when_changing_upscaler"
    url = f"{server.url}internal/settings"
    for is_on, resize in ((True, "4"), (False, "3")):
        page.request.post(url, data={"changes": {option: is_on}})
        page.goto(f"{server.url}#Extras")
        page.reload()
        page.wait_for_selector("#extras_upscaler_1 option:has-text('4x-tiny')", state="attached")
        page.fill("#extras_upscaling_resize", "3")
        page.select_option("#extras_upscaler_1", "Lanczos")
        page.select_option("#extras_upscaler_1", "4x-tiny")
        wait_for_value(page, "#extras_upscaling_resize", resize)
