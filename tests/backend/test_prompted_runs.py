"""The conditioning that the UNet gets at each call, on a tiny random model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from modules.backend.device import choose_device
from modules.backend.model import LoadedModel
from modules.backend.upscale.upscalers import Upscalers
from modules.params.device_options import DeviceOptions
from modules.prompt.tokens import ClipTokenizer
from tests.backend.batches import generate_batch
from tests.backend.test_generate import SMALL, plan_of
from tests.backend.tiny import RecordingListener, tiny_components, with_trained_norm
from tests.conftest import write_listed_checkpoint

UPSCALERS = Upscalers(choose_device(DeviceOptions(use_cpu=True)))


@pytest.fixture
def model(tokenizer: ClipTokenizer) -> LoadedModel:
    components = tiny_components()
    with_trained_norm(components.text_encoders[0].network)
    return LoadedModel(components, tokenizer)


@pytest.fixture
def generate(model: LoadedModel, tmp_path: Any):
    write_listed_checkpoint(tmp_path / "any.safetensors")

    def generate(**changes: Any) -> Image.Image:
        listener = RecordingListener()
        plan = plan_of(tmp_path, tmp_path, SMALL.replace(**changes), "any")
        with torch.inference_mode():
            generate_batch(lambda _: model, UPSCALERS, plan, 0, listener, listener.cancel)
        return listener.images[0][1]

    return generate


def record_conds(model: LoadedModel) -> list[torch.Tensor]:
    """Return a list to which every call of the UNet appends its conditioning."""
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
def test_the_network_gets_the_scheduled_prompt_at_each_call(
    generate, model: LoadedModel, sampler: str, prompt: str, expected: str
):
    conds = record_conds(model)
    generate(prompt="red circle", cfg_scale=1, steps=1, sampler_name="Euler")
    generate(prompt="blue circle", cfg_scale=1, steps=1, sampler_name="Euler")
    red, blue = conds
    assert not torch.equal(red, blue)
    conds.clear()
    generate(prompt=prompt, cfg_scale=1, steps=10, sampler_name=sampler)
    assert "".join("r" if torch.equal(cond, red) else "b" for cond in conds) == expected
    assert all(torch.equal(cond, red) or torch.equal(cond, blue) for cond in conds)


def test_the_hires_pass_continues_the_prompts_schedule(generate, model: LoadedModel):
    conds = record_conds(model)
    for word in ("red", "blue", "green"):
        generate(prompt=f"{word} circle", cfg_scale=1, steps=1, sampler_name="Euler")
    letters = dict(zip("rbg", conds[:3], strict=True))
    conds.clear()
    prompt = "[red:[blue:green:1.5]:0.5] circle"
    generate(
        prompt=prompt,
        cfg_scale=1,
        steps=4,
        sampler_name="Euler",
        enable_hr=True,
        hr_second_pass_steps=6,
    )
    used = [letter for cond in conds for letter, c in letters.items() if torch.equal(cond, c)]
    assert "".join(used) == "rrrb" + "bbbbgg"


def test_every_text_is_encoded_once(generate, model: LoadedModel):
    encoded: list[int] = []
    model.components.text_encoders[0].network.register_forward_pre_hook(
        lambda _module, _args, named: encoded.append(len(named["input_ids"])), with_kwargs=True
    )
    generate(prompt="[red|blue] circle AND circle", negative_prompt="circle", steps=10)
    generate(prompt="[red|blue] circle AND circle", negative_prompt="circle", steps=10, seed=8)
    assert len(encoded) == 4


@pytest.mark.parametrize("prompt", ["(a cat:1.0)", "a cat :1", "a <lora:x:1>cat", "[a:a:0.5] cat"])
def test_equivalent_prompts_give_the_same_bytes(generate, prompt: str):
    assert generate(prompt=prompt).tobytes() == generate(prompt="a cat").tobytes()


def test_a_weight_changes_the_image(generate):
    assert generate(prompt="a (cat:1.5)").tobytes() != generate(prompt="a cat").tobytes()


@pytest.mark.parametrize(
    "prompt", ["[[(a|b:0.5]] AND (:1.2 BREAK BREAK", "\\", "((((", ":::]", "AND AND", "[|]"]
)
def test_a_malformed_prompt_gives_an_image(generate, prompt: str):
    assert generate(prompt=prompt, negative_prompt=prompt).size == (64, 64)
