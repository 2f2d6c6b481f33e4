"""What README.md and docs/ say is there: tables, links, files, commands, flags, routes, tokens."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from modules.core.a1111_flags import IGNORED_FLAGS, REFUSED_FLAGS
from modules.core.flags import Flags
from modules.engine.registries import Registries
from modules.images.filename import FILENAME_TOKENS
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from modules.scripts.prompts_from_file import OPTIONS
from tools.docs_tables import TAB_TITLES, TABLES, documents, read, render, routes, table_names

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {str(file.relative_to(ROOT)): read(file) for file in documents()}
README = TEXTS["README.md"]
# They tell of the flags of tools, too.
OF_TOOLS = ("docs/developing.md", "docs/performance.md")
# Of the commands `ray` and `git` in docs/cluster.md.
OF_RAY = {
    *("address", "autoscaling-config", "dashboard-agent-grpc-port", "dashboard-agent-listen-port"),
    *("disable-usage-stats", "generate", "head", "include-dashboard", "max-worker-port"),
    *("metrics-export-port", "min-worker-port", "node-ip-address", "node-manager-port"),
    *("num-cpus", "num-gpus", "object-manager-port", "runtime-env-agent-port", "branch"),
}
NAMED_FILE = re.compile(
    r"`((?:tools|tests|modules|configs|docs|\.ci)/[\w./-]*|requirements[\w-]*\.\w+|v[12][\w-]*\.yaml)`"
)


def commands(text: str) -> list[str]:
    """Return the lines of the commands in a document."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as they are made on the page of a repository."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", list(TEXTS))
def test_every_table_is_as_its_declarations_are(name: str):
    assert render(TEXTS[name]) == TEXTS[name], "run: venv/bin/python tools/docs_tables.py"


def test_every_table_is_in_one_document():
    used = [table for text in TEXTS.values() for table in table_names(text)]
    assert sorted(used) == sorted(TABLES)


@pytest.mark.parametrize("name", [*TEXTS, "CONTRIBUTING.md", "modules/README.md"])
def test_every_link_leads_somewhere(name: str):
    file = ROOT / name
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", read(file)):
        other = file.parent / target if target else file
        assert other.exists(), target
        assert not anchor or anchor in anchors(read(other)), anchor


@pytest.mark.parametrize("name", list(TEXTS))
def test_every_file_that_is_named_exists(name: str):
    folders = (ROOT, ROOT / "configs")
    named = set(NAMED_FILE.findall(TEXTS[name])) - {"docs/screenshots/"}
    assert [path for path in named if not any((folder / path).exists() for folder in folders)] == []


def test_every_guide_is_in_the_readme():
    linked = re.findall(r"\]\((docs/\w+\.md)\)", README)
    assert set(TEXTS) - {"README.md"} - set(linked) == set()


@pytest.mark.parametrize("name", list(TEXTS))
def test_every_command_exists(name: str):
    lines = commands(TEXTS[name])
    scripts = {word for line in lines for word in re.findall(r"(?:^|\s)\./([\w.-]+)", line)}
    tools = {word for line in lines for word in re.findall(r"\b(?:tools|tests)/[\w/.]+", line)}
    templates = {word for line in lines for word in re.findall(r"cp (\S+\.template)", line)}
    assert scripts <= {"webui.sh"}
    assert [path for path in scripts | tools | templates if not (ROOT / path).exists()] == []


def test_the_readme_starts_it_and_runs_the_tests():
    assert commands(README) == ["./webui.sh", "./webui.sh --run-tests"]


def test_continuous_integration_runs_the_test_command_of_the_readme():
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last == f"exec {commands(README)[1]} </dev/null"


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in OF_TOOLS])
def test_every_flag_that_is_named_exists(name: str):
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", TEXTS[name]))
    own = {one.name.replace("_", "-") for one in fields(Flags) if "flag" in one.metadata}
    a1111 = {flag.lstrip("-") for row in IGNORED_FLAGS for flag in row.names.split()}
    of_lines = {option.partition("_")[0] for option in OPTIONS}  # of a script's list of prompts
    refused = {flag.lstrip("-") for flag in REFUSED_FLAGS}
    of_others = OF_RAY if name == "docs/cluster.md" else set[str]()
    assert named - own - a1111 - refused - of_lines - of_others - {"help"} == set()


def test_every_address_of_a_command_is_a_route():
    listed = f"{routes('/sdapi/v1')}{routes('/api/v1')}"
    lines = [line for line in commands(TEXTS["docs/api.md"]) if line.startswith("curl")]
    assert len(lines) == 2
    for line in lines:
        path = re.findall(r"127\.0\.0\.1:7860(\S+)", line)[0]
        assert f"`POST {path}`" in listed
        body = json.loads(re.findall(r"-d '(.*)'", line)[0])
        assert body.pop("task", "txt2img") == "txt2img"
        assert validate(Txt2ImgRequest, body).width == 256


def test_the_documents_name_every_sampler_schedule_and_filename_token():
    text = TEXTS["docs/txt2img.md"]
    assert [
        name for name in (*SAMPLERS.names(), *SCHEDULES.names()) if f"| {name} |" not in text
    ] == []
    tokens = set(re.findall(r"`\[(\w+)", TEXTS["docs/settings.md"]))
    assert set(FILENAME_TOKENS.names()) <= tokens


def test_the_tabs_of_the_screenshots_are_those_of_the_page(registries: Registries):
    assert [tab.name for tab in registries.tabs] == list(TAB_TITLES)
