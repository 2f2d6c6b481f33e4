"""Merges as jobs: by the jobs API and by the page, followed, listed, stopped, and resumed after a restart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.backend.merging.merge import merge_checkpoints
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.plan.jobs.merge import MergePlan
from tests.backend.merging.merging import SAVED
from tests.conftest import write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

FIELDS = {"primary_model_name": "first", "secondary_model_name": "second", "custom_name": "sum"}


def add_merging(engine: Engine) -> None:
    """Let the test's device merge."""
    assert isinstance(engine.executor, FakeExecutor)
    engine.executor._handlers[MergePlan] = partial(merge_checkpoints, None)


@pytest.fixture
def client(engine: Engine) -> TestClient:
    add_merging(engine)
    app = FastAPI()
    add_routes(app, engine)
    return TestClient(app)


def test_a_merge_by_the_api_is_listed_as_soon_as_it_is_done(client: TestClient, engine: Engine):
    sent = client.post("/api/v1/jobs", json={"task": "merge", **FIELDS, "multiplier": 0.5})
    assert sent.status_code == 202, sent.text
    job_id = sent.json()["id"]
    assert engine.job(job_id).wait(PATIENCE_S)
    told = client.get(f"/api/v1/jobs/{job_id}").json()
    path = engine.paths.checkpoint_folders[0] / "sum.safetensors"
    assert (told["state"], told["notes"]) == ("done", [f"{SAVED}{path}"])
    assert told["request"]["primary_model_name"] == "first.safetensors"
    assert "sum.safetensors" in [c.name for c in engine.models.checkpoints()]
    assert engine.find_checkpoint(str(path)).name == "sum.safetensors"
    (row, *_) = client.get("/api/v1/jobs").json()["jobs"]
    assert (row["task"], row["state"]) == ("merge", "done")
    again = client.post(f"/api/v1/jobs/{job_id}/retry")
    assert again.status_code == 422
    assert again.json()["detail"].startswith("'sum.safetensors' already exists")


def test_what_does_not_fit_is_told_before_and_refused(
    client: TestClient, paths: Paths, engine: Engine
):
    shapes = {"model.diffusion_model.input_blocks.0.0.weight": [4, 9, 1, 1]}
    shapes["model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"] = [4, 4]
    shapes["first_stage_model.decoder.conv_in.weight"] = [4, 4, 1, 1]
    shapes["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"] = [4, 4]
    folder = paths.checkpoint_folders[0]
    write_listed_checkpoint(folder / "nine.safetensors", "nine", shapes)
    engine.models.refresh()

    def preview(**values: Any) -> dict[str, Any]:
        return client.post("/internal/merger/preview", json={"values": {**FIELDS, **values}}).json()

    fine = preview(discard_weights="first_stage_model|token")
    assert (fine["name"], fine["error"]) == ("sum.safetensors", "")
    assert fine["size_bytes"] > 0 and fine["free_bytes"] > 0
    assert fine["notes"][0] == "The pattern discards 2 of 4 tensors."
    assert preview(custom_name="")["name"] == "0.7(first) + 0.3(second).safetensors"
    refused = preview(secondary_model_name="nine")
    assert refused["error"] == (
        "B ('nine.safetensors') is an inpainting model and A ('first.safetensors') is not. "
        "Choose 'nine.safetensors' as A."
    )
    named = preview(primary_model_name="nine", secondary_model_name="first", custom_name="")
    assert named["name"] == "0.7(nine) + 0.3(first).inpainting.safetensors"
    for values, sentence in (
        ({"discard_weights": "("}, "The pattern '(' is no regular expression"),
        ({"metadata_json": "[1]"}, "The metadata are list, not an object."),
        ({"metadata_json": "{"}, "The metadata are no JSON"),
        ({"multiplier": 2}, "Multiplier (M) is 2; the largest valid value is 1."),
        (
            {"tertiary_model_name": "gone", "interp_method": "Add difference"},
            "There is no checkpoint named 'gone'",
        ),
        ({"interp_method": "Sum"}, "There is no recipe named 'Sum'."),
        ({"bake_in_vae": "gone"}, "There is no VAE named 'gone'."),
        ({"custom_name": "first"}, "'first.safetensors' already exists"),
        ({"custom_name": "..."}, "'...' cannot be the name of a file."),
    ):
        assert preview(**values)["error"].startswith(sentence)
        answer = client.post("/internal/merger", json={"values": {**FIELDS, **values}})
        assert (answer.status_code >= 400, answer.json()["detail"].startswith(sentence)) == (
            True,
            True,
        )


def test_the_metadata_of_chosen_checkpoints_are_read(client: TestClient):
    read = client.post("/internal/merger/metadata", json={"names": ["first", "", "second"]}).json()
    assert '"note": "second"' in read["metadata"]
    offered = client.get("/internal/merger").json()
    assert list(offered["recipes"])[1] == "Weighted sum"
    assert ["first.safetensors · SD 1.x", "first.safetensors"] in offered["checkpoints"]


def test_a_merge_that_waits_survives_a_restart_and_one_that_is_taken_out_leaves_nothing(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]],
):
    first, _ = start_engine()
    first.queue.pause()
    request = first.registries.request_class("merge")(**FIELDS)
    kept, dropped = first.submit(request), first.submit(request.replace(custom_name="gone"))
    dropped.interrupt()
    first.stop()
    second, _ = start_engine(prepare=add_merging, queue_after_restart="resumed")
    assert second.job(kept.id).wait(PATIENCE_S)
    assert second.status(kept.id).state == "done"
    names = [checkpoint.name for checkpoint in second.models.checkpoints()]
    assert "sum.safetensors" in names and "gone.safetensors" not in names
