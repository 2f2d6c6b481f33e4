"""The tags of LoRAs in prompts, read by A1111's rules."""

from __future__ import annotations

import pytest

from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.models.networks.network_kinds import LORA
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from tests.models.networks.lora_files import TO_K, write_lora


@pytest.fixture(autouse=True)
def files(paths: Paths) -> None:
    folder = paths.data / "models" / "Lora"
    write_lora(folder / "ink.safetensors", metadata={"ss_output_name": "soft ink"})
    write_lora(folder / "wash.safetensors")
    write_lora(folder / "broken.safetensors", {f"{TO_K}.strange": (2, 2)})
    xl = {f"{TO_K}.lora_down.weight": (4, 2048), f"{TO_K}.lora_up.weight": (8, 4)}
    write_lora(folder / "large.safetensors", xl)


def make_plan(engine: Engine, prompt: str, **fields: object) -> Plan:
    request = Txt2ImgRequest(prompt=prompt, width=512, height=512, **fields)
    return engine.planner.plan(request, engine.settings)


def uses(plan: Plan) -> list[tuple[str, float, float, int | None]]:
    return [(use.name, use.text_encoder, use.unet, use.rank) for use in plan.networks.loras]


@pytest.mark.parametrize(
    ("arguments", "text_encoder", "unet", "rank"),
    [
        ("", 1, 1, None),
        (":0.5", 0.5, 0.5, None),
        (":0.5:0.7", 0.5, 0.7, None),
        (":0.5:0.7:3", 0.5, 0.7, 3),
        (":te=0.3", 0.3, 0.3, None),
        (":unet=0.4", 1, 0.4, None),
        (":0.5:te=1", 1, 1, None),
        (":-0.5", -0.5, -0.5, None),
        (":1:dyn=2", 1, 1, 2),
        (":1:1:-1", 1, 1, -1),
        (":1:dyn=1e30", 1, 1, None),
        (": 0.5 ", 0.5, 0.5, None),
        (":0.5:other=7", 0.5, 0.5, None),
    ],
)
def test_weights(
    engine: Engine, arguments: str, text_encoder: float, unet: float, rank: int | None
):
    plan = make_plan(engine, f"a cat <lora:ink{arguments}>")
    assert uses(plan) == [("ink", text_encoder, unet, rank)]
    assert plan.notes == ()


def test_several_come_in_the_written_order_by_either_name_and_word(engine: Engine):
    plan = make_plan(engine, "<lyco:wash:0.5> a <lora: soft ink :2> cat")
    assert uses(plan) == [("wash", 0.5, 0.5, None), ("soft ink", 2, 2, None)]


def test_all_tags_of_the_word_that_comes_first_come_first(engine: Engine):
    plan = make_plan(engine, "<lyco:wash:1><lora:ink:0.5><lyco:soft ink:2>")
    assert [name for name, *_ in uses(plan)] == ["wash", "soft ink", "ink"]


def test_a_name_written_twice_counts_twice_with_its_last_weight(engine: Engine):
    plan = make_plan(engine, "<lora:ink:0.5><lora:wash:1><lora:ink:0.25>")
    assert [(name, unet) for name, _, unet, _ in uses(plan)] == [
        ("ink", 0.25),
        ("wash", 1),
        ("ink", 0.25),
    ]


@pytest.mark.parametrize(
    ("tag", "note"),
    [
        (
            "<lora:inq:1>",
            "There is no LoRA 'inq'; the picture is made without it. Did you mean 'ink'",
        ),
        ("<lora:ink:abc>", "<lora:ink:abc> is left out: its weight 'abc' is not a number."),
        ("<lora:ink:nan>", "<lora:ink:nan> is left out: its weight 'nan' is not a number."),
        (
            "<lora:ink:1:1:1.5>",
            "<lora:ink:1:1:1.5> is left out: its rank '1.5' is not a whole number",
        ),
        (
            "<lora:broken>",
            "<lora:broken> is left out: 'broken.safetensors' has a layer of an unknown",
        ),
        ("<lora:\U0001f600,:1>", "There is no LoRA '\U0001f600,'"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_a_note(engine: Engine, tag: str, note: str):
    plan = make_plan(engine, f"a cat {tag} <lora:wash:1>")
    assert [name for name, *_ in uses(plan)] == ["wash"]
    assert any(text.startswith(note) for text in plan.notes), plan.notes


def test_a_lora_of_another_family_is_left_out_with_a_note(engine: Engine):
    plan = make_plan(engine, "<lora:large>")
    assert uses(plan) == []
    assert plan.notes == (
        "The LoRA 'large' was made for SDXL, the checkpoint is SD 1.x; the picture is made without it.",
    )


def test_a_tag_in_the_negative_prompt_is_text(engine: Engine):
    assert uses(make_plan(engine, "a cat", negative_prompt="<lora:ink:1>")) == []


def test_each_pass_has_the_loras_of_its_own_prompt(engine: Engine):
    plan = make_plan(engine, "<lora:ink>", hr_prompt="<lora:wash>", enable_hr=True)
    assert plan.hires is not None
    assert [name for name, *_ in uses(plan)] == ["ink"]
    assert [name for name, *_ in uses(plan.hires.plan)] == ["wash"]
    same = make_plan(engine, "<lora:ink>", enable_hr=True).hires
    assert same is not None and [name for name, *_ in uses(same.plan)] == ["ink"]


def test_an_option_writes_a_lora_into_every_prompt_that_does_not_name_it(engine: Engine):
    options = {"sd_lora": "ink", "extra_networks_default_multiplier": 0.5}
    plan = make_plan(engine, "a cat", override_settings=options)
    assert plan.request.prompt == "a cat<lora:ink:0.5>"
    assert uses(plan) == [("ink", 0.5, 0.5, None)]
    plan = make_plan(engine, "a cat <lora:ink:1>", override_settings=options)
    assert plan.request.prompt == "a cat <lora:ink:1>"


def test_the_infotext_states_the_hashes_of_both_passes(engine: Engine):
    request = Txt2ImgRequest(
        prompt="a <lora:soft ink>", hr_prompt="b <lora:wash>", enable_hr=True, steps=2
    )
    job = engine.submit(request)
    assert job.wait(20)
    digest = engine.models.networks.known_hash(job.plan.networks.loras[0].file)[:12]
    infotext = job.status().images[0].infotext
    assert f'Lora hashes: "soft ink: {digest}, wash: {digest}"' in infotext
    off = request.replace(override_settings={"lora_add_hashes_to_infotext": False})
    job = engine.submit(off)
    assert job.wait(20)
    assert "Lora hashes" not in job.status().images[0].infotext


def test_a_name_of_two_files_is_a_note_with_the_tag_of_the_other(engine: Engine, paths: Paths):
    write_lora(paths.data / "models" / "Lora" / "night" / "wash.safetensors")
    engine.models.networks.refresh(LORA)
    plan = make_plan(engine, "<lora:wash:1>")
    (use,) = plan.networks.loras
    other = {"wash.safetensors": "night/wash", "night/wash.safetensors": "./wash"}[use.file.name]
    (note,) = plan.notes
    assert note.startswith(f"2 LoRAs are named 'wash', and that in '{use.file.name}' is used; ")
    assert f"<lora:{other}:1> is that in " in note
    for name in ("night/wash", "./wash"):
        plan = make_plan(engine, f"<lora:{name}:1>")
        assert plan.networks.loras[0].file.name == f"{name.removeprefix('./')}.safetensors"
        assert plan.notes == ()
    tags = {card.file.name: card.prompt_name for card in engine.networks.all() if card.kind == LORA}
    assert {tags["wash.safetensors"], tags["night/wash.safetensors"]} == {"wash", other}
