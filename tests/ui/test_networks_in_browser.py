"""The panel of networks in Chromium: cards, chips, details, and what they do to the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.models.networks.lora_files import write_lora
from tests.ui.browsing import needs_browser, wait_for_value, wait_until_filled

pytestmark = needs_browser

PROMPT, NEGATIVE, PANEL = "#txt2img_prompt", "#txt2img_negative_prompt", "#txt2img_networks"
CHIP = "#txt2img_network_chips .network-chip"
# A layer of the demo model, with numbers that change its picture.
LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"
SHAPES = {f"{LAYER}.lora_down.weight": (4, 32), f"{LAYER}.lora_up.weight": (96, 4)}
XL_LAYER = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
XL_SHAPES = {f"{XL_LAYER}.lora_down.weight": (4, 2048), f"{XL_LAYER}.lora_up.weight": (640, 4)}
TAGS = {"ss_tag_frequency": json.dumps({"1_ink": {"inked lines": 7}})}
# The prompts are read again, as after an answer of the server.
READ_AGAIN = """async () => {
  const {load, publish} = await import(`${window.webuiAssets}/page_state.js`);
  publish("networks", await load("networks"));
}"""
# Results of the edits of a prompt, on texts with `|` at the cursor.
TAG_EDITS = """async () => {
  const tags = await import(`${window.webuiAssets}/networks/tags.js`);
  const apply = (text, {from, to, insert}) => text.slice(0, from) + insert + text.slice(to);
  const out = (text) => apply(text, tags.takeOut(text, tags.findTags(text)[0]));
  const put = (text) => apply(text.replace("|", ""), tags.putIn(text.replace("|", ""), text.indexOf("|"), "<x>"));
  const weigh = (text, weight) => apply(text, tags.weighTag(tags.findTags(text)[0], weight));
  const names = new Map([["qq", "qq"], ["qq red", "qq red"]]);
  const named = (text) => tags.findEmbeddings(text, names).map(({name, weight}) => `${name} ${weight}`);
  const weighName = (text, weight) => apply(text, tags.weighName(tags.findEmbeddings(text, names)[0], weight));
  return {
    out: ["a, <lora:x:1>, b", "a <lora:x:1>", "<lora:x:1>, a", "a <lora:x:1> b", "a<lora:x:1>b", "a, <lora:x:1>", "a <lora:x:1>, b"].map(out),
    put: ["a|", "a |", "|b", "a,| b", "(a|:1.2)", "|"].map(put),
    weigh: [weigh("<lora:x>", 0.5), weigh("<lora:x:1:0.5:8>", 0.8), weigh("<lora:x:te=1:unet=0.5>", 0.5),
      weigh("<lora:x:unet=0.5>", 2), weigh("<hypernet:h:nan>", 0.3)],
    named: [named("a QQ Red, (qq:1.3) qqq"), named("<lora:qq:1>")],
    weighName: [weighName("a (qq:1.3)", 1), weighName("a qq b", 0.7)],
  };
}"""


@pytest.fixture(scope="module")
def folder(server) -> Path:
    folder = server.data / "models" / "Lora"
    write_lora(folder / "brush" / "ink.safetensors", SHAPES, TAGS, 0x34)
    write_lora(folder / "large.safetensors", XL_SHAPES)
    (folder / "broken.safetensors").write_bytes(b"none")
    Image.new("RGB", (64, 96), "red").save(folder / "brush" / "ink.png")
    return folder


@pytest.fixture(scope="module")
def shared_page(server, browser, folder):
    """A page with the panel open."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(server.url)
    wait_until_filled(page)
    page.wait_for_selector(".state[data-phase=ready]")
    if not page.evaluate(f"document.querySelector('{PANEL}').open"):
        page.click(f"{PANEL} > summary")
    page.click(f"{PANEL} button[aria-label='Read the folders again']")
    page.wait_for_selector(f"{PANEL} .network-card")
    yield page
    page.close()
    server.clear_queue()


@pytest.fixture
def panel(shared_page):
    """A page with empty prompts and all cards of the checkpoint's family in sight."""
    shared_page.keyboard.press("Escape")  # a dialog of the test before
    shared_page.fill(PROMPT, "")
    shared_page.fill(NEGATIVE, "")
    shared_page.locator(f"{PANEL} input[type=search]").fill("")
    shared_page.locator(CHIP).first.wait_for(state="hidden")  # what is below them moves with them
    return shared_page


def card(page, name: str):
    return page.locator(f"{PANEL} .network-pick[aria-label^='{name}']")


def generate(page, server) -> np.ndarray:
    count = len(server.images())
    page.click("#txt2img_generate")
    server.wait_until(lambda: len(server.images()) > count)
    page.wait_for_selector("#tab_txt2img .output-empty, #txt2img_infotext:has-text('Steps')")
    server.wait_until(lambda: page.locator("#txt2img_generate").inner_text() == "Generate")
    newest = max(server.images(), key=lambda path: path.stat().st_mtime_ns)
    return np.asarray(Image.open(newest))


def test_a_network_is_chosen_by_its_card_and_taken_out_without_a_trace(panel, server):
    panel.fill("#txt2img_steps", "4")
    panel.fill("#txt2img_seed", "7")
    panel.fill(PROMPT, "a red circle, blue")
    plain = generate(panel, server)
    panel.evaluate(f"document.querySelector('{PROMPT}').setSelectionRange(12, 12)")
    card(panel, "ink").click()
    assert panel.input_value(PROMPT) == "a red circle <lora:ink:1>, blue"
    panel.wait_for_selector(f"{PANEL} .network-pick[aria-pressed=true]")
    inked = generate(panel, server)
    assert np.abs(inked.astype(int) - plain).max() > 2, "more than rounding"
    card(panel, "ink").click()
    assert panel.input_value(PROMPT) == "a red circle, blue"
    assert np.array_equal(generate(panel, server), plain)


def test_a_chip_changes_the_weight_and_takes_out(panel):
    panel.fill(PROMPT, "a cat <lora:ink:0.5> <lora:nothing:1>")
    chips = panel.locator(CHIP)
    panel.wait_for_selector(f"{CHIP}:has-text('missing')")
    assert [text.split("\n")[0] for text in chips.all_inner_texts()] == ["ink", "nothingmissing"]
    weight = panel.get_by_label("Weight of ink").first
    weight.fill("0.8")
    panel.evaluate(READ_AGAIN)
    weight.press("Tab")
    wait_for_value(panel, PROMPT, "a cat <lora:ink:0.8> <lora:nothing:1>")
    panel.get_by_role("button", name="Take nothing out of the prompt").click()
    wait_for_value(panel, PROMPT, "a cat <lora:ink:0.8>")
    panel.press(PROMPT, "Control+z")
    wait_for_value(panel, PROMPT, "a cat <lora:ink:0.8> <lora:nothing:1>")


def test_cards_are_filtered_by_family_words_and_folder(panel):
    names = lambda: panel.locator(f"{PANEL} .network-name").all_inner_texts()  # noqa: E731
    panel.wait_for_function(
        "document.querySelector('.networks-count').textContent.includes('hidden')"
    )
    assert "large" not in names()
    panel.get_by_role("button", name="Show cards of all families").first.click()
    card(panel, "large: It was made for SDXL").wait_for()
    panel.get_by_label("All families").first.uncheck()
    assert "is neither" not in card(panel, "broken: ").get_attribute("aria-label")
    panel.locator(f"{PANEL} input[type=search]").fill("brush")
    panel.wait_for_function(f"document.querySelectorAll('{PANEL} .network-card').length === 1")
    assert names() == ["ink"]


def test_details_by_keys_trained_words_and_notes(panel, folder):
    panel.fill(PROMPT, "a cat")
    panel.locator(f"{PANEL} input[type=search]").fill("ink")
    card(panel, "ink").focus()
    panel.keyboard.press("i")
    dialog = panel.locator("dialog.network-details")
    dialog.get_by_role("button", name="inked lines").click()
    wait_for_value(panel, PROMPT, "a cat inked lines")
    dialog.get_by_label("Preferred weight").fill("0.6")
    dialog.get_by_label("Activation text").fill("inked")
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_text("Saved.").wait_for()
    kept = json.loads((folder / "brush" / "ink.json").read_text())
    assert (kept["preferred weight"], kept["activation text"]) == (0.6, "inked")
    panel.keyboard.press("Escape")
    panel.fill(PROMPT, "a cat")
    card(panel, "ink").press("Enter")
    wait_for_value(panel, PROMPT, "a cat <lora:ink:0.6> inked")
    card(panel, "ink").press("Enter")
    wait_for_value(panel, PROMPT, "a cat")
    (folder / "brush" / "ink.json").unlink()


def test_edits_of_tags(panel):
    assert panel.evaluate(TAG_EDITS) == {
        "out": ["a, b", "a", "a", "a b", "ab", "a", "a, b"],
        "put": ["a <x>", "a <x>", "<x> b", "a, <x> b", "(a <x>:1.2)", "<x>"],
        "weigh": [
            "<lora:x:0.5>",
            "<lora:x:0.8:0.3:8>",
            "<lora:x:te=0.5:unet=0>",
            "<lora:x:2:unet=1.5>",
            "<hypernet:h:0.3>",
        ],
        "named": [["qq red 1", "qq 1.3"], []],
        "weighName": ["a qq", "a (qq:0.7) b"],
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_panel_and_the_details_have_no_serious_violation(panel, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    panel.emulate_media(color_scheme=scheme)
    panel.set_viewport_size({"width": width, "height": 844})
    panel.fill(PROMPT, "a cat <lora:ink:0.5> <lora:nothing:1>")
    panel.wait_for_selector(CHIP)

    def violations() -> list[str]:
        found = axe.Axe().run(panel).response["violations"]
        return [
            f"{one['id']} {one['nodes'][0]['target']}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    assert violations() == []
    card(panel, "ink").focus()
    panel.keyboard.press("i")
    panel.wait_for_selector("dialog.network-details dl")
    assert violations() == []
