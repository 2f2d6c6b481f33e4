"""Recipes of extensions: offered, merged, named in the metadata; one that fails is a sentence and leaves no file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules import app
from modules.api.routes import add_routes
from modules.core.flags import Flags
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.merging.merging import read, read_metadata
from tests.backend.merging.test_merge_jobs import add_merging
from tests.conftest import ROOT
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

OUT = "model.diffusion_model.out.2.weight"
IN = "model.diffusion_model.input_blocks.0.0.weight"
MERGE = {"task": "merge", "primary_model_name": "a", "secondary_model_name": "b"}
# One model; the mean of the whole tensor counts, and names choose.
EXTENSION = """
from modules.models.merging.recipes import Recipe
def centre(tensors, multiplier, name):
    (a,) = tensors
    return a - multiplier * a.mean() if "out" in name else a
def fail(tensors, multiplier, name):
    a, b = tensors
    if not name.endswith("out.2.weight"):
        return a.add_(b)
    {line}
def register(webui):
    webui.recipes.add(Recipe("Centre", "A - mean * M", 1, "{{a}} centred", formula=centre))
    webui.recipes.add(Recipe("Bad sum", "A + B", 2, "{{a}} + {{b}}", formula=fail))
"""


class Program:
    """A data folder with two tiny checkpoints and extensions."""

    def __init__(self, paths: Paths, tokenizer: ClipTokenizer) -> None:
        self.folder = paths.checkpoint_folders[0]
        for seed, name in enumerate("ab"):
            write_checkpoint(self.folder / f"{name}.safetensors", seed=seed)
        self.registries = app.make_registries(Flags(nowebui=True), paths)
        self.engine = Engine(paths, FakeExecutor(), tokenizer, self.registries)
        add_merging(self.engine)
        self.engine.start()
        web = FastAPI()
        add_routes(web, self.engine)
        self.client = TestClient(web)

    def merge(self, **fields: Any) -> dict[str, Any]:
        """Return how a merge by the jobs API has ended."""
        sent = self.client.post("/api/v1/jobs", json={**MERGE, **fields})
        assert sent.status_code == 202, sent.text
        job_id = sent.json()["id"]
        assert self.engine.job(job_id).wait(PATIENCE_S)
        return self.client.get(f"/api/v1/jobs/{job_id}").json()


@pytest.fixture
def start(paths: Paths, tokenizer: ClipTokenizer) -> Iterator[Any]:
    """Starts the program with the extensions of the data folder."""
    programs: list[Program] = []

    def start() -> Program:
        programs.append(Program(paths, tokenizer))
        return programs[-1]

    yield start
    for program in programs:
        program.engine.stop()


def write_script(paths: Paths, line: str = "pass") -> None:
    paths.scripts.mkdir(parents=True, exist_ok=True)
    (paths.scripts / "sums.py").write_text(EXTENSION.format(line=line), encoding="utf-8")


def test_the_example_is_offered_with_its_multiplier_and_merges(start: Any, paths: Paths):
    example = ROOT / "docs" / "extensions" / "latent_contrast"
    shutil.copytree(example, paths.extensions / "latent_contrast")
    program = start()
    assert program.registries.extension_errors == []
    offered = program.client.get("/internal/merger").json()["recipes"]
    assert list(offered)[-2:] == ["Bake LoRA", "Model contrast"]
    assert offered["Model contrast"]["multiplier_label"] == "Contrast (M)"
    assert offered["Model contrast"]["model_count"] == 2
    assert "Model contrast" in program.engine.choices("merge recipes")

    told = program.merge(interp_method="model contrast", multiplier=0.5, save_as_half=True)
    assert told["state"] == "done", told
    path = program.folder / "a + 0.5(a - b).safetensors"
    merged, a, b = read(path), tiny_weights(0), tiny_weights(1)
    assert all(torch.equal(merged[k], (a[k] + 0.5 * (a[k] - b[k])).half()) for k in a)
    recipe = json.loads(read_metadata(path)["sd_merge_recipe"])
    assert (recipe["interp_method"], recipe["multiplier"]) == ("Model contrast", 0.5)


def test_a_formula_gets_whole_tensors_of_one_model_by_their_names(start: Any, paths: Paths):
    write_script(paths)
    program = start()
    assert program.merge(interp_method="Centre", multiplier=1)["state"] == "done"
    merged, a = read(program.folder / "a centred.safetensors"), tiny_weights(0)
    assert torch.equal(merged[OUT], a[OUT] - a[OUT].mean())
    assert torch.equal(merged[IN], a[IN])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("raise KeyError('layer')", "KeyError: 'layer'. The log has the details."),
        ("raise SystemExit", "It tried to end the program."),
        (
            "pass",
            f"For {OUT} it must return a tensor of the shape [4, 32, 3, 3] and the type float32, not a NoneType.",
        ),
        (
            "return a[:2]",
            f"For {OUT} it must return a tensor of the shape [4, 32, 3, 3] and the type float32, not one of the"
            " shape [2, 32, 3, 3] and the type float32 on cpu.",
        ),
        (
            "return a.double()",
            f"For {OUT} it must return a tensor of the shape [4, 32, 3, 3] and the type float32, not one of the"
            " shape [4, 32, 3, 3] and the type float64 on cpu.",
        ),
    ],
)
def test_a_formula_that_fails_is_one_sentence_with_its_name_and_leaves_no_file(
    start: Any, paths: Paths, line: str, reason: str
):
    write_script(paths, line)
    program = start()
    names = sorted(path.name for path in program.folder.iterdir())
    told = program.merge(interp_method="Bad sum")
    assert told["state"] == "failed"
    assert told["error"].startswith(
        f"The extension 'sums.py' failed in 'Bad sum'. {reason} Disable it"
    )
    assert sorted(path.name for path in program.folder.iterdir()) == names
    assert reason in program.registries.extensions[0].problems[0].sentence
    # The files that are merged are never written to.
    assert torch.equal(read(program.folder / "a.safetensors")[IN], tiny_weights(0)[IN])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("'Weighted sum', '', 2, '{a}', formula=print", "The recipe name 'weighted sum' is taken."),
        ("'', '', 2, '{a}', formula=print", "'' cannot be the name of a recipe."),
        (
            "'Four', '', 4, '{a}', formula=print",
            "The recipe 'Four' needs 4 checkpoints; a merge has 1 to 3.",
        ),
        (
            "'Two', '', 2, '{a} {c}', formula=print",
            "The name_format of the recipe 'Two' has {c}; there are {a}, {b}, {loras}, {m}, {rest}.",
        ),
        ("'Bare', '', 2, '{a}'", "The recipe 'Bare' has no formula."),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_words(
    start: Any, paths: Paths, row: str, reason: str
):
    code = f"""
from modules.models.merging.recipes import Recipe
def register(webui):
    webui.recipes.add(Recipe({row}))
"""
    paths.scripts.mkdir(parents=True)
    (paths.scripts / "odd.py").write_text(code, encoding="utf-8")
    program = start()
    assert program.registries.extension_errors == [
        f"The extension 'odd.py' is not loaded. {reason}"
    ]
    assert program.registries.recipes.names()[-1] == "Bake LoRA"
