"""What the network is told from call to call, through the whole road, on a tiny random model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from modules.backend.generate import generate_batch
from modules.backend.model import LoadedModel
from modules.prompt.tokens import ClipTokenizer
from tests.backend.test_generate import SMALL, plan_of
from tests.backend.tiny import Recorder, tiny_components, with_trained_norm
from tests.conftest import write_listed_checkpoint


@pytest.fixture
def model(tokenizer: ClipTokenizer) -> LoadedModel:
    components = tiny_components()
    with_trained_norm(components.text_encoder)
    return LoadedModel(components, tokenizer)


@pytest.fixture
def made(model: LoadedModel, tmp_path: Any):
    write_listed_checkpoint(tmp_path / "any.safetensors")

    def made(**changes: Any) -> Image.Image:
        listener = Recorder()
        plan = plan_of(tmp_path, tmp_path, SMALL.replace(**changes), "any")
        with torch.inference_mode():
            generate_batch(lambda _: model, plan, 0, listener, torch.device("cpu"))
        return listener.images[0][1]

    return made


def told(model: LoadedModel) -> list[torch.Tensor]:
    """Return a list that fills up with what the network is told, call by call."""
    conds: list[torch.Tensor] = []
    model.components.unet.register_forward_pre_hook(
        lambda _module, _args, named: conds.append(named["encoder_hidden_states"]), with_kwargs=True
    )
    return conds


@pytest.mark.parametrize(
    ("sampler", "prompt", "expected"),
    [
        ("Euler", "[red:blue:0.5] circle", "rrrrrrbbbb"),
        ("Euler", "[red:blue:3] circle", "rrrrbbbbbb"),
        ("Euler", "[red|blue] circle", "rrbrbrbrbr"),
        ("Euler", "[red:blue:0] circle", "bbbbbbbbbb"),
        ("DPM++ 2M", "[red:blue:0.8] circle", "rrrrrrrrrb"),
        ("Heun", "[red:blue:0.5] circle", "rrrrrrrrrrrbbbbbbbb"),
    ],
)
def test_the_network_is_told_what_is_due_at_each_call(
    made, model: LoadedModel, sampler: str, prompt: str, expected: str
):
    conds = told(model)
    made(prompt="red circle", cfg_scale=1, steps=1, sampler_name="Euler")
    made(prompt="blue circle", cfg_scale=1, steps=1, sampler_name="Euler")
    red, blue = conds
    assert not torch.equal(red, blue)
    conds.clear()
    made(prompt=prompt, cfg_scale=1, steps=10, sampler_name=sampler)
    assert "".join("r" if torch.equal(cond, red) else "b" for cond in conds) == expected
    assert all(torch.equal(cond, red) or torch.equal(cond, blue) for cond in conds)


def test_the_hires_pass_goes_on_in_the_prompts_plan(made, model: LoadedModel):
    conds = told(model)
    for word in ("red", "blue", "green"):
        made(prompt=f"{word} circle", cfg_scale=1, steps=1, sampler_name="Euler")
    letters = dict(zip("rbg", conds[:3], strict=True))
    conds.clear()
    prompt = "[red:[blue:green:1.5]:0.5] circle"
    made(
        prompt=prompt,
        cfg_scale=1,
        steps=4,
        sampler_name="Euler",
        enable_hr=True,
        hr_second_pass_steps=6,
    )
    said = [letter for cond in conds for letter, one in letters.items() if torch.equal(cond, one)]
    assert "".join(said) == "rrrb" + "bbbbgg"


def test_every_text_is_encoded_once(made, model: LoadedModel):
    encoded: list[int] = []
    model.components.text_encoder.register_forward_pre_hook(
        lambda _module, _args, named: encoded.append(len(named["input_ids"])), with_kwargs=True
    )
    made(prompt="[red|blue] circle AND circle", negative_prompt="circle", steps=10)
    made(prompt="[red|blue] circle AND circle", negative_prompt="circle", steps=10, seed=8)
    assert len(encoded) == 4


@pytest.mark.parametrize("prompt", ["(a cat:1.0)", "a cat :1", "a <lora:x:1>cat", "[a:a:0.5] cat"])
def test_what_says_the_same_makes_the_same_bytes(made, prompt: str):
    assert made(prompt=prompt).tobytes() == made(prompt="a cat").tobytes()


def test_a_weight_changes_the_picture(made):
    assert made(prompt="a (cat:1.5)").tobytes() != made(prompt="a cat").tobytes()


@pytest.mark.parametrize(
    "prompt", ["[[(a|b:0.5]] AND (:1.2 BREAK BREAK", "\\", "((((", ":::]", "AND AND", "[|]"]
)
def test_a_malformed_prompt_makes_a_picture(made, prompt: str):
    assert made(prompt=prompt, negative_prompt=prompt).size == (64, 64)
