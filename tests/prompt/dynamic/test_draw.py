from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from modules.prompt.dynamic.combinations import count_combinations, list_combinations
from modules.prompt.dynamic.draw import PromptTemplate
from modules.prompt.dynamic.wildcards import NO_WILDCARDS, WildcardLibrary, Wildcards

GOLDENS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "goldens" / "dynamic_prompts.json").read_text("utf-8")
)


def write_files(folder: Path, files: dict[str, str]) -> Wildcards:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return WildcardLibrary(folder).read()


@pytest.fixture(scope="module")
def wildcards(tmp_path_factory: pytest.TempPathFactory) -> Wildcards:
    return write_files(tmp_path_factory.mktemp("wildcards"), GOLDENS["files"])


@pytest.mark.parametrize("row", GOLDENS["random"], ids=lambda row: row["template"])
def test_a_seed_draws_what_it_draws_in_the_package_dynamicprompts(
    row: dict[str, Any], wildcards: Wildcards
):
    template = PromptTemplate(row["template"], wildcards)
    assert [template.draw(seed).text for seed in GOLDENS["seeds"]] == row["drawn"]


@pytest.mark.parametrize("row", GOLDENS["combinatorial"], ids=lambda row: row["template"])
def test_all_prompts_are_those_of_the_package_dynamicprompts(
    row: dict[str, Any], wildcards: Wildcards
):
    assert list(list_combinations(row["template"], wildcards)) == row["texts"]
    assert count_combinations(row["template"], wildcards).count == len(row["texts"])


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "{masterpiece}, {{best quality}}, {}",
        "a { b, c } d, } e {",
        "a | b [c|d] (e:1.2) AND f BREAK <lora:my__colour__v2:1>",
        "snake__case and other__names, def __ __",
        r"a \{b|c\}",
        "$5, 100% cotton, #1, http://example.org // x /* y */",
        "${x} and ${5}",
        "{" * 20_000,
        "[{" * 5_000 + "}" * 5_000,
        "__a " * 5_000,
    ],
)
def test_text_with_nothing_to_draw_stays_as_it_is(text: str, wildcards: Wildcards):
    start = time.thread_time()
    template = PromptTemplate(text, wildcards)
    drawn = template.draw(1)
    assert (drawn.text, drawn.notes, drawn.is_drawn) == (text, (), False)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("100% cotton, $5, #1 {red}: {x|x} {", "100% cotton, $5, #1 {red}: x {"),
        ("{[a|b]}{[a|b]|[a|b]}", "{[a|b]}[a|b]"),  # the brackets are A1111's
        ("<lora:__colours/w*__:{1|1}>", "<lora:amber:1>"),
        ("snake__case __colours/warm__ other__name", "snake__case amber other__name"),
        ("two __colours/warm__s", "two ambers"),
        ("__COLOURS/Warm__", "amber"),
    ],
)
def test_what_stands_beside_a_template_goes_through(text: str, drawn: str, wildcards: Wildcards):
    assert PromptTemplate(text, wildcards).draw(3).text == drawn


def test_the_next_seed_takes_the_next_option_with_an_at_sign(wildcards: Wildcards):
    drawn = [PromptTemplate("{@a|b|c} __@colours/*__", wildcards).draw(seed) for seed in range(4)]
    assert [one.text for one in drawn] == ["a amber", "b navy", "c ochre", "a scarlet"]


def test_a_missing_wildcard_stays_as_text_with_a_suggestion(wildcards: Wildcards):
    drawn = PromptTemplate("__color__ {a|a} and __animals/{cat}s__ x", wildcards).draw(1)
    assert drawn.text == "__color__ a and __animals/{cat}s__ x"
    assert drawn.notes == (
        "There is no wildcard 'color'; it stays in the prompt as text. "
        "Did you mean 'colour' or 'colours/warm' or 'colours/cold'?",
        "There is no wildcard 'animals/{cat}s'; it stays in the prompt as text. "
        "Did you mean 'animals/cats' or 'animals/dogs'?",
    )
    (note,) = PromptTemplate("__color__", NO_WILDCARDS).draw(1).notes
    assert note.endswith("Put wildcards/NAME.txt with a value a line into the data folder.")


@pytest.mark.parametrize("text", ["__loop__ x", "__tree__ __tree__", "__a__", "${v={${v}|${v}}}"])
def test_files_that_lead_back_to_themselves_end(text: str, tmp_path: Path):
    files = {"loop.txt": text, "tree.txt": "__tree__ {__tree__|__tree__}", "a.txt": "__b__"}
    found = write_files(tmp_path, {**files, "b.txt": "{__a__|__a__}"})
    start = time.thread_time()
    drawn = PromptTemplate(text, found).draw(1)
    assert len(drawn.text) < 1_000_000
    assert text.startswith("$") or "leads back to itself" in drawn.notes[0]
    assert len(list(list_combinations(text, found))) == count_combinations(text, found).count
    assert time.thread_time() - start < 10


def test_large_files_and_numbers_of_prompts_are_quick(tmp_path: Path):
    found = write_files(tmp_path, {"big.txt": "\n".join(f"value {i}" for i in range(100_000))})
    start = time.thread_time()
    assert PromptTemplate("{2$$__big__}", found).draw(1).text == "value 61225,value 82200"
    assert str(count_combinations("__big__ {3$$__big__}", found)) == "99,997,000,020,000,000,000"
    assert str(count_combinations("{a|b}" * 40, found)) == "1,099,511,627,776"
    tree = {f"t{i}.txt": f"__t{i + 1}__ {{__t{i + 1}__|b}}" for i in range(30)}
    found = write_files(tmp_path, {**tree, "t30.txt": "a"})
    assert str(count_combinations("__t0__", found)) == "more than 50,000"
    assert next(list_combinations("{a|b}" * 400, found)) == "a" * 400
    assert time.thread_time() - start < 20
