"""Writes the tables of README.md and docs/ from the declarations that they describe: flags, options, fields, routes.

python tools/docs_tables.py            write them
python tools/docs_tables.py --check    fail if one of them is not as it would be written

A table is placed between two comments, the first of which names it: <!-- table: samplers --> and <!-- end -->.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastapi import FastAPI  # noqa: E402 - importable only after the line above
from pydantic import BaseModel  # noqa: E402

from modules import app  # noqa: E402
from modules.api.routes import add_routes  # noqa: E402
from modules.core.a1111_flags import IGNORED_FLAGS, REFUSED_FLAGS  # noqa: E402
from modules.core.command_line import parse_flags  # noqa: E402
from modules.core.flag_types import Flag  # noqa: E402
from modules.core.flags import GROUPS, Flags  # noqa: E402
from modules.core.paths import Paths  # noqa: E402
from modules.engine.downloads.catalogue import read_catalogue  # noqa: E402
from modules.infotext.codecs import CODECS  # noqa: E402
from modules.models.kinds import KINDS  # noqa: E402
from modules.models.upscaling.upscalers import UPSCALERS  # noqa: E402
from modules.params.param import Param, params_of  # noqa: E402
from modules.params.requests.base import GenerationRequest  # noqa: E402
from modules.params.requests.control_unit import ControlUnit  # noqa: E402
from modules.params.requests.depth import DepthRequest  # noqa: E402
from modules.params.requests.extras import ExtrasRequest  # noqa: E402
from modules.params.requests.img2img import (  # noqa: E402
    Img2ImgRequest,
    OutpaintingFields,
    SoftInpaintingFields,
)
from modules.params.requests.init_image import InitImageRequest  # noqa: E402
from modules.params.requests.merge import MergeRequest  # noqa: E402
from modules.params.requests.tasks import TASKS  # noqa: E402
from modules.params.requests.txt2img import Txt2ImgRequest  # noqa: E402
from modules.params.settings import Settings  # noqa: E402
from modules.params.settings.sections import SECTIONS  # noqa: E402
from modules.sampling.samplers import SAMPLERS  # noqa: E402
from modules.sampling.schedules import SCHEDULES  # noqa: E402

_OTHER_UNIT = re.compile(r"ControlNet [1-9]")
_TABLE = re.compile(r"(<!-- table: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# What `engine/image_saver` and `infotext/text_format` write in addition to fields and options.
SAVER_KEYS = {
    "Model": "Name of the checkpoint.",
    "Model hash": "The first ten digits of the SHA-256 of its file.",
    "VAE": "Name of the VAE file, if it is not the checkpoint's own.",
    "VAE hash": "The same ten digits of the VAE file.",
    "App": "The program and its version.",
    "Exact prompt": "The prompt once more, if A1111's text cannot express it.",
}
SCREENSHOTS = ROOT / "docs" / "screenshots"
# The tabs in the order of the page.
TAB_TITLES = (
    "txt2img",
    "img2img",
    "Inpaint",
    "Depth",
    "PNG Info",
    "Extras",
    "Diffusion process",
    "Gallery",
    "Checkpoint merger",
    "Models",
    "Queue",
    "Extensions",
    "Settings",
)
# Parts of a tab that have a picture of their own.
SECTION_TITLES = ("ControlNet",)
_PAGE_PICTURE = "![The page with a generated picture](docs/page.png)"
_A1111_PREFIX, _JOBS_PREFIX = "/sdapi/v1", "/api/v1"


def main() -> int:
    """Write the tables, or check them; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change no file")
    check = parser.parse_args().check
    stale = {file: text for file, text in rendered_documents() if text != read(file)}
    for file, text in stale.items():
        print(f"{file.relative_to(ROOT)} {'is stale' if check else 'is written'}")
        if not check:
            file.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


def documents() -> list[Path]:
    """Return the documents for users: README.md and those of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(file: Path) -> str:
    """Return the text of a document."""
    return file.read_text(encoding="utf-8")


def rendered_documents() -> Iterable[tuple[Path, str]]:
    """Yield each document with its text as it should be."""
    for file in documents():
        yield file, render(read(file))


def render(text: str) -> str:
    """Return a document with each of its tables as it is today.

    Raises:
        ValueError: there is no table of that name, or a table has no end.
    """
    if text.count("<!-- table:") != len(_TABLE.findall(text)):
        raise ValueError("A table has no end, or an odd name.")

    def replace(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ValueError(f"There is no table '{match[2]}'. Tables: {', '.join(TABLES)}.")
        return f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[4]}"

    return _TABLE.sub(replace, text)


def table_names(text: str) -> list[str]:
    """Return the names of the tables of a document."""
    return [match[2] for match in _TABLE.finditer(text)]


def flags() -> str:
    """Return the flags by group."""
    return _by_group(
        ("flag", "what it does"),
        GROUPS,
        [
            (declared.metadata["flag"].group, (_flag(declared), _sentence(_flag_help(declared))))
            for declared in fields(Flags)
            if "flag" in declared.metadata
        ],
    )


def flags_without_effect() -> str:
    """Return A1111's flags that are accepted without effect, and those that are refused."""
    accepted = [(_codes(row.names.split()), _text(row.reason)) for row in IGNORED_FLAGS]
    refused = [(_codes([name]), _text(reason)) for name, reason in REFUSED_FLAGS.items()]
    return _table(("flag of A1111", "here"), [*accepted, *refused])


def settings() -> str:
    """Return the options by section of the Settings tab."""
    params = params_of(Settings)
    rows = [(row.section, _param_row(Settings, name, row)) for name, row in params.items()]
    titles = {row.name: row.title for row in SECTIONS}
    return _by_group(
        ("option", "name", "default", "values", "what it does"),
        titles.values(),
        [(titles[section], row) for section, row in rows],
    )


def request_fields(model: type[BaseModel], *without: type[BaseModel]) -> str:
    """Return the fields of a request, but for those that other classes declare."""
    known = {name for base in without for name in base.model_fields}
    return _table(
        ("field", "name", "default", "values", "what it is"),
        [
            _param_row(model, name, row)
            for name, row in params_of(model).items()
            if name not in known
        ],
    )


def routes(prefix: str) -> str:
    """Return the routes below a path, with what they do."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            "--nowebui",
            "--api-server-stop",
            "--disable-all-extensions",
            "--data-dir",
            folder,
        ]
        parsed = parse_flags(arguments)
        engine = app.make_engine(parsed, app.make_paths(parsed))
        server = FastAPI()
        add_routes(server, engine, parsed)
        engine.stop()
        paths: dict[str, dict[str, dict[str, Any]]] = server.openapi()["paths"]
    return _table(
        ("route", "what it does"),
        [
            (_codes([f"{method.upper()} {path}"]), _text(_first_line(row)))
            for path, methods in paths.items()
            for method, row in methods.items()
            if path.startswith(f"{prefix}/")
        ],
    )


def infotext_keys() -> str:
    """Return the keys of the pairs that an infotext may have."""
    rows = {key: ("", _text(meaning)) for key, meaning in SAVER_KEYS.items()}
    for model in dict.fromkeys(task.request for task in TASKS):
        for name, row in params_of(model).items():
            if row.infotext:
                rows.setdefault(row.infotext, (_codes([name]), _text(row.help)))
    for codec in CODECS:
        names = _codes(codec.fields) if len(codec.fields) < 3 else ""
        for key in codec.keys:
            if _OTHER_UNIT.fullmatch(key):  # as the first one
                continue
            rows.setdefault(key, (names, f"Part of {_text(codec.name)}."))
    options = {row.infotext: (name, row) for name, row in params_of(Settings).items()}
    for key, (name, row) in options.items():
        if key:
            rows.setdefault(key, (f"{_codes([name])} (option)", _text(row.help)))
    return _table(
        ("key", "field or option", "meaning"), [(_text(key), *row) for key, row in rows.items()]
    )


def samplers() -> str:
    """Return the samplers in the order of the page."""
    return _table(
        ("sampler", "schedule with Automatic", "evaluations per step", "options", "algorithm"),
        [
            (
                _text(row.name),
                _text(row.default_schedule),
                "varies" if row.is_adaptive else str(row.evaluations_per_step),
                _codes(row.options),
                _text(_first_sentence(row.run.__doc__)),
            )
            for row in SAMPLERS
        ],
    )


def schedules() -> str:
    """Return the schedule types in the order of the page."""
    return _table(
        ("schedule type", "in the API", "options", "noise levels"),
        [
            (
                _text(row.name),
                _codes([row.api_name]),
                _codes(row.options),
                _text(
                    _first_sentence(row.sigmas.__doc__)
                    if row.sigmas
                    else "The sampler's own choice."
                ),
            )
            for row in SCHEDULES
        ],
    )


def upscalers() -> str:
    """Return the upscalers of hires fix."""
    return _table(
        ("upscaler", "enlarges"),
        [
            (_text(row.name), "latents" if row.is_latent else "the decoded picture")
            for row in UPSCALERS
        ],
    )


def catalogue() -> str:
    """Return the files that the Models tab offers."""
    return _table(
        ("model", "file", "size", "its `.yaml`", "licence"),
        [
            (
                f"[{_text(row.name)}]({row.page})",
                _codes([row.file]),
                f"{row.size_bytes / 1e9:.1f} GB" if row.size_bytes else "",
                _codes([row.config]) if row.config else "",
                _text(row.licence),
            )
            for row in read_catalogue()
        ],
    )


def model_folders() -> str:
    """Return the folders in the data folder for each kind of model file."""
    data = ROOT / "data"
    rows = [(row.name, row.folders(Paths(data, data))) for row in KINDS]
    return _table(
        ("kind of file", "folder"),
        [
            (_text(name), _codes(f"{folder.relative_to(data).as_posix()}/" for folder in folders))
            for name, folders in rows
            if folders
        ],
    )


def screenshots() -> str:
    """Return the pictures of tabs and sections, two a row; the picture of the page where `screenshots.py` has made none."""
    titles = *TAB_TITLES, *SECTION_TITLES
    shown = [title for title in titles if (SCREENSHOTS / screenshot_file(title)).exists()]
    if not shown:
        return _PAGE_PICTURE
    cells = [
        f"**{title}** ![{title}](docs/screenshots/{screenshot_file(title)})" for title in shown
    ]
    pairs = [(cells[i], *cells[i + 1 : i + 2]) for i in range(0, len(cells), 2)]
    return _table(("", ""), [(pair[0], pair[1] if len(pair) > 1 else "") for pair in pairs])


def screenshot_file(title: str) -> str:
    """Return the name of the picture of a tab or a section."""
    return f"{title.lower().replace(' ', '_')}.png"


TABLES: Mapping[str, Callable[[], str]] = {
    "flags": flags,
    "flags without effect": flags_without_effect,
    "settings": settings,
    "fields": lambda: request_fields(GenerationRequest),
    "fields of txt2img": lambda: request_fields(Txt2ImgRequest, GenerationRequest),
    "fields of img2img": lambda: request_fields(
        Img2ImgRequest, GenerationRequest, OutpaintingFields, SoftInpaintingFields
    ),
    "fields of outpainting": lambda: request_fields(OutpaintingFields),
    "fields of soft inpainting": lambda: request_fields(SoftInpaintingFields),
    "fields of depth": lambda: request_fields(DepthRequest, InitImageRequest),
    "fields of control units": lambda: request_fields(ControlUnit),
    "fields of extras": lambda: request_fields(ExtrasRequest),
    "fields of merge": lambda: request_fields(MergeRequest),
    "routes of A1111": lambda: routes(_A1111_PREFIX),
    "routes of ControlNet": lambda: routes("/controlnet"),
    "routes of jobs": lambda: routes(_JOBS_PREFIX),
    "infotext keys": infotext_keys,
    "samplers": samplers,
    "schedules": schedules,
    "upscalers": upscalers,
    "catalogue": catalogue,
    "model folders": model_folders,
    "screenshots": screenshots,
}


def _by_group(
    head: Sequence[str], groups: Iterable[str], rows: Sequence[tuple[str, Sequence[str]]]
) -> str:
    """Return a heading and a table for each group that has rows."""
    grouped = {name: [row for group, row in rows if group == name] for name in groups}
    return "\n\n".join(
        f"### {name}\n\n{_table(head, found)}" for name, found in grouped.items() if found
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    joined = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join(re.sub(r"\|  (?=\|)", "| ", line) for line in joined)


def _param_row(model: type[BaseModel], name: str, row: Param) -> tuple[str, ...]:
    field = model.model_fields[name]
    default = "" if field.default is None else _value(field.default)
    return (
        _text(row.label),
        _codes([name]),
        default,
        _values(field.annotation, row),
        _text(row.help),
    )


def _values(annotation: Any, row: Param) -> str:  # Any: an annotation
    if get_origin(annotation) is Literal:
        return ", ".join(_value(value) for value in get_args(annotation))
    if row.labels:
        first = "false" if annotation is bool else "0"
        return _text(", ".join(row.labels)) + f" ({first}, …)"
    if annotation is bool:
        return "on, off"
    if row.ge is not None and row.le is not None:
        return f"{_number(row.ge)} to {_number(row.le)}"
    return f"the {row.choices}" if row.choices else ""


def _value(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return _number(value)
    return _codes([str(value)]) if value else "empty"


def _number(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _flag(declared: Field[Any]) -> str:
    row: Flag = declared.metadata["flag"]
    name = "--" + declared.name.replace("_", "-")
    placeholder = row.metavar or ("" if declared.default is False else declared.name.upper())
    if row.choices:
        placeholder = "|".join(row.choices)
    return _codes([f"{name} {placeholder}".strip()])


def _flag_help(declared: Field[Any]) -> str:
    row: Flag = declared.metadata["flag"]
    return row.help


def _first_line(route: Mapping[str, Any]) -> str:
    text = route.get("description") or f"{route['summary'].capitalize()}."
    return " ".join(text.split("\n\n")[0].split())


def _first_sentence(docstring: str | None) -> str:
    text = " ".join((docstring or "").split("\n\n")[0].split()).removeprefix("Return ")
    return text[:1].upper() + text[1:]


def _sentence(text: str) -> str:
    return _text(text[:1].upper() + text[1:].removesuffix(".") + ".")


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
