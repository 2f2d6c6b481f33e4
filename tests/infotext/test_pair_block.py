from __future__ import annotations

import json
import textwrap

import pytest

from modules.infotext import interpret_infotext, parse_infotext
from modules.infotext.text_format import Infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.infotext.context import make_context

LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
PAIRS = {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7", "Seed": "1", "Size": "512x512"}
CAT = f"a cat\nNegative prompt: dog\n{LINE}"
READ = Infotext("a cat", "dog", PAIRS)


@pytest.mark.parametrize(
    "text",
    [
        CAT,
        f"```\n{CAT}\n```",
        f"```text\n{CAT}\n```",
        f"```{CAT}```",
        f"Here it is:\n```\n{CAT}\n```\nEnjoy!",
        f"{CAT}\n```",
        "\n".join(f"> {line}" for line in CAT.split("\n")),
        CAT.replace(", ", ",\n"),
        CAT.replace(", ", ", \n    "),
        CAT.replace(", ", "\n"),
        CAT.replace(", ", ",\n- ").replace("Steps", "- Steps"),
        CAT.replace("CFG scale", "CFG\nscale").replace("Euler a", "Euler\na"),
        CAT.replace("Seed: 1", "Seed:\n1"),
        CAT.replace("\n", " "),
        CAT.replace("\n", ", "),
        CAT.replace("\n", " ").replace(", ", " "),
        CAT.replace("\n", "\r"),
        CAT.replace("\n", "\r\n"),
        CAT.replace("\n", "\u2028"),
        CAT.replace("\n", "\\n"),
        json.dumps(CAT),
        CAT.replace("\n", " ").replace(", ", " | "),
        CAT.replace("\n", " ").replace(", ", "; "),
        CAT.replace(", ", ",").replace(": ", ":"),
        "\ufeff" + CAT,
        CAT + "\0",
        "\0".join(CAT),
        CAT.replace(" ", "\xa0").replace("a\xa0cat", "a cat"),
        CAT.replace("Negative", "negative"),
        CAT.replace("Negative prompt: dog\n", "").replace(", Seed", "\nNegative prompt: dog\nSeed"),
    ],
)
def test_pairs_are_found_however_the_text_was_passed_on(text: str):
    assert parse_infotext(text) == READ


@pytest.mark.parametrize("width", range(12, 90))
def test_pairs_are_found_in_a_text_that_was_wrapped(width: int):
    long = f'{LINE}, Model hash: be2fdc978f, Model: a long name, Lora hashes: "a: 12, b: 34", Version: v1.10.1'
    wrapped = "\n".join(textwrap.wrap(long, width, break_long_words=False, break_on_hyphens=False))
    parsed = parse_infotext(f"a cat\nNegative prompt: dog\n{wrapped}")
    extra = {"Model hash": "be2fdc978f", "Model": "a long name", "Version": "v1.10.1"}
    hashes = " ".join(parsed.pairs["Lora hashes"].split())
    assert (parsed.prompt, parsed.negative_prompt) == ("a cat", "dog")
    assert {**parsed.pairs, "Lora hashes": hashes} == {
        **PAIRS,
        **extra,
        "Lora hashes": "a: 12, b: 34",
    }


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("Wildcard prompt", '"a __b__\nsecond line, with comma"', "a __b__\nsecond line, with comma"),
        ("Wildcard prompt", '"x\nSteps: 9, Sampler: LMS, Seed: 4"', "x\nSteps: 9, Sampler: LMS, Seed: 4"),
        ("Hashes", '{"vae": "735e", "model": "be2f", "lora:x": "12"}', '{"vae": "735e", "model": "be2f", "lora:x": "12"}'),
        ("Hashes", '{\n "vae": "735e",\n "b": "}, c: 1"\n}', '{\n "vae": "735e",\n "b": "}, c: 1"\n}'),
        (
            "Civitai resources",
            '[{"type":"lora","weight":0.8},{"modelName":"A, b: c [d]"}]',
            '[{"type":"lora","weight":0.8},{"modelName":"A, b: c [d]"}]',
        ),
        ("Model", "[odd", "[odd"),
        ("Model", "{a} b", "{a} b"),
    ],
)  # fmt: skip
def test_a_value_in_quotes_or_brackets_ends_where_they_do(key: str, written: str, value: str):
    text = f"one\ntwo\nNegative prompt: bad\nworse\n{LINE}, {key}: {written}, Hires upscale: 2, Version: v1.5.1"
    pairs = {**PAIRS, key: value, "Hires upscale": "2", "Version": "v1.5.1"}
    assert parse_infotext(text) == Infotext("one\ntwo", "bad\nworse", pairs)
    assert parse_infotext(f"a\n{LINE}, {key}: {written}").pairs == {**PAIRS, key: value}


def test_an_infotext_within_the_prompt_stays_there():
    assert parse_infotext(f"a\n{LINE}\nNegative prompt: b\n{LINE}") == Infotext(
        f"a\n{LINE}", "b", PAIRS
    )
    assert parse_infotext(f"a\nSteps: 3\n{LINE}") == Infotext("a\nSteps: 3", "", PAIRS)


def test_pairs_one_a_line_without_steps_are_read():
    parsed = parse_infotext("a cat\nSampler: Euler a\nSeed: 1\nSize: 512x512")
    assert parsed == Infotext("a cat", "", {k: PAIRS[k] for k in ("Sampler", "Seed", "Size")})


def test_text_after_the_pairs_is_said_to_be_left_out():
    parsed = parse_infotext(f"{CAT}\n\nThanks for looking")
    assert (parsed.prompt, parsed.negative_prompt, parsed.pairs) == ("a cat", "dog", PAIRS)
    assert parsed.warnings == ("The text after the parameters is not read: 'Thanks for looking'.",)


@pytest.mark.parametrize(
    "text", ["a cat, size: huge", "a: b, c", "steps: to the sea\nmodel: a man\nsize: large", "```a cat```"]
)  # fmt: skip
def test_a_prompt_stays_a_prompt(text: str):
    assert parse_infotext(text) == Infotext(text)


def read(text: str) -> tuple[dict[str, object], list[str]]:
    result = interpret_infotext(parse_infotext(text), make_context(), Txt2ImgRequest)
    return dict(result.values), result.report.messages()


@pytest.mark.parametrize(
    "text",
    [CAT.replace(LINE, LINE.lower()), CAT.replace("CFG scale", "CFG Scale"), CAT.replace("512x512", "512\xd7512"),
     CAT.replace("512x512", "512 X 512")],
)  # fmt: skip
def test_keys_and_sizes_are_read_in_any_spelling(text: str):
    values, messages = read(text)
    assert (values["steps"], values["sampler_name"], values["seed"]) == (20, "Euler a", 1)
    assert (values["cfg_scale"], values["width"], values["height"]) == (7, 512, 512)
    assert messages == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a cat, Steps: 20, Seed: 1", "The prompt contains 'Steps: 20', which is not read as a parameter."),
        ("a cat Negative prompt: dog", "The prompt contains 'Negative prompt:', which is not read as a parameter."),
        ("a\nNegative prompt: b, Sampler: LMS", "The negative prompt contains 'Sampler: LMS', which is not read as a parameter."),
    ],
)  # fmt: skip
def test_a_known_key_that_remains_in_a_prompt_is_said(text: str, sentence: str):
    assert sentence in read(text)[1]


def test_a_prompt_without_keys_is_not_remarked_on():
    assert read(f"a cat, size: large, sampler\n{LINE}")[1] == []
    assert json.dumps(read(CAT)[1]) == "[]"
