import json
import time

import pytest

from modules.models.file_cache import (
    PREDICTIONS_FILE,
    HeaderFacts,
    HeaderFactsCache,
    read_prediction_type,
    write_prediction_type,
)
from modules.models.ldm.keys import CLIP_TOKEN_EMBEDDING_KEY, UNET_CONTEXT_KEY, UNET_INPUT_KEY
from modules.models.manager import ModelManager
from modules.models.scan import FileStamp
from modules.models.text_encoders import TextEncoderInfo
from tests.models.model_files import CONFIGS, write_safetensors

FACTS = {
    FileStamp("/a", 1, 2): HeaderFacts("SD 1.x", "", TextEncoderInfo("CLIP", 768, is_included=True))
}


def test_header_facts_are_read_after_a_restart(tmp_path):
    HeaderFactsCache(tmp_path / "cache" / "v.json").write(FACTS)
    assert HeaderFactsCache(tmp_path / "cache" / "v.json").read() == FACTS


def test_header_facts_of_another_families_table_are_dropped(tmp_path):
    HeaderFactsCache(tmp_path / "v.json").write(FACTS)
    assert HeaderFactsCache(tmp_path / "v.json", families=()).read() == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"table": 1, "files": 3}'])
def test_a_damaged_cache_of_header_facts_is_rebuilt(tmp_path, text):
    (tmp_path / "v.json").write_text(text, encoding="utf-8")
    assert HeaderFactsCache(tmp_path / "v.json").read() == {}
    HeaderFactsCache(tmp_path / "v.json").write(FACTS)
    assert HeaderFactsCache(tmp_path / "v.json").read() == FACTS


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
    ModelManager([folder], CONFIGS, tmp_path / "cache").refresh()
    restarted = ModelManager([folder], CONFIGS, tmp_path / "cache")
    started = time.process_time()  # of this process only, whatever else the machine does
    restarted.refresh()
    duration_s = time.process_time() - started
    assert duration_s < 1.0
    assert [c.error for c in restarted.checkpoints()] == [""] * 2000
    print(f"2,000 checkpoints: {duration_s:.3f} s")
