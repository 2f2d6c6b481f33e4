import time

import pytest

from modules.models import file_cache
from modules.models.file_cache import HeaderFacts, HeaderFactsCache
from modules.models.ldm.names import CLIP_TOKEN_EMBEDDING_KEY, UNET_CONTEXT_KEY, UNET_INPUT_KEY
from modules.models.manager import ModelManager
from modules.models.scan import FileStamp
from modules.models.text_encoders import TextEncoderInfo
from tests.models.model_files import CONFIGS, write_safetensors

ROW = {
    FileStamp("/a", 1, 2): HeaderFacts("SD 1.x", "", TextEncoderInfo("CLIP", 768, is_included=True))
}


def test_what_was_found_is_known_after_a_restart(tmp_path):
    HeaderFactsCache(tmp_path / "cache" / "v.json").write(ROW)
    assert HeaderFactsCache(tmp_path / "cache" / "v.json").read() == ROW


def test_another_table_of_families_judges_anew(tmp_path, monkeypatch):
    HeaderFactsCache(tmp_path / "v.json").write(ROW)
    monkeypatch.setattr(file_cache, "FAMILIES", ())
    assert HeaderFactsCache(tmp_path / "v.json").read() == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"table": 1, "files": 3}'])
def test_a_damaged_file_is_begun_anew(tmp_path, text):
    (tmp_path / "v.json").write_text(text, encoding="utf-8")
    assert HeaderFactsCache(tmp_path / "v.json").read() == {}
    HeaderFactsCache(tmp_path / "v.json").write(ROW)
    assert HeaderFactsCache(tmp_path / "v.json").read() == ROW


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
    began = time.process_time()  # of this process alone, whatever else the machine does
    restarted.refresh()
    took_s = time.process_time() - began
    assert took_s < 1.0
    assert [c.error for c in restarted.checkpoints()] == [""] * 2000
    print(f"2,000 checkpoints: {took_s:.3f} s")
