"""The prompts in Chromium: counters, keys, infotexts, dropped pictures, styles."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.ui.browsing import NEXT_FRAME, needs_browser, wait_for_value, wait_until_filled

pytestmark = needs_browser

PROMPT, NEGATIVE = "#txt2img_prompt", "#txt2img_negative_prompt"
TEXT = "a cat\nNegative prompt: a dog\nSteps: 7, Sampler: DDIM, Seed: 18446744073709551615, Clip skip: 2, Odd: 1"
# Drops a file on an element; a file has no path here, as in a browser that is driven from outside.
DROP = """([selector, name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, {type}));
  const target = document.querySelector(selector);
  return ["dragover", "drop"].map((kind) =>
    target.dispatchEvent(new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true})));
}"""
PREVENTED = [False, False]
# Drops a picture of the page on an element, as a browser hands it on.
DROP_SHOWN = """([selector, address]) => {
  const transfer = new DataTransfer();
  transfer.setData("text/uri-list", address);
  transfer.setData("text/html", `<img src="${address}">`);
  const drop = new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
  document.querySelector(selector).dispatchEvent(drop);
}"""
# Applies edits to texts: `|` marks the cursor, `{` and `}` a selection.
EDIT = """async ([name, text, direction]) => {
  const edits = await import(`${window.webuiAssets}/generation/prompt_edits.js`);
  const marks = [...text.matchAll(/[{}|]/g)].map(({index}, count) => index - count);
  const plain = text.replace(/[{}|]/g, "");
  const steps = {attention: 0.1, extra: 0.05, delimiters: ".,\\\\/!?%^*;:{}=`~() "};
  const edit = edits[name](plain, marks[0], marks.at(-1), direction, steps);
  if (!edit) return null;
  const changed = plain.slice(0, edit.from) + edit.insert + plain.slice(edit.to);
  const chosen = edit.start === edit.end ? "|" : `{${changed.slice(edit.start, edit.end)}}`;
  return changed.slice(0, edit.start) + chosen + changed.slice(edit.end);
}"""

# Text, direction and what becomes of it.
WEIGHTS = [
    ("a re|d cat", 1, "a (re|d:1.1) cat"),
    ("a (re|d:1.1) cat", -1, "a re|d cat"),
    ("{a red }cat", -1, "({a red}:0.9) cat"),
    ("((re|d))", 1, "(re|d:1.3)"),
    ("{((red))}", 1, "({red}:1.3)"),
    ("[re|d]", -1, "(re|d:0.8)"),
    ("[red:bl|ue:0.5]", 1, "[red:(bl|ue:1.1):0.5]"),
    ("(a {red} cat:1.2)", 1, "(a ({red}:1.1) cat:1.2)"),
    ("(cat:1.2)|", 1, "(cat|:1.3)"),
    ("<lora:ink:0.8>|", -1, "<lora:ink:0.75|>"),
    ("<lora:i|nk>", 1, "<lora:i|nk:1.05>"),
    ("a,| ", 1, None),
]
MOVES = [
    ("a, b|b, c", 1, "a, c, b|b"),
    ("a,\nb|b, c", -1, "b|b,\na, c"),
    ("a, {b, c}, d", 1, "a, d, {b, c}"),
    ("a, (b, c|:1.2), d", -1, "a, (c|, b:1.2), d"),
    ("a, <lora:x:1>|", -1, "<lora:x:1>|, a"),
    ("red bl|ue green", -1, "bl|ue red green"),
    ("|a, b", -1, None),
]


@pytest.fixture(scope="module")
def shared_page(server, browser):
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(server.url)
    wait_until_filled(page)
    yield page
    page.close()


@pytest.fixture
def prompts(shared_page):
    """A page with empty prompts."""
    shared_page.keyboard.press("Escape")  # the dialog of the test before
    shared_page.fill(PROMPT, "")
    shared_page.fill(NEGATIVE, "")
    shared_page.fill("#txt2img_steps", "20")
    return shared_page


def picture(infotext: str) -> str:
    """Return a PNG with this infotext, in base64."""
    info = PngInfo()
    info.add_text("parameters", infotext)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return base64.b64encode(buffer.getvalue()).decode()


def tool(page, name: str):
    return page.locator("#tab_txt2img .prompt-buttons").get_by_role("button", name=name)


def test_tokens_are_counted_after_typing(prompts):
    prompts.fill(PROMPT, "a red circle on a blue background")
    prompts.wait_for_function(
        "document.querySelector('#txt2img_prompt_counter').textContent === '7/75'"
    )
    prompts.fill(PROMPT, "")
    prompts.wait_for_function(
        "document.querySelector('#txt2img_prompt_counter').textContent === '0/75'"
    )


def test_the_weight_of_words_is_changed_by_keys_and_undone(prompts):
    prompts.fill(PROMPT, "a red circle")
    for key in ("Home", *["ArrowRight"] * 3, "Control+ArrowUp", "Control+ArrowUp"):
        prompts.press(PROMPT, key)
    assert prompts.input_value(PROMPT) == "a (red:1.2) circle"
    prompts.press(PROMPT, "Control+z")
    prompts.press(PROMPT, "Control+z")
    assert prompts.input_value(PROMPT) == "a red circle"


def test_the_keys_work_in_the_prompts_of_hires_fix(prompts):
    prompts.check("#txt2img_enable_hr")
    prompts.fill("#txt2img_hr_prompt", "cat")
    prompts.press("#txt2img_hr_prompt", "Control+ArrowDown")
    assert prompts.input_value("#txt2img_hr_prompt") == "(cat:0.9)"
    prompts.fill("#txt2img_hr_prompt", "")
    prompts.uncheck("#txt2img_enable_hr")


def test_parts_of_a_prompt_are_moved_by_keys_and_the_page_stays(server, prompts):
    prompts.fill(PROMPT, "a cat, red, big")
    prompts.press(PROMPT, "End")
    for _ in range(3):
        prompts.press(PROMPT, "Alt+ArrowLeft")
    assert prompts.input_value(PROMPT) == "big, a cat, red"
    prompts.press(PROMPT, "Control+z")
    assert prompts.input_value(PROMPT) == "a cat, big, red"
    assert prompts.url.startswith(server.url)


def test_weights_are_changed_as_in_a1111(prompts):
    edited = [prompts.evaluate(EDIT, ["weightEdit", *case[:2]]) for case in WEIGHTS]
    assert edited == [expected for _, _, expected in WEIGHTS]


def test_parts_are_moved_between_commas(prompts):
    edited = [prompts.evaluate(EDIT, ["moveEdit", *case[:2]]) for case in MOVES]
    assert edited == [expected for _, _, expected in MOVES]


def test_an_infotext_in_the_prompt_box_fills_the_form_and_its_chip_can_be_removed(prompts):
    prompts.fill(PROMPT, TEXT)
    tool(prompts, "Read the infotext").click()
    wait_for_value(prompts, "#txt2img_steps", "7")
    assert prompts.input_value(PROMPT) == "a cat"
    assert prompts.input_value(NEGATIVE) == "a dog"
    assert prompts.input_value("#txt2img_seed") == "18446744073709551615"
    prompts.wait_for_selector(".prompt-messages:has-text('Odd (1): this key is unknown.')")
    prompts.click("#txt2img_chips button:has-text('Clip skip: 2')")
    prompts.wait_for_selector("#txt2img_chips", state="hidden")
    prompts.press(PROMPT, "Control+z")
    assert prompts.input_value(PROMPT) == TEXT


def test_a_picture_dropped_on_the_prompt_fills_the_form(prompts):
    drop = [NEGATIVE, "a.png", "image/png", picture(TEXT)]
    assert prompts.evaluate(DROP, drop) == PREVENTED
    wait_for_value(prompts, PROMPT, "a cat")
    prompts.evaluate(DROP, [PROMPT, "b.png", "image/png", picture("")])
    prompts.wait_for_selector(".prompt-messages:has-text('holds no parameters')")
    prompts.evaluate(DROP, [PROMPT, "b.txt", "text/plain", "YQ=="])
    prompts.wait_for_selector(".prompt-messages:has-text('is no picture')")


def test_a_picture_of_the_page_dropped_on_the_prompt_fills_the_form(server, prompts):
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": base64.b64decode(picture(TEXT))}
    answer = prompts.request.post(f"{server.url}internal/uploads", multipart={"file": upload})
    address = f"{server.url}internal/uploads/{answer.json()['id']}/image"
    prompts.evaluate(DROP_SHOWN, [PROMPT, address])
    wait_for_value(prompts, NEGATIVE, "a dog")


def test_a_file_dropped_beside_the_fields_does_not_leave_the_page(prompts):
    for selector in ("body", ".tab-bar", "#txt2img_steps"):
        assert prompts.evaluate(DROP, [selector, "a.png", "image/png", "YQ=="]) == PREVENTED


def test_both_prompts_are_cleared_and_each_is_brought_back(prompts):
    prompts.fill(PROMPT, "a cat")
    prompts.fill(NEGATIVE, "a dog")
    tool(prompts, "Clear both prompts").click()
    assert prompts.input_value(PROMPT) + prompts.input_value(NEGATIVE) == ""
    prompts.press(PROMPT, "Control+z")
    assert prompts.input_value(PROMPT) == "a cat"


def test_a_style_is_saved_applied_and_deleted(prompts):
    prompts.click(".tab-bar a:has-text('img2img')")
    prompts.wait_for_selector("#img2img_generate[data-filled]")
    prompts.click(".tab-bar a:has-text('txt2img')")
    prompts.fill(PROMPT, "a cat")
    tool(prompts, "Edit styles").click()
    prompts.fill("#txt2img_style_name", "ink")
    prompts.fill("#txt2img_style_prompt", "{prompt}, ink")
    prompts.wait_for_selector(".style-preview:has-text('a cat, ink')")
    prompts.click("#txt2img_save_style")
    prompts.wait_for_selector(".style-editor .notice:has-text(\"Saved the style 'ink'.\")")
    prompts.keyboard.press("Escape")
    prompts.wait_for_selector("#txt2img_styles .chip:has-text('ink')")
    prompts.wait_for_selector("#img2img_styles_add option[value=ink]", state="attached")
    prompts.wait_for_function(
        "document.querySelector('#txt2img_prompt_counter').textContent === '4/75'"
    )
    tool(prompts, "Put the chosen styles into the prompts").click()
    wait_for_value(prompts, PROMPT, "a cat, ink")
    tool(prompts, "Edit styles").click()
    prompts.fill("#txt2img_style_name", "ink")
    wait_for_value(prompts, "#txt2img_style_prompt", "{prompt}, ink")
    prompts.click("#txt2img_delete_style")
    prompts.wait_for_selector(".style-editor .notice:has-text(\"Deleted the style 'ink'.\")")


def test_typing_in_a_long_prompt_is_quick_and_the_box_stays_small(prompts):
    devtools = prompts.context.new_cdp_session(prompts)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_s() -> float:
        """Return how long the page's thread has computed, whatever else the machine did."""
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    prompts.fill(PROMPT, ("a red circle, on a blue background, " * 1400)[:50_000])
    prompts.wait_for_function(
        "parseInt(document.querySelector('#txt2img_prompt_counter').textContent) > 1000"
    )
    before = busy_s()
    prompts.focus(PROMPT)
    prompts.keyboard.type("abcdefghijklmnopqrst")
    prompts.evaluate(NEXT_FRAME)
    assert 0 < busy_s() - before < 3
    assert prompts.locator(PROMPT).bounding_box()["height"] < 200
    prompts.fill(PROMPT, "")


def test_wildcards_are_suggested_and_a_template_says_what_it_draws_from(server, prompts):
    folder = server.data / "wildcards" / "colours"
    folder.mkdir(parents=True)
    (folder / "warm.txt").write_text("red\nyellow\n", "utf-8")
    (folder / "cold.txt").write_text("blue\n", "utf-8")
    prompts.click(PROMPT)
    prompts.keyboard.type("my__style, a {tall|small} __")
    options = prompts.locator(".wildcard-list [role=option]")
    options.nth(1).wait_for()
    assert options.all_inner_texts() == ["colours/cold", "colours/warm"]
    prompts.keyboard.type("war")
    prompts.wait_for_function("document.querySelectorAll('.wildcard-list li').length === 1")
    prompts.keyboard.press("Enter")
    wait_for_value(prompts, PROMPT, "my__style, a {tall|small} __colours/warm__")
    prompts.keyboard.type(" house __co")
    options.nth(1).wait_for()
    prompts.keyboard.press("ArrowDown")
    assert prompts.get_attribute(PROMPT, "aria-activedescendant").endswith("_1")
    prompts.keyboard.press("Escape")
    options.first.wait_for(state="hidden")
    prompts.keyboard.press("Control+a")
    prompts.keyboard.type("a {tall|small} __colours/warm__ house")
    drawn = prompts.locator(".drawn").first
    told = "Each picture draws from 4 prompts by its own seed. Wildcards: colours/warm (2)."
    prompts.wait_for_function(
        "text => document.querySelector('.drawn').textContent === text", arg=told
    )
    assert drawn.is_visible()
    prompts.fill(PROMPT, "a house")
    drawn.wait_for(state="hidden")
