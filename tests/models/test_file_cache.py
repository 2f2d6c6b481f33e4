import json
import os
import time
from pathlib import Path

import pytest

from modules.models.families import Family, make_family_registry
from modules.models.file_cache import (
    PREDICTIONS_FILE,
    HashCache,
    HeaderFacts,
    HeaderFactsCache,
    read_prediction_type,
    tables_digest,
    write_prediction_type,
)
from modules.models.files.scan import FileStamp
from modules.models.index import ModelIndex
from modules.models.kinds import ModelKind, make_kind_registry
from modules.models.ldm.keys import CLIP_TOKEN_EMBEDDING_KEY, UNET_CONTEXT_KEY, UNET_INPUT_KEY
from modules.models.text_encoders import TextEncoderInfo
from tests.models.model_files import CONFIGS, write_safetensors

FACTS = {
    FileStamp("/a", 1, 2): HeaderFacts(
        "Checkpoint", "SD 1.x", "", (TextEncoderInfo("CLIP", 768, is_included=True),)
    )
}


def cache_in(file: Path, tables: str = "these tables") -> HeaderFactsCache:
    return HeaderFactsCache(file, tables)


def test_header_facts_are_read_after_a_restart(tmp_path):
    cache_in(tmp_path / "cache" / "v.json").write(FACTS)
    assert cache_in(tmp_path / "cache" / "v.json").read() == FACTS


def test_header_facts_of_other_tables_are_dropped(tmp_path):
    cache_in(tmp_path / "v.json").write(FACTS)
    assert cache_in(tmp_path / "v.json", "other tables").read() == {}


def test_the_digest_of_the_tables_is_the_same_after_a_restart_and_changes_with_any_row():
    kinds, families = make_kind_registry(), make_family_registry()
    digest = tables_digest(kinds, families)
    assert tables_digest(make_kind_registry(), make_family_registry()) == digest
    families.add(Family("more", ()))
    assert tables_digest(kinds, families) != digest
    kinds.add(ModelKind("more", "more", lambda _: (), ()))
    assert tables_digest(kinds, make_family_registry()) != digest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"table": 1, "files": 3}'])
def test_a_damaged_cache_of_header_facts_is_rebuilt(tmp_path, text):
    (tmp_path / "v.json").write_text(text, encoding="utf-8")
    assert cache_in(tmp_path / "v.json").read() == {}
    cache_in(tmp_path / "v.json").write(FACTS)
    assert cache_in(tmp_path / "v.json").read() == FACTS


@pytest.mark.parametrize("text", ["", "[]", "{", '{"PATH": 3}', '{"PATH": [1, 2, "x0"]}'])
def test_a_damaged_cache_of_prediction_types_is_ignored_and_rebuilt(tmp_path, text):
    file, stamp = tmp_path / PREDICTIONS_FILE, FileStamp("/a", 1, 2)
    file.write_text(text.replace("PATH", stamp.path), encoding="utf-8")
    assert read_prediction_type(tmp_path, stamp) is None
    write_prediction_type(tmp_path, stamp, "epsilon")
    assert json.loads(file.read_text())[stamp.path][-1] == "epsilon"


def test_two_thousand_checkpoints_are_listed_within_a_second_after_a_restart(tmp_path):
    shapes = {key: [4, 4] for key in (UNET_INPUT_KEY, CLIP_TOKEN_EMBEDDING_KEY)} | {
        UNET_CONTEXT_KEY: [1, 1]
    }
    folder = tmp_path / "models"
    first = write_safetensors(folder / "0.safetensors", shapes)
    for number in range(1, 2000):
        (folder / f"{number}.safetensors").write_bytes(first.read_bytes())
    ModelIndex({"Checkpoint": [folder]}, CONFIGS, tmp_path / "cache").refresh()
    restarted = ModelIndex({"Checkpoint": [folder]}, CONFIGS, tmp_path / "cache")
    started = (
        time.thread_time()
    )  # of this thread only, whatever else the process and the machine do
    restarted.refresh()
    duration_s = time.thread_time() - started
    assert duration_s < 1.0
    assert [c.error for c in restarted.checkpoints()] == [""] * 2000
    print(f"2,000 checkpoints: {duration_s:.3f} s")


ODD_CONTENTS = [
    "[" * 100_000,
    '{"a":' * 100_000,
    "Infinity",
    "NaN",
    "null",
    "3",
    '"text"',
    '{"table": "TABLES", "files": null}',
    '{"table": "TABLES", "files": {}}',
    '{"table": "TABLES", "files": [[]]}',
    '{"table": "TABLES", "files": [1]}',
    '{"table": ["TABLES"], "files": []}',
]
ODD_VALUES = [
    (0, None),
    (0, 5),
    (1, float("inf")),
    (1, float("nan")),
    (1, 1.5),
    (1, -1),
    (1, 10**400),
    (1, True),
    (1, "1"),
    (2, float("-inf")),
    (2, 10**400),
    (2, None),
    (3, "Nonsense"),
    (3, ["Checkpoint"]),
    (4, "Nonsense"),
    (4, ""),
    (4, {}),
    (5, 3),
    (6, []),
    (6, [["CLIP", 768, True]] * 2),
    (6, [["CLIP", float("inf"), True]]),
    (6, [["CLIP", 10**400, True]]),
    (6, [["CLIP", "768", True]]),
    (6, [["CLIP", 768, 1]]),
    (6, [[None, 768, True]]),
    (6, [["CLIP", 768]]),
    (6, "abc"),
    (6, 3),
]


@pytest.fixture
def index(tmp_path):
    folder = tmp_path / "models"
    shapes = {key: [4, 4] for key in (UNET_INPUT_KEY, CLIP_TOKEN_EMBEDDING_KEY)}
    write_safetensors(folder / "a.safetensors", shapes | {UNET_CONTEXT_KEY: [1, 1]})
    return lambda: ModelIndex({"Checkpoint": [folder]}, CONFIGS, tmp_path / "cache")


def assert_listed(index):
    (checkpoint,) = index.checkpoints()
    assert (checkpoint.family, checkpoint.error) == ("SD 1.x", "")
    assert index.find_text_encoders(checkpoint) == (None,)


@pytest.mark.parametrize("content", ODD_CONTENTS)
@pytest.mark.parametrize("name", ["verdicts.json", "hashes.json", PREDICTIONS_FILE])
def test_an_odd_cache_is_dropped_and_the_start_succeeds(index, tmp_path, name, content):
    index().refresh()
    file = tmp_path / "cache" / name
    tables = tables_digest(make_kind_registry(), make_family_registry())
    file.write_text(content.replace("TABLES", tables), encoding="utf-8")
    restarted = index()
    assert_listed(restarted)
    assert restarted.sha256(restarted.checkpoints()[0], 60)
    stamp = restarted.checkpoints()[0].stamp
    write_prediction_type(tmp_path / "cache", stamp, "v_prediction")
    assert read_prediction_type(tmp_path / "cache", stamp) == "v_prediction"
    restarted.stop()
    json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("column", "value"), ODD_VALUES)
def test_an_odd_value_in_the_header_facts_is_dropped(index, tmp_path, column, value):
    index().refresh()
    file = tmp_path / "cache" / "verdicts.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["files"][0][column] = value
    file.write_text(json.dumps(content), encoding="utf-8")
    assert_listed(index())
    rewritten = json.loads(file.read_text(encoding="utf-8"))
    assert repr(rewritten["files"][0][column]) != repr(value)


def test_header_facts_that_name_no_rows_are_dropped_for_all_files(index, tmp_path):
    index().refresh()
    file = tmp_path / "cache" / "verdicts.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["files"].append(["/gone", 1, 2, "Checkpoint", "Nonsense", "", [["CLIP", 768, True]]])
    file.write_text(json.dumps(content), encoding="utf-8")
    assert_listed(index())
    assert "Nonsense" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "entry",
    [
        [float("inf"), 1, "0" * 64],
        [1, 10**400, "0" * 64],
        [1, 1, "x"],
        [1, 1, None],
        [1, 1],
        {"a": 1},
    ],
)
def test_an_odd_value_among_the_hashes_is_dropped(tmp_path, entry):
    file, stamp = tmp_path / "hashes.json", FileStamp("/a", 1, 1)
    file.write_text(json.dumps({"/a": entry}), encoding="utf-8")
    cache = HashCache(file)
    assert cache.get(stamp) == ""
    cache.set(stamp, "0" * 64)
    assert HashCache(file).get(stamp) == "0" * 64


@pytest.mark.parametrize("width", [float("inf"), float("nan"), 1.5, 10**400, None, -1])
def test_facts_that_are_not_finite_and_whole_are_not_written(tmp_path, width):
    facts = {
        FileStamp("/a", 1, 2): HeaderFacts("Checkpoint", "", "", (TextEncoderInfo("", width),))
    }
    cache_in(tmp_path / "v.json").write(facts)
    assert not (tmp_path / "v.json").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_in_place_of_a_cache_does_not_keep_the_start_waiting(index, tmp_path):
    (tmp_path / "cache").mkdir()
    os.mkfifo(tmp_path / "cache" / "verdicts.json")
    assert_listed(index())


def test_a_folder_in_place_of_a_cache_costs_only_the_cache(index, tmp_path):
    (tmp_path / "cache" / "verdicts.json").mkdir(parents=True)
    assert_listed(index())
