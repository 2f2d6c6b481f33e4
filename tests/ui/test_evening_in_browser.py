"""A newcomer's evening in Chromium: the same walk with the mouse, with the keyboard alone, and by touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from tests.ui.browsing import (
    CHROMIUM,
    CHROMIUM_ARGS,
    needs_browser,
    wait_for_value,
    wait_until_filled,
)

pytestmark = needs_browser

LIGHTBOX = "dialog.lightbox[open]"
MOST_STOPS = 120  # of the Tab key from one control to the next one of the walk


@dataclass
class Mouse:
    """Clicks."""

    page: Any
    viewport: ClassVar = {"width": 1280, "height": 800}
    has_touch: ClassVar = False

    def press(self, selector: str) -> None:
        self.page.click(selector)

    def type(self, selector: str, text: str) -> None:
        self.press(selector)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)


@dataclass
class Touch(Mouse):
    """Taps on a phone."""

    viewport: ClassVar = {"width": 390, "height": 844}
    has_touch: ClassVar = True

    def press(self, selector: str) -> None:
        self.page.tap(selector)


@dataclass
class Keyboard(Mouse):
    """Only keys: Tab to the control, Enter on it; on a picture that is painted on, Enter paints a dot."""

    def press(self, selector: str) -> None:
        self.go_to(selector)
        kind = self.page.evaluate("document.activeElement.type")
        self.page.keyboard.press("Space" if kind == "checkbox" else "Enter")

    def type(self, selector: str, text: str) -> None:
        self.go_to(selector)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def go_to(self, selector: str) -> int:
        """Press Tab until a control has the focus, and return how often."""
        self.page.wait_for_selector(selector)
        target = self.page.locator(selector).first
        is_before = target.evaluate(
            "(e) => Boolean(document.activeElement.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_PRECEDING)"
            " && document.activeElement !== document.body"
        )
        key = "Shift+Tab" if is_before else "Tab"
        for stops in range(MOST_STOPS):
            if target.evaluate("(e) => e === document.activeElement"):
                assert self.open_lists() == 0
                return stops
            self.page.keyboard.press(key)
        pytest.fail(f"{selector} is not reached by {MOST_STOPS} times {key}")

    def open_lists(self) -> int:
        return self.page.locator("[role=listbox]:visible").count()


@pytest.fixture(scope="module")
def chromium(playwright):
    """A browser whose contexts know nothing of each other."""
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
    yield chromium
    chromium.close()


@pytest.fixture
def newcomer(server, request, chromium):
    """A page of a browser that was never here, and the hand that uses it."""
    hand = request.param
    context = chromium.new_context(viewport=hand.viewport, has_touch=hand.has_touch)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(server.url)
    wait_until_filled(page)
    page.wait_for_selector(".state[data-phase=ready]")
    yield hand(page)
    context.close()
    server.clear_queue()


def open_tab(hand: Mouse, title: str) -> None:
    hand.press(f".tab-bar a:text-is('{title}')")
    hand.page.wait_for_selector(f".tab-bar a[aria-current=page]:text-is('{title}')")


def close_large_picture(hand: Mouse) -> None:
    page = hand.page
    page.wait_for_selector(LIGHTBOX)
    page.wait_for_function("document.querySelector('dialog.lightbox img').naturalWidth > 0")
    hand.press(f"{LIGHTBOX} button[title^='Close']")
    page.wait_for_selector(LIGHTBOX, state="detached")


def make_a_picture(hand: Mouse) -> None:
    page = hand.page
    assert "press Generate" in page.inner_text("#tab_txt2img .output-empty")
    chip = "#tab_txt2img .output-demos .chip"
    page.wait_for_selector(chip)
    demo = page.inner_text(f"{chip} >> nth=0")
    hand.press(f"{chip} >> nth=0")
    wait_for_value(page, "#txt2img_prompt", demo)
    hand.press("#txt2img_generate")
    page.wait_for_selector(f"#txt2img_infotext pre:has-text('{demo}')")
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    hand.press("#tab_txt2img .output-one")
    close_large_picture(hand)


def repaint_it(hand: Mouse) -> None:
    page = hand.page
    prompt = page.input_value("#txt2img_prompt")
    hand.press("#txt2img_to_img2img")
    wait_for_value(page, "#img2img_prompt", prompt)
    hand.type("#img2img_prompt", "a blue star on a white background")
    hand.press("#img2img_generate")
    page.wait_for_selector("#img2img_infotext pre:has-text('Denoising strength')")
    page.wait_for_selector("#img2img_interrupt", state="hidden")

    hand.press("#img2img_to_inpaint")
    page.wait_for_selector("#tab_Inpaint .paint-view:visible")
    page.wait_for_function("document.querySelector('#tab_Inpaint .paint-view').style.height")
    hand.press("#tab_Inpaint .paint-view")
    page.wait_for_selector("#tab_Inpaint .paint-board[data-strokes='1']")
    hand.press("#inpaint_generate")
    page.wait_for_selector("#inpaint_infotext pre:has-text('Mask blur')")
    page.wait_for_selector("#inpaint_interrupt", state="hidden")


def look_around(hand: Mouse, file: str) -> None:
    page = hand.page
    open_tab(hand, "Gallery")
    hand.press("#pictures .pic-open[tabindex='0']")
    close_large_picture(hand)

    open_tab(hand, "PNG Info")
    zone = "#png_info_image_file" if isinstance(hand, Keyboard) else "#png_info_image .drop-zone"
    with page.expect_file_chooser() as chooser:
        hand.press(zone)
    chooser.value.set_files(file)
    page.wait_for_selector("#png_info_infotext:has-text('Steps: ')")

    open_tab(hand, "Queue")
    hand.press(".queue-past .queue-thumbnails button >> nth=0")
    close_large_picture(hand)


def change_and_reset_an_option(hand: Mouse) -> None:
    page = hand.page
    open_tab(hand, "Settings")
    page.wait_for_selector("#option_uni_pc_order")
    hand.type(".settings-find", "uni_pc_order")
    hand.type("#option_uni_pc_order", "2")
    page.keyboard.press("Enter")
    page.wait_for_selector(".settings-words:has-text('Saved')")
    hand.press(".settings-option:has(#option_uni_pc_order) .settings-back")
    wait_for_value(page, "#option_uni_pc_order", "3")


@pytest.mark.parametrize(
    "newcomer",
    [
        pytest.param(Mouse, id="mouse"),
        pytest.param(Keyboard, id="keyboard", marks=pytest.mark.slow),
        pytest.param(Touch, id="touch", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_newcomer_makes_a_picture_repaints_it_and_looks_around(server, newcomer):
    make_a_picture(newcomer)
    repaint_it(newcomer)
    look_around(newcomer, str(server.images()[-1]))
    change_and_reset_an_option(newcomer)


@pytest.mark.parametrize("newcomer", [Keyboard], indirect=True)
def test_the_first_stop_of_the_keyboard_leads_to_the_prompt(newcomer):
    page = newcomer.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the prompt"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "txt2img_prompt"
    assert newcomer.go_to("#txt2img_generate") <= 8


@pytest.mark.parametrize("newcomer", [Touch], indirect=True)
def test_help_is_a_tap_or_a_key_away(newcomer):
    page = newcomer.page
    row = "#tab_txt2img .field:has(> #txt2img_cfg_scale)"
    newcomer.press(f"{row} > label")
    page.wait_for_selector(f"{row} > .field-help:has-text('classifier-free guidance')")
    page.focus("#txt2img_cfg_scale")
    page.keyboard.press("F1")
    page.wait_for_selector(f"{row} > .field-help", state="detached")
