"""Extensions, through the real app on an engine that draws single-colour images."""

from __future__ import annotations

import base64
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules import app
from modules.api.routes import add_routes
from modules.core.flags import Flags
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.extensions.record import ExtensionRecord
from modules.engine.extensions.sources import find_extensions
from modules.engine.infotext_context import read_infotext
from modules.engine.registries import Registries
from modules.extensions.loader import load_extensions
from modules.infotext import parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import ROOT, write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

EXAMPLE = Path(__file__).parent / "extension_example"
SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 1}
BODY = {**SMALL, "save_images": True}
WITHOUT_PAGE, WITH_PAGE = Flags(nowebui=True), Flags()
StartApp = Callable[..., tuple[Engine, TestClient]]


@pytest.fixture
def start(paths: Paths, tokenizer: ClipTokenizer) -> Iterator[StartApp]:
    """Starts the program with the extensions in the data folder."""
    engines: list[Engine] = []

    def start(flags: Flags = WITHOUT_PAGE) -> tuple[Engine, TestClient]:
        executor = FakeExecutor()
        engine = Engine(paths, executor, tokenizer, app.make_registries(flags, paths))
        engines.append(engine)
        engine.start()
        executor.wait_until_idle()
        return engine, TestClient(app.make_app(engine, flags), base_url="http://127.0.0.1")

    yield start
    for engine in engines:
        engine.stop()


def write_extension(paths: Paths, name: str, code: str) -> None:
    folder = paths.extensions / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(code, encoding="utf-8")


@pytest.fixture
def loud(paths: Paths) -> None:
    """Put the example into the data folder, as `loud`."""
    shutil.copytree(
        EXAMPLE, paths.extensions / "loud", ignore=shutil.ignore_patterns("__pycache__")
    )


def page_of(client: TestClient) -> str:
    """Return the page's components as JSON."""
    return json.dumps(client.get("/config").json(), ensure_ascii=False)


@pytest.mark.usefixtures("loud")
def test_a_sampler_and_a_schedule_of_an_extension_are_listed_used_and_read(start: StartApp):
    engine, client = start()
    assert client.get("/sdapi/v1/samplers").json()[-1]["name"] == "Jump"
    assert client.get("/sdapi/v1/schedulers").json()[-1]["label"] == "Straight"
    body = {**BODY, "sampler_name": "k_jump", "scheduler": "Straight"}
    info = json.loads(client.post("/sdapi/v1/txt2img", json=body).json()["info"])
    (text,) = info["infotexts"]
    assert "Sampler: Jump, Schedule type: Straight" in text
    request = read_infotext(engine, text, Txt2ImgRequest).to_request()
    assert (request.sampler_name, request.scheduler) == ("Jump", "Straight")


@pytest.mark.usefixtures("loud")
def test_the_options_of_an_extension_are_declared_stored_and_shown(start: StartApp, paths: Paths):
    engine, client = start()
    changed = client.post("/internal/settings", json={"changes": {"loudness": 7}}).json()
    section = changed["sections"][-1]
    assert (section["name"], section["title"]) == ("loud", "Loudness")
    assert [(one["name"], one["value"]) for one in section["options"]] == [
        ("loudness", 7),
        ("loud_voice", "bass"),
        ("jump_length", 1.0),
        ("line_slope", 1.0),
    ]
    assert json.loads((paths.data / "config.json").read_text(encoding="utf-8"))["loudness"] == 7
    assert client.get("/sdapi/v1/options").json()["loudness"] == 7
    assert client.post("/sdapi/v1/options", json={"loudness": 9}).status_code == 200
    refused = client.post("/sdapi/v1/options", json={"loudness": 12}).json()
    assert refused["detail"] == "Loudness is 12; the largest valid value is 11."
    engine.stop()
    again, _ = start()
    assert again.settings.loudness == 9  # type: ignore[attr-defined]


@pytest.mark.usefixtures("loud")
def test_an_option_of_an_extension_is_overridden_by_a_request_and_read_from_its_infotext(
    start: StartApp,
):
    engine, client = start()
    body = {**BODY, "override_settings": {"loudness": "5"}, "enable_hr": True}
    response = client.post("/sdapi/v1/txt2img", json=body).json()
    (text,) = json.loads(response["info"])["infotexts"]
    assert "Loudness: 5" in text
    assert response["warnings"] == []
    result = read_infotext(engine, text, Txt2ImgRequest)
    assert result.override_settings == {"loudness": 5}
    job = engine.submit(result.to_request())
    assert job.wait(PATIENCE_S)
    assert "Loudness: 5" in job.status().images[0].infotext
    retried = engine.queue.retry(job.id)
    assert retried.wait(PATIENCE_S)
    assert "Loudness: 5" in retried.status().images[0].infotext
    job = client.post("/api/v1/jobs", json={"width": 64, "override_settings": {"loudness": 3}})
    assert job.json()["request"]["override_settings"] == {"loudness": 3}


@pytest.mark.usefixtures("loud")
def test_a_tab_and_a_route_of_an_extension_are_served(start: StartApp):
    _, client = start(WITH_PAGE)
    config = client.get("/config").json()["components"]
    tabs = [one["props"]["label"] for one in config if one["type"] == "tabitem"]
    assert tabs[-1] == "Loud"
    texts = [one["props"]["value"] for one in config if one["type"] == "markdown"]
    assert texts[-1] == "Loudness: 2"
    assert client.get("/loud/level").json() == 2


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({"sampler_name": "Euler", "scheduler": "Karras"}, []),
        ({"sampler_name": "Jump", "scheduler": "Karras"}, ["Jump length"]),
        ({"sampler_name": "Euler", "scheduler": "Straight"}, ["Line slope"]),
        ({"sampler_name": "DDIM", "scheduler": "Straight"}, []),
        ({"sampler_name": "Euler", "enable_hr": True, "hr_sampler_name": "Jump"}, ["Jump length"]),
    ],
)
def test_an_option_of_an_extensions_sampler_or_schedule_counts_where_that_runs(
    start: StartApp, fields: dict[str, object], written: list[str]
):
    engine, _ = start()
    engine.change_settings({"jump_length": 2.5, "line_slope": 0.5})
    job = engine.submit(Txt2ImgRequest(**{"width": 64, "height": 64, "steps": 2, **fields}))
    assert job.wait(PATIENCE_S)
    values = {"Jump length": 2.5, "Line slope": 0.5}
    pairs = parse_infotext(job.status().images[0].infotext).pairs
    assert {key: float(pairs[key]) for key in values if key in pairs} == {
        key: values[key] for key in written
    }
    options = job.plan.settings.model_dump()
    found = {"Jump length": options["jump_length"], "Line slope": options["line_slope"]}
    assert found == dict.fromkeys(values, 1.0) | {key: values[key] for key in written}


@pytest.mark.usefixtures("loud")
def test_a_task_of_an_extension_is_planned_runs_and_is_stored(start: StartApp, paths: Paths):
    engine, client = start()
    body = {**SMALL, "task": "poster", "slogan": "Louder"}
    job = client.post("/api/v1/jobs", json=body).json()
    assert (job["task"], job["request"]["slogan"]) == ("poster", "Louder")
    assert engine.job(job["id"]).wait(PATIENCE_S)
    (image,) = engine.status(job["id"]).images
    assert image.path.is_file()
    assert "Slogan: Louder" in image.infotext
    retried = engine.queue.retry(job["id"])
    assert retried.wait(PATIENCE_S)
    assert retried.status().images[0].infotext == image.infotext
    write_listed_depth(paths.checkpoint_folders[0] / "depth.safetensors")
    engine.models.refresh()
    body["sd_model_checkpoint"] = "depth"
    refused = client.post("/api/v1/jobs", json=body).json()
    assert refused["detail"].startswith("'depth.safetensors' cannot draw a poster.")


@pytest.mark.usefixtures("loud")
def test_a_script_of_an_extension_runs_as_a_group_and_saves_its_images(start: StartApp):
    engine, _ = start()
    request = Txt2ImgRequest(**SMALL)
    group = engine.run_script("each twice", request, {"seed_step": 7})
    assert group.wait(PATIENCE_S)
    status = group.status()
    assert (status.state, status.notes) == ("done", ("2 cells have ended.",))
    assert [image.seed for image in status.images] == [1, 8]
    assert all(
        image.path.parent.parent == engine.paths.outputs / "txt2img-images"
        for image in status.images
    )
    assert all(image.path.is_file() for image in status.images)


@pytest.mark.usefixtures("loud")
def test_a_script_of_an_extension_is_listed_and_run_by_the_api(start: StartApp):
    engine, client = start()
    listed = client.get("/sdapi/v1/scripts").json()
    assert "each twice" in listed["txt2img"]
    assert "each twice" not in listed["img2img"]
    body = {**BODY, "script_name": "Each twice", "script_args": [7]}
    answer = client.post("/sdapi/v1/txt2img", json=body).json()
    info = json.loads(answer["info"])
    assert (info["all_seeds"], answer["warnings"]) == ([1, 8], ["2 cells have ended."])
    saved = sorted((engine.paths.outputs / "txt2img-images").rglob("*.png"))
    assert [base64.b64decode(image) for image in answer["images"]] == [
        path.read_bytes() for path in saved
    ]


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize(
    "flags",
    [
        Flags(nowebui=True, disable_all_extensions=True),
        Flags(nowebui=True, disable_extra_extensions=True),
    ],
)
def test_extensions_can_be_disabled_for_one_start(paths: Paths, flags: Flags):
    assert "Jump" in app.make_registries(WITHOUT_PAGE, paths).samplers.names()
    disabled = app.make_registries(flags, paths)
    assert "Jump" not in disabled.samplers.names()


NAMED = "def register(webui):\n    from modules.sampling.samplers import Sampler\n"
ADD = NAMED + "    webui.samplers.add(Sampler('Fine', lambda *_: None))\n"
OPTIONS = """
from pydantic import BaseModel
from modules.params.param import param
from modules.params.settings.sections import SettingsSection
class Options(BaseModel):
    {}
def register(webui):
    webui.settings_sections.add(SettingsSection('bad', 'Bad', Options))
"""
DETAILS = " The log has the details."


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import nowhere_at_all\ndef register(webui): ...",
            "ModuleNotFoundError: No module named 'nowhere_at_all'." + DETAILS,
        ),
        ("def register(webui)", "SyntaxError: expected ':' (__init__.py, line 1)." + DETAILS),
        ("x = 1", "Its __init__.py has no function register(webui)."),
        (ADD + "    1 / 0", "ZeroDivisionError: division by zero." + DETAILS),
        (ADD + "    raise SystemExit(3)", "It tried to end the program."),
        (
            ADD + "    webui.samplers.add(Sampler('k_euler', lambda *_: None))",
            "The sampler name 'k_euler' is taken.",
        ),
        (
            OPTIONS.format("sd_vae: str = param('', 'VAE', help='Any.', section='bad')"),
            "The option name 'sd_vae' is taken.",
        ),
        (
            ADD.replace("lambda *_: None", "lambda *_: None, options=('nothing',)"),
            "The sampler 'Fine' has the option 'nothing', which does not exist.",
        ),
        (
            "def register(webui):\n"
            "    from modules.params.requests.tasks import Task\n"
            "    from modules.params.requests.txt2img import Txt2ImgRequest\n"
            "    webui.tasks.add(Task('bad', Txt2ImgRequest, needs=('init image',)))",
            "The task 'bad' must need an init image exactly if its request class is an InitImageRequest.",
        ),
        (
            OPTIONS.format("depth: int = 3"),
            "The option 'depth' is not declared with param().",
        ),
        (
            OPTIONS.format("depth: int = param(3, 'Depth', help='Any.', section='deep')"),
            "The option 'depth' is in the section 'deep', which does not exist.",
        ),
    ],
)
def test_a_failing_extension_is_named_in_the_log_and_left_out(
    paths: Paths, caplog: pytest.LogCaptureFixture, code: str, reason: str
):
    write_extension(paths, "bad", code)
    with caplog.at_level(logging.WARNING):
        registries = app.make_registries(WITHOUT_PAGE, paths)
    sentence = f"The extension 'bad' is not loaded. {reason}"
    assert registries.extension_errors == [sentence]
    assert sentence in caplog.text
    assert "Fine" not in registries.samplers.names(), "none of its rows is kept"
    assert "Jump" in registries.samplers.names(), "other extensions are loaded"
    assert not [name for name in sys.modules if name.endswith("_bad")]


@pytest.mark.usefixtures("loud")
def test_a_failing_extension_is_named_on_the_page_and_the_rest_works(start: StartApp, paths: Paths):
    write_extension(paths, "bad", "<script>")
    _, client = start(WITH_PAGE)
    (sentence,) = client.get("/internal/state").json()["extension_errors"]
    assert sentence.startswith("The extension 'bad' is not loaded. SyntaxError")
    assert client.get("/loud/level").json() == 2


def test_an_extension_of_a1111_is_refused_with_a_sentence(paths: Paths):
    scripts = paths.extensions / "sd-webui-something" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "something.py").write_text("raise SystemExit", encoding="utf-8")
    assert app.make_registries(WITHOUT_PAGE, paths).extension_errors == [
        "The extension 'sd-webui-something' is not loaded. It has no __init__.py; extensions of "
        "A1111's WebUI do not work here."
    ]


FAILING_ROWS = """
from modules.engine.registries import Router, Tab
from modules.ui.forms.layout import FormLayout
def fail(engine):
    raise KeyError("volume")
def register(webui):
    webui.tabs.add(Tab("Broken", fail))
    webui.tabs.add(Tab("Formless", form=FormLayout("formless", "no task", (), ())))
    webui.routers.add(Router("broken", fail))
    webui.routers.add(Router("wrong", lambda engine: "routes"))
"""


@pytest.mark.usefixtures("loud")
def test_a_tab_or_router_that_cannot_be_built_leaves_the_rest_as_it_is(
    start: StartApp, paths: Paths
):
    write_extension(paths, "bad", FAILING_ROWS)
    _, client = start(WITH_PAGE)
    key_error = f"KeyError: 'volume'.{DETAILS}"
    errors = client.get("/internal/state").json()["extension_errors"]
    form_error = next(
        error for error in errors if "There is no task 'no task' in this version" in error
    )
    assert form_error.startswith("The form of the tab 'Formless' cannot be built. ")
    assert errors == [
        f"The extension 'bad' cannot add its routes 'broken'. {key_error}",
        "The extension 'bad' cannot add its routes 'wrong'. It is no APIRouter, but a str.",
        form_error,
        f"The extension 'bad' cannot build its tab 'Broken'. {key_error}",
    ]
    assert "cannot build its tab" in page_of(client)  # where it would have been
    assert client.get("/loud/level").json() == 2
    assert client.get("/sdapi/v1/samplers").status_code == 200


def test_extensions_are_loaded_in_the_order_of_their_names(paths: Paths):
    for name in ("b-b", "a.a", "c"):
        code = ADD.replace("Fine", f"Sampler {name}")
        write_extension(paths, name, code)
    write_extension(paths, ".git", "raise SystemExit")
    write_extension(paths, "__pycache__", "raise SystemExit")
    (paths.extensions / "README.md").write_text("Read me.", encoding="utf-8")
    registries = app.make_registries(WITHOUT_PAGE, paths)
    assert registries.samplers.names()[-3:] == ["Sampler a.a", "Sampler b-b", "Sampler c"]
    assert registries.extension_errors == []


def test_no_code_runs_from_other_folders(paths: Paths, tmp_path: Path):
    for folder in (paths.scripts / "loud", paths.data / "models" / "loud", tmp_path / "loud"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit", encoding="utf-8")
    (paths.extensions).mkdir()
    (paths.extensions / "loose.py").write_text("raise SystemExit", encoding="utf-8")
    assert app.make_registries(WITHOUT_PAGE, paths).extension_errors == []


def records(registries: Registries) -> dict[str, ExtensionRecord]:
    return {record.source.id: record for record in registries.extensions}


def test_scripts_folders_and_packages_come_by_the_same_door(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_extension(paths, "folder", ADD.replace("Fine", "Of a folder"))
    paths.scripts.mkdir()
    (paths.scripts / "script.py").write_text(ADD.replace("Fine", "Of a script"), encoding="utf-8")
    (paths.scripts / "_draft.py").write_text("raise SystemExit", encoding="utf-8")
    (paths.scripts / "notes.txt").write_text("no code", encoding="utf-8")
    site = tmp_path / "site"
    info = site / "tiny_extension-0.7.dist-info"
    info.mkdir(parents=True)
    (site / "tiny_extension.py").write_text(ADD.replace("Fine", "Of a package"), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-extension\nVersion: 0.7\n")
    (info / "entry_points.txt").write_text(
        "[stable_diffusion_webui.extensions]\n"
        "tiny = tiny_extension:register\ntiny-module = tiny_extension\n"
    )
    monkeypatch.syspath_prepend(site)
    registries = app.make_registries(WITHOUT_PAGE, paths)
    known = records(registries)
    assert list(known) == ["package:tiny", "package:tiny-module", "folder", "scripts/script.py"]
    assert registries.samplers.names()[-3:] == ["Of a package", "Of a folder", "Of a script"]
    tiny = known["package:tiny"]
    assert (tiny.source.version, tiny.source.distribution) == ("0.7", "tiny-extension")
    assert (tiny.state, tiny.adds) == ("loaded", ("sampler: Of a package",))
    assert known["package:tiny-module"].problems[0].sentence == (
        "The extension 'tiny-module' is not loaded. The sampler name 'of a package' is taken."
    )


def test_a_script_of_a1111_is_refused_with_a_sentence_and_not_run(paths: Paths):
    paths.scripts.mkdir()
    (paths.scripts / "old.py").write_text(
        "import modules.scripts as scripts\nimport gradio as gr\n"
        "class Script(scripts.Script):\n    def title(self): return 'Old'\n"
        "open('/tmp/this must not be written', 'w')\n",
        encoding="utf-8",
    )
    registries = app.make_registries(WITHOUT_PAGE, paths)
    assert registries.extension_errors == [
        "The extension 'old.py' is not loaded. Its old.py has no function register(webui); scripts of "
        "A1111's WebUI do not work here."
    ]
    assert not Path("/tmp/this must not be written").exists()


def test_those_of_a_folder_of_a1111_are_one_sentence_on_the_page(paths: Paths):
    for number in range(3):
        (paths.extensions / f"sd-webui-{number}" / "scripts").mkdir(parents=True)
    (paths.extensions / "sd-webui-2" / "__init__.py").touch()
    paths.scripts.mkdir()
    (paths.scripts / "xyz_grid.py").write_text("from modules import shared", encoding="utf-8")
    write_extension(paths, "bad", "def register(webui): 1 / 0")
    registries = app.make_registries(WITHOUT_PAGE, paths)
    assert registries.extension_errors == [
        f"The extension 'bad' is not loaded. ZeroDivisionError: division by zero.{DETAILS}",
        "4 extensions and scripts of A1111's WebUI are not loaded: they do not work here. The Extensions tab lists "
        "them.",
    ]
    assert records(registries)["sd-webui-2"].problems[0].sentence.endswith("do not work here.")


def test_a_record_has_the_last_lines_of_a_traceback_from_the_extension_on(paths: Paths):
    write_extension(paths, "bad", "def inner():\n    return 1 / 0\ndef register(webui): inner()")
    (problem,) = records(app.make_registries(WITHOUT_PAGE, paths))["bad"].problems
    lines = problem.traceback.splitlines()
    assert lines[0].endswith("line 3, in register")
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_one_that_hangs_is_left_out_after_a_while(paths: Paths):
    write_extension(paths, "a-slow", "import time\ndef register(webui): time.sleep(20)")
    write_extension(paths, "b-fine", ADD)
    registries = Registries(serves_page=False)
    loaded = load_extensions(registries, find_extensions(paths), timeout_s=0.2)
    assert loaded.extension_errors == [
        "The extension 'a-slow' is not loaded. It was not ready after 0.2 s."
    ]
    assert loaded.samplers.names() == ["Fine"]


LOAD = """
import sys
from pathlib import Path
from typing import Any
from modules import app
from modules.api.routes import add_routes
from modules.core.flags import Flags
from modules.core.paths import Paths
app.make_registries(Flags(nowebui=True), Paths(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_one_that_ended_the_program_is_disabled_at_the_next_start(paths: Paths):
    write_extension(paths, "a-fine", ADD)
    write_extension(paths, "b-deadly", "import os\ndef register(webui): os._exit(7)")
    command = [sys.executable, "-c", LOAD, str(paths.root), str(paths.data)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 7
    registries = app.make_registries(WITHOUT_PAGE, paths)
    known = records(registries)
    assert (known["a-fine"].state, known["b-deadly"].state) == ("loaded", "disabled")
    assert known["b-deadly"].reason == (
        "The program ended while the extension 'b-deadly' was being loaded, so it is disabled. Enable it in the "
        "Extensions tab to try again."
    )
    assert json.loads(paths.settings_file.read_text())["disabled_extensions"] == ["b-deadly"]
    again = records(app.make_registries(WITHOUT_PAGE, paths))
    assert again["b-deadly"].reason == "Disabled in the Extensions tab."


ROUTES = """
from __future__ import annotations
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel
from modules.core.errors import UserError
from modules.engine.registries import Router
class Body(BaseModel):
    count: int
def build(engine):
    router = APIRouter(prefix="/bad")
    @router.get("/divide")
    def divide(): return 1 / 0
    @router.get("/exit")
    async def leave(): raise SystemExit(3)
    @router.post("/count")
    async def count(body: Body, request: Request) -> int: return body.count + 1
    @router.get("/words")
    def words(): raise UserError("No.", "Not here.")
    @router.get("/teapot")
    def teapot(): raise HTTPException(418, "I am a teapot.")
    return router
def register(webui):
    webui.routers.add(Router("bad", build, is_for_page=True))
"""


def test_a_route_that_fails_or_exits_answers_in_words_and_is_kept_in_the_record(
    start: StartApp, paths: Paths
):
    write_extension(paths, "bad", ROUTES)
    engine, client = start(Flags(nowebui=True))
    answers = [
        client.get(f"/bad/{name}") for name in ("divide", "divide", "exit", "words", "teapot")
    ]
    assert [answer.status_code for answer in answers] == [500, 500, 500, 422, 418]
    assert answers[0].json()["detail"] == (
        "The extension 'bad' cannot answer /bad/divide. ZeroDivisionError: division by zero. "
        "The log has the details."
    )
    assert answers[2].json()["detail"].endswith("It tried to end the program.")
    assert answers[3].json()["detail"] == "No. Not here."
    assert client.post("/bad/count", json={"count": 2}).json() == 3
    assert client.post("/bad/count", json={"count": "two"}).status_code == 422
    problems = engine.registries.extensions[0].problems
    assert [problem.sentence for problem in problems] == [
        answers[0].json()["detail"],
        answers[2].json()["detail"],
    ]
    assert engine.registries.extension_errors == [problem.sentence for problem in problems]
    without_api = FastAPI()
    add_routes(without_api, engine, Flags(no_api=True))
    assert TestClient(without_api).post("/bad/count", json={"count": 2}).json() == 3


def test_a_tab_of_a_script_needs_its_files(paths: Paths):
    code = (
        "from modules.engine.registries import Tab\n"
        "def register(webui): webui.tabs.add(Tab('Mine', script='panel.js'))"
    )
    write_extension(paths, "tab", code)
    (paths.extensions / "tab" / "assets").mkdir()
    paths.scripts.mkdir()
    (paths.scripts / "tab.py").write_text(code.replace("Mine", "Other"), encoding="utf-8")
    registries = app.make_registries(WITH_PAGE, paths)
    assert [tab.script for tab in registries.tabs if tab.script] == ["/extensions/tab/panel.js"]
    assert registries.extension_errors == [
        "The extension 'tab.py' is not loaded. The tab 'Other' has a script, but there is no folder assets/."
    ]


def test_the_example_of_a_script_is_listed_and_run_by_the_api(start: StartApp, paths: Paths):
    paths.scripts.mkdir()
    shutil.copy(ROOT / "docs" / "extensions" / "cfg_ladder.py", paths.scripts)
    _, client = start()
    assert "cfg ladder" in client.get("/sdapi/v1/scripts").json()["img2img"]
    body = {**BODY, "script_name": "CFG ladder", "script_args": [2, 8, 3]}
    info = json.loads(client.post("/sdapi/v1/txt2img", json=body).json()["info"])
    assert [re.findall(r"CFG scale: ([\d.]+)", text)[0] for text in info["infotexts"]] == [
        "2",
        "5",
        "8",
    ]


def test_the_example_of_a_folder_is_written_into_the_infotext_and_read_from_it(
    start: StartApp, paths: Paths
):
    example = ROOT / "docs" / "extensions" / "latent_contrast"
    shutil.copytree(example, paths.extensions / "latent_contrast")
    engine, client = start()
    settings = {"latent_contrast": 0.25, "latent_contrast_from": 0.5, "damping": 0.1}
    body = {**BODY, "sampler_name": "Euler damped", "override_settings": settings}
    (text,) = json.loads(client.post("/sdapi/v1/txt2img", json=body).json()["info"])["infotexts"]
    assert "Latent contrast: 0.25, Latent contrast from: 0.5, Damping: 0.1" in text
    assert read_infotext(engine, text, Txt2ImgRequest).override_settings == settings
    body["sampler_name"], settings["latent_contrast"] = "Euler", 0.0
    (text,) = json.loads(client.post("/sdapi/v1/txt2img", json=body).json()["info"])["infotexts"]
    assert "Latent contrast" not in text
    assert "Damping" not in text


FAILING_FUNCTIONS = """
from modules.images.filename import FilenameToken
from modules.infotext.codecs import Codec
from modules.infotext.foreign.dialects import Dialect
from modules.scripts.protocol import Script
def fail(*arguments):
    raise SystemExit if len(arguments) > 1 else KeyError("volume")
def climb(request, args):
    raise SystemExit
    yield
def register(webui):
    webui.codecs.add(Codec("bad", ("width",), ("Bad",), fail, fail))
    webui.dialects.add(Dialect("Bad", fail), before="A1111")
    webui.filename_tokens.add(FilenameToken("bad", fail))
    webui.scripts.add(Script("Bad", climb, tasks=frozenset(["txt2img"])))
"""
FAILING_CELL = """
from modules.scripts.protocol import Cell, Script, ScriptResult
def fail():
    raise KeyError("weather")
def climb(request, args):
    yield [Cell("sun", lambda: request), Cell("rain", fail)]
    return ScriptResult()
def register(webui):
    webui.scripts.add(Script("Climb", climb, tasks=frozenset(["txt2img"])))
"""


@pytest.mark.usefixtures("loud")
def test_a_cell_that_fails_is_named_and_the_others_are_made(start: StartApp, paths: Paths):
    write_extension(paths, "bad", FAILING_CELL)
    _, client = start()
    answer = client.post("/sdapi/v1/txt2img", json={**BODY, "script_name": "Climb"}).json()
    assert len(answer["images"]) == 1
    sentence = (
        "The extension 'bad' failed in 'Climb'. KeyError: 'weather'. The log has the details."
    )
    assert any(warning.startswith(f"rain: {sentence}") for warning in answer["warnings"])
    form = {"task": "txt2img", "values": BODY, "script_name": "Climb"}
    estimate = client.post("/internal/scripts/estimate", json=form).json()
    assert estimate["count"] == 2


@pytest.mark.usefixtures("loud")
def test_functions_of_rows_that_fail_are_named_and_lose_no_picture(start: StartApp, paths: Paths):
    write_extension(paths, "bad", FAILING_FUNCTIONS)
    engine, client = start()
    engine.change_settings({"samples_filename_pattern": "[seed]-[bad]"})
    (text,) = json.loads(client.post("/sdapi/v1/txt2img", json=BODY).json()["info"])["infotexts"]
    assert read_infotext(engine, text, Txt2ImgRequest).to_request().seed == 1
    failed = client.post("/sdapi/v1/txt2img", json={**BODY, "script_name": "Bad"}).json()
    assert failed["errors"].startswith("The extension 'bad' failed in 'Bad'. It tried to end the")
    sentences = [problem.sentence for problem in records(engine.registries)["bad"].problems]
    assert sorted(sentences) == [
        "The extension 'bad' failed in 'Bad'. It tried to end the program.",
        "The extension 'bad' failed in 'bad'. It tried to end the program.",
        "The extension 'bad' failed in 'bad'. KeyError: 'volume'. The log has the details.",
    ]
