"""Prompts from file or textbox: a job for each line, which is a prompt or A1111's `--option value` pairs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.plan.planner import draw_seed
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun

_MAX_NAME_LENGTH = 40  # of a line in progress and notes
_MAX_NOTES = 20


def _read_bool(text: str) -> bool:
    return text == "true"


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


# Options that set a field of the request, and how A1111 reads their values.
_FIELDS: Mapping[str, Callable[[str], Any]] = {
    "prompt": str,
    "negative_prompt": str,
    "sampler_name": str,
    "seed": int,
    "subseed": int,
    "subseed_strength": float,
    "seed_resize_from_h": int,
    "seed_resize_from_w": int,
    "batch_size": int,
    "n_iter": int,
    "steps": int,
    "cfg_scale": float,
    "width": int,
    "height": int,
}
# Options that are read and change nothing: A1111 shows the first one only while it works, has replaced the second, and
# the folders are those of the settings.
_IGNORED: Mapping[str, Callable[[str], Any]] = {
    "prompt_for_display": str,
    "sampler_index": int,
    "outpath_samples": str,
    "outpath_grids": str,
    "do_not_save_grid": _read_bool,  # there is none
    "restore_faces": _read_bool,
}
# Further options, which set several fields or options.
_OTHERS: Mapping[str, Callable[[str], Any]] = {
    "sd_model": str,
    "styles": _read_names,
    "tiling": _read_bool,
    "do_not_save_samples": _read_bool,
}
OPTIONS: Mapping[str, Callable[[str], Any]] = {**_FIELDS, **_IGNORED, **_OTHERS}


class PromptsFromFileArgs(BaseModel, frozen=True, extra="forbid"):
    """The lines, and how they go together with the prompts of the form."""

    iterate_seed: bool = param(
        False,
        "Iterate seed every line",
        help="On: the seed counts up from line to line; off: each line has that of the form.",
    )
    same_seed: bool = param(
        False,
        "Use same random seed for all lines",
        help="On: with the seed -1 one is drawn for all lines; off: one for each.",
    )
    prompt_position: Literal["start", "end"] = param(
        "start",
        "Insert prompts at the",
        help="Whether the prompt of a line comes before that of the form or after it.",
    )
    prompt_txt: str = param(
        "",
        "List of prompt inputs",
        help='A prompt on each line, or options such as: --prompt "a cat" --steps 30 --width 768.',
        lines=4,
        from_file=True,
    )


@dataclass(frozen=True)
class _Line:
    """One line that was read.

    Args:
        text: What was read.
        options: Values by name.
        note: Why it is a prompt though it looks like options, or ""
    """

    text: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    note: str = ""


def prepare_prompts_from_file(
    request: GenerationRequest, args: PromptsFromFileArgs
) -> tuple[GenerationRequest, PromptsFromFileArgs]:
    """Return the request with one seed for all lines, where the arguments ask for that, and the arguments.

    Raises:
        UserError: there is no line.
    """
    if not _count_lines(args):
        raise UserError(
            "There are no prompts: the list of prompt inputs is empty.", "Write one on each line."
        )
    if request.seed == -1 and (args.iterate_seed or args.same_seed):
        request = request.replace(seed=draw_seed())
    return request, args


def _split(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line]


def _count_lines(args: PromptsFromFileArgs) -> int:
    return len(_split(args.prompt_txt))


def run_prompts_from_file(request: GenerationRequest, args: PromptsFromFileArgs) -> ScriptRun:
    """Yield a cell for each line that is not empty.

    Args:
        request: What a line does not say is taken from it.
        args: The lines.
    """
    lines = [_read_line(line) for line in _split(args.prompt_txt)]
    per_line = request.batch_size * request.n_iter
    seeds = [
        shift_seed(request.seed, number * per_line * args.iterate_seed)
        for number in range(len(lines))
    ]
    yield [
        _make_cell(request.replace(seed=seed), line, number, args.prompt_position)
        for number, (line, seed) in enumerate(zip(lines, seeds, strict=True), 1)
    ]
    return ScriptResult(_make_notes(lines))


def _read_line(text: str) -> _Line:
    """Return a line with its options; one that cannot be read is a prompt as a whole, as in A1111."""
    if "--" not in text:
        return _Line(text, {"prompt": text})
    try:
        return _Line(text, _read_options(shlex.split(text)))
    except ValueError as error:
        return _Line(text, {"prompt": text}, str(error))


def _read_options(words: list[str]) -> dict[str, Any]:
    """Return the values of options by name.

    Raises:
        ValueError: an option is unknown, or has no value or a wrong one.
    """
    options: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--"):
            raise ValueError(f"'{word}' is no option; options start with --")
        name, position = word[2:], position + 1
        if position == len(words):
            raise ValueError(f"'{word}' has no value")
        end = position + 1
        if name in ("prompt", "negative_prompt"):  # all words up to the next option
            while end < len(words) and not words[end].startswith("--"):
                end += 1
        options[name] = _read_value(name, " ".join(words[position:end]))
        position = end
    return options


def _read_value(name: str, text: str) -> Any:
    """Return the value of an option.

    Raises:
        ValueError: the option is unknown, or the text is no value of it.
    """
    if name not in OPTIONS:
        raise ValueError(f"there is no option --{name}")
    try:
        return OPTIONS[name](text)
    except ValueError:
        raise ValueError(f"--{name} is {text!r}; a number is needed") from None


def _make_cell(
    request: GenerationRequest, line: _Line, number: int, position: Literal["start", "end"]
) -> Cell:
    name = line.text if len(line.text) <= _MAX_NAME_LENGTH else f"{line.text[:_MAX_NAME_LENGTH]}…"
    return Cell(f"{number}: {name}", lambda: _make_request(request, line.options, position))


def _make_request(
    request: GenerationRequest, options: Mapping[str, Any], position: Literal["start", "end"]
) -> GenerationRequest:
    changes: dict[str, Any] = {name: options[name] for name in _FIELDS if name in options}
    for name in ("prompt", "negative_prompt"):
        both = [options.get(name, ""), getattr(request, name)]
        changes[name] = " ".join(filter(None, both if position == "start" else reversed(both)))
    if "styles" in options:
        changes["styles"] = options["styles"]
    if "sd_model" in options:
        changes["sd_model_checkpoint"] = options["sd_model"]
    # The images of all lines are shown together, and as in A1111 there is no grid of those of one line.
    overrides: dict[str, Any] = {"grid_save": False, "return_grid": False}
    if "tiling" in options:
        overrides["tiling"] = options["tiling"]
    if options.get("do_not_save_samples"):
        overrides["samples_save"] = False
    return request.replace(**changes, override_settings={**request.override_settings, **overrides})


def _make_notes(lines: list[_Line]) -> tuple[str, ...]:
    notes = [
        f"Line {number} was used as a prompt: {line.note}."
        for number, line in enumerate(lines, 1)
        if line.note
    ]
    unused = {name for line in lines for name in line.options if name in _IGNORED}
    notes += [f"The option --{name} has no effect here." for name in sorted(unused)]
    more = len(notes) - _MAX_NOTES
    return (*notes[:_MAX_NOTES], *([f"{more} more notes are left out."] if more > 0 else []))


PROMPTS_FROM_FILE = Script(
    "Prompts from file or textbox",
    run_prompts_from_file,
    PromptsFromFileArgs,
    noun="line",
    waits_for_slots=True,
    cell_count=_count_lines,
    prepare=prepare_prompts_from_file,
    tasks=frozenset(("txt2img", "img2img", "inpaint", "depth2img")),
    shows_control_maps=True,
)
