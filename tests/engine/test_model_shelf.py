from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.model_shelf import ModelShelf, ShelfRow
from modules.engine.model_sidecars import Notes, read_notes
from modules.engine.model_use import last_use, make_model_shelf
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.conftest import write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(width=64, height=64, steps=4)
LORA_SHAPES = {"lora_unet_x.lora_down.weight": [4, 4], "lora_unet_x.lora_up.weight": [4, 4]}


@pytest.fixture
def shelf(engine: Engine) -> ModelShelf:
    return make_model_shelf(engine)


@pytest.fixture
def folder(engine: Engine) -> Path:
    """The checkpoints, with one more and all that belongs to it."""
    folder = engine.paths.checkpoint_folders[0]
    write_listed_checkpoint(folder / "mine.safetensors", "mine")
    for name in ("mine.yaml", "mine.preview.png", "mine.json", "mine.civitai.info"):
        (folder / name).write_text(name)
    (folder / "mine-2.yaml").write_text("another's")
    engine.models.refresh()
    return folder


def row(shelf: ModelShelf, name: str) -> ShelfRow:
    return next(one for one in shelf.rows() if one.file.name == name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(("mine", "yours"))}


def test_a_renamed_checkpoint_takes_along_what_belongs_to_it(
    shelf: ModelShelf, folder: Path, engine: Engine
):
    engine.change_settings({"sd_predictions": {"mine.safetensors": "epsilon"}})
    new_id = shelf.rename(row(shelf, "mine.safetensors").id, "yours")
    assert names(folder) == {
        "yours.safetensors",
        "yours.yaml",
        "yours.preview.png",
        "yours.json",
        "yours.civitai.info",
        "mine-2.yaml",
    }
    assert shelf.find(new_id).file.name == "yours.safetensors"
    assert engine.settings.sd_predictions == {"yours.safetensors": "epsilon"}


@pytest.mark.parametrize("name", ["../yours", "a/b", "second.safetensors", "con", ".x", "a:b"])
def test_a_name_that_is_none_or_taken_changes_nothing(shelf: ModelShelf, folder: Path, name: str):
    write_listed_checkpoint(folder / "second.safetensors")
    before = names(folder)
    with pytest.raises(UserError):
        shelf.rename(row(shelf, "mine.safetensors").id, name)
    assert names(folder) == before


def test_a_taken_name_of_a_sidecar_changes_nothing(shelf: ModelShelf, folder: Path):
    (folder / "yours.yaml").write_text("another's")
    before = names(folder)
    with pytest.raises(UserError, match=r"yours\.yaml' exists already"):
        shelf.rename(row(shelf, "mine.safetensors").id, "yours")
    assert names(folder) == before


def test_a_shared_yaml_stays_for_the_other_file(shelf: ModelShelf, folder: Path, engine: Engine):
    write_listed_checkpoint(folder / "mine.ckpt")
    engine.models.refresh()
    shelf.rename(row(shelf, "mine.safetensors").id, "yours")
    assert {"mine.ckpt", "mine.yaml", "yours.safetensors", "yours.yaml"} <= names(folder)


def test_a_deleted_checkpoint_comes_back(shelf: ModelShelf, folder: Path):
    before = names(folder)
    trashed = shelf.delete(row(shelf, "mine.safetensors").id)
    assert names(folder) == {"mine-2.yaml"}
    assert [entry.name for entry in shelf.list_trashed()] == ["mine.safetensors"]
    assert all(one.file.name != "mine.safetensors" for one in shelf.rows())
    shelf.restore(trashed.id)
    assert names(folder) == before
    assert shelf.list_trashed() == []
    assert row(shelf, "mine.safetensors").preview == folder / "mine.preview.png"


def test_an_erased_checkpoint_is_gone(shelf: ModelShelf, folder: Path):
    trashed = shelf.delete(row(shelf, "mine.safetensors").id)
    shelf.erase(trashed.id)
    assert shelf.list_trashed() == []
    assert not list((folder / ".trash").iterdir())


def test_nothing_is_restored_over_another_file(shelf: ModelShelf, folder: Path):
    trashed = shelf.delete(row(shelf, "mine.safetensors").id)
    write_listed_checkpoint(folder / "mine.safetensors", "another")
    with pytest.raises(UserError, match="exists again"):
        shelf.restore(trashed.id)


def test_a_lora_among_checkpoints_moves_home(shelf: ModelShelf, folder: Path, engine: Engine):
    write_listed_checkpoint(folder / "style.safetensors", shapes=LORA_SHAPES)
    (folder / "style.png").write_text("preview")
    engine.models.refresh()
    shelf.move_home(row(shelf, "style.safetensors").id)
    home = engine.paths.data / "models" / "Lora"
    assert {path.name for path in home.iterdir()} == {"style.safetensors", "style.png"}
    with pytest.raises(UserError, match="in the right folder already"):
        shelf.move_home(row(shelf, "mine.safetensors").id)


def test_files_in_use_stay(shelf: ModelShelf, folder: Path, engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    job = engine.submit(SMALL.replace(sd_model_checkpoint="mine"))
    for name in ("first.safetensors", "mine.safetensors"):  # chosen, and of a job
        for act in (shelf.delete, shelf.move_home, lambda one: shelf.rename(one, "yours")):
            with pytest.raises(UserError, match="is in use"):
                act(row(shelf, name).id)
    executor.release()
    assert job.wait(PATIENCE_S)
    assert last_use(engine)["mine.safetensors"] > time.time() - 60
    engine.select_checkpoint("first")
    executor.wait_until_idle()
    shelf.delete(row(shelf, "mine.safetensors").id)


def test_two_thousand_files_are_listed(shelf: ModelShelf, engine: Engine):
    folder = engine.paths.data / "models" / "Lora"
    folder.mkdir(parents=True)
    for number in range(2000):
        (folder / f"{number}.safetensors").touch()
    assert len(shelf.rows()) > 2000


def test_notes_are_those_of_a1111_or_of_a_person_and_can_be_written(
    shelf: ModelShelf, folder: Path
):
    model = folder / "mine.safetensors"
    assert read_notes(model) == Notes("", "")  # its .json is none
    with pytest.raises(UserError, match=r"mine\.json' holds no notes"):
        shelf.set_notes(row(shelf, "mine.safetensors").id, "new")
    assert (folder / "mine.json").read_text() == "mine.json"
    (folder / "mine.json").unlink()
    (folder / "mine.txt").write_text("by hand")
    assert read_notes(model) == Notes("", "by hand")
    shelf.set_notes(row(shelf, "mine.safetensors").id, "by me")
    assert (folder / "mine.txt").read_text() == "by me"
    (folder / "mine.json").write_text(
        '{"description": "good", "notes": "for cats", "sd version": "SD1"}'
    )
    assert read_notes(model) == Notes("good", "for cats")
    shelf.set_notes(row(shelf, "mine.safetensors").id, "for döner")
    assert json.loads((folder / "mine.json").read_text("utf-8")) == {
        "description": "good",
        "notes": "for döner",
        "sd version": "SD1",
    }
    with pytest.raises(UserError, match="at most"):
        shelf.set_notes(row(shelf, "mine.safetensors").id, "x" * 60_000)


@pytest.mark.parametrize(
    ("folder", "shapes", "sentence", "home"),
    [
        (
            "models/Lora",
            {"emb_params": [1, 4]},
            "is a textual-inversion embedding, not a LoRA.",
            "embeddings",
        ),
        (
            "embeddings",
            LORA_SHAPES,
            "is a LoRA, not an embedding. It belongs in models/Lora.",
            "models/Lora",
        ),
        (
            "models/hypernetworks",
            LORA_SHAPES,
            "is a LoRA, not a hypernetwork. It belongs in models/Lora.",
            "models/Lora",
        ),
        (
            "models/VAE",
            {"320.0.linear.0.weight": [4, 4]},
            "is a hypernetwork, not a VAE. It belongs in models/hypernetworks.",
            "models/hypernetworks",
        ),
    ],
)
def test_a_file_in_the_wrong_folder_says_where_it_belongs_and_moves_there(
    shelf: ModelShelf,
    engine: Engine,
    folder: str,
    shapes: dict[str, list[int]],
    sentence: str,
    home: str,
):
    path = write_listed_checkpoint(engine.paths.data / folder / "stray.pt", "", shapes)
    shelf.refresh()
    assert sentence in shelf.find_problem(row(shelf, "stray.pt"))
    shelf.move_home(row(shelf, "stray.pt").id)
    assert not path.exists()
    assert (engine.paths.data / home / "stray.pt").exists()
    moved = row(shelf, "stray.pt")
    assert shelf.find_problem(moved) == ""


def test_files_in_their_folders_have_no_problem_and_broken_ones_say_so(
    shelf: ModelShelf, engine: Engine
):
    write_listed_checkpoint(engine.paths.embeddings / "fine.pt", "", {"emb_params": [1, 4]})
    broken = engine.paths.data / "models" / "VAE" / "broken.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"<html>")
    shelf.refresh()
    problems = {one.file.name: shelf.find_problem(one) for one in shelf.rows()}
    assert problems["fine.pt"] == problems["first.safetensors"] == ""
    assert problems["broken.pt"].startswith("'broken.pt' is a web page")
