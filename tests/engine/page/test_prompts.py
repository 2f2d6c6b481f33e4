from __future__ import annotations

import pytest

from modules.engine.engine import Engine
from modules.engine.page.prompts import Prompts, count_prompt_tokens, style_prompts
from modules.prompt.styles import Style
from tests.conftest import write_listed_checkpoint


def count(engine: Engine, prompt: str, styles: tuple[str, ...] = (), steps: int = 20) -> str:
    return count_prompt_tokens(engine, Prompts(prompt, styles=styles), steps).prompt


def count_negative(engine: Engine, text: str, styles: tuple[str, ...] = ()) -> str:
    prompts = Prompts(negative_prompt=text, styles=styles)
    return count_prompt_tokens(engine, prompts, 20).negative_prompt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "0/75"),
        ("a cat", "2/75"),
        ("(a:1.3) [cat]", "2/75"),
        ("a <lora:ink:0.8> cat", "2/75"),
        ("[cat:a big cat:0.5]", "3/75"),
        ("cat AND a cat", "2/75"),
        ("a cat # and a comment", "2/75"),
        ("cat BREAK cat", "76/150"),
        ("cat " * 80, "80/150"),
    ],
)
def test_the_longest_encoded_text_counts(engine: Engine, text: str, expected: str):
    assert count(engine, text) == expected


def test_and_is_an_ordinary_word_in_the_negative_prompt(engine: Engine):
    assert count_negative(engine, "cat AND a cat") == "4/75"


def test_text_that_is_scheduled_after_the_last_step_does_not_count(engine: Engine):
    assert count(engine, "[cat:a big cat:30]", steps=20) == "1/75"
    assert count(engine, "[cat:a big cat:30]", steps=40) == "3/75"


def test_an_embedding_counts_as_its_vectors(engine: Engine):
    folder = engine.paths.embeddings
    write_listed_checkpoint(folder / "my-style.safetensors", "", {"emb_params": [5, 4]})
    write_listed_checkpoint(folder / "other.safetensors", "", {"emb_params": [9, 1024]})
    assert count(engine, "a my-style cat") == "7/75"
    assert count_negative(engine, "my-style") == "5/75"
    assert count(engine, "other") == "1/75", "it does not fit the checkpoint"


def test_an_embedding_in_a_lora_counts_with_it(engine: Engine):
    lora = {
        "lora_unet_x.lora_down.weight": [4, 4],
        "lora_unet_x.lora_up.weight": [4, 4],
        "bundle_emb.inkword.emb_params": [3, 4],
    }
    write_listed_checkpoint(engine.paths.lora_folders[0] / "ink.safetensors", "", lora)
    assert count(engine, "inkword <lora:ink:1>") == "3/75"
    assert count(engine, "inkword") == "2/75"


def test_chosen_styles_count(engine: Engine):
    engine.styles.save(Style("ink", "{prompt}, ink", "photo"))
    assert count(engine, "a cat", ("ink",)) == "4/75"
    assert count_negative(engine, "", ("ink",)) == "1/75"


def test_what_generate_will_refuse_has_no_count(engine: Engine):
    assert count(engine, "a cat", ("gone",)) == "?"
    assert count(engine, "a cat", steps=0) == "?"


def test_styles_are_applied_one_after_another():
    styles = [Style("ink", "{prompt}, ink", "photo"), Style("old", "old paper", "")]
    assert style_prompts(Prompts("a cat", "a dog", ("ink", "old")), styles) == Prompts(
        "a cat, ink, old paper", "a dog, photo"
    )


def test_what_a_template_draws_from_is_told_and_counted(engine: Engine):
    engine.paths.wildcards.mkdir(parents=True)
    (engine.paths.wildcards / "colour.txt").write_text("red\nblue\ngreen\n", "utf-8")
    prompts = Prompts("a {cat|dog} __colour__ __colr__", "{a|b}")
    counts = count_prompt_tokens(engine, prompts, 20)
    assert counts.drawn == (
        "Each picture draws from 12 prompts by its own seed. Wildcards: colour (3). "
        "There is no wildcard 'colr'; it stays in the prompt as text. Did you mean 'colour'?"
    )
    assert counts.negative_prompt == "1/75"
    assert count_prompt_tokens(engine, Prompts("a {cat}"), 20).drawn == ""
