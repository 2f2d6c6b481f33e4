"""Where a picture goes: names and folders from patterns such as "[seed]-[prompt_spaces]", as in A1111.

Whatever stands in a pattern or a prompt, a name stays one name: it holds no separator and no device's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DEFAULT_PATTERN = "[seed]"
_COUNTED = re.compile(r"^(?:grid-(\d{4,})|(\d{5,}))[-.]")
_TOKEN = re.compile(r"\[(\w+)((?:<[^<>]*>)*)\]")
_ARGUMENT = re.compile(r"<([^<>]*)>")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
# Windows takes these for devices, whatever follows the dot.
_DEVICES = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_MOST_LETTERS = 128
_MOST_BYTES = 200  # file systems take 255, and a number, an ending and ".part" have to fit


@dataclass(frozen=True)
class FilenameTokens:
    """What may stand in a picture's name.

    Args:
        folder_prefix: A1111's word for how it was made, such as "txt2img".
        seed: The picture's own.
        values: Texts by token, beside those that are computed here.
        saved_at: When it is saved.
        max_prompt_words: How many words [prompt_words] takes.
    """

    folder_prefix: str
    seed: int
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    saved_at: datetime = field(default_factory=datetime.now)
    max_prompt_words: int = 8

    @property
    def prompt(self) -> str:
        """Return the prompt, or nothing."""
        return self.values.get("prompt", "")


@dataclass(frozen=True)
class Destination:
    """Where a picture goes whose name is given.

    Args:
        folder: Directly below the outputs folder; a plain name.
        stem: The file's name without its ending.
    """

    folder: str
    stem: str


def fill_pattern(pattern: str, tokens: FilenameTokens) -> str:
    """Return a pattern as one name: its tokens replaced, what no file system takes replaced by "_", and not too long.

    A token that is not known stays as it is written, brackets included.
    """
    return _clean(_TOKEN.sub(lambda match: _value(match, tokens), pattern))


def output_folder(outputs: Path, pattern: str, tokens: FilenameTokens) -> Path:
    """Return the folder of a picture, such as `txt2img-images/2026-01-31`; always inside `outputs`.

    Args:
        outputs: Holds one folder per kind of picture.
        pattern: Names folders within that, with slashes between; empty for none.
        tokens: Replaces the tokens.
    """
    parts = [fill_pattern(part, tokens) for part in re.split(r"[/\\]", pattern)]
    return outputs.joinpath(f"{tokens.folder_prefix}-images", *(part for part in parts if part))


def next_file_number(folder: Path) -> int:
    """Return one more than the largest number that a file in the folder begins with; 0 at first."""
    if not folder.is_dir():
        return 0
    names = [entry.name for entry in folder.iterdir()]
    numbers = [int(match[1] or match[2]) for name in names if (match := _COUNTED.match(name))]
    return max(numbers, default=-1) + 1


def _value(match: re.Match[str], naming: FilenameTokens) -> str:
    name = match[1].lower()
    arguments = _ARGUMENT.findall(match[2])
    computed = _COMPUTED.get(name)
    if computed is not None:
        return computed(naming, arguments)
    value = naming.values.get(name)
    return match[0] if value is None else value


def _clean(name: str) -> str:
    name = _FORBIDDEN.sub("_", name).lstrip(" .")[:_MOST_LETTERS]
    name = name.encode("utf-8", "ignore")[:_MOST_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return f"_{name}" if _DEVICES.match(name) else name


def _datetime(naming: FilenameTokens, arguments: list[str]) -> str:
    form = arguments[0] if arguments and arguments[0] else "%Y%m%d%H%M%S"
    moment = naming.saved_at
    if len(arguments) > 1:
        try:
            moment = moment.astimezone(ZoneInfo(arguments[1]))
        except (ZoneInfoNotFoundError, ValueError, OSError):  # no such zone: the machine's own
            moment = moment.astimezone(timezone.utc) if arguments[1] == "UTC" else moment
    try:
        return moment.strftime(form)
    except ValueError:  # what this system's clock does not know
        return moment.strftime("%Y%m%d%H%M%S")


def _hash(text: str, arguments: list[str]) -> str:
    length = int(arguments[0][:3]) if arguments and arguments[0].isdecimal() else 8
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: max(1, length)]


def _hasprompt(naming: FilenameTokens, arguments: list[str]) -> str:
    """Return, for each `<word|otherwise>`, the word when the prompt holds it, else what else is given."""
    prompt = naming.prompt.lower()
    found: list[str] = []
    for argument in arguments:
        word, _, otherwise = argument.partition("|")
        found.append(word if word.lower() in prompt else otherwise)
    return "".join(found)


def _words(naming: FilenameTokens) -> str:
    words = [word for word in re.split(r"[\s,.;:!?()\[\]{}<>\"]+", naming.prompt) if word]
    return " ".join(words[: naming.max_prompt_words])


_COMPUTED: Mapping[str, Callable[[FilenameTokens, list[str]], str]] = {
    "seed": lambda naming, _: str(naming.seed),
    "date": lambda naming, _: naming.saved_at.strftime("%Y-%m-%d"),
    "datetime": _datetime,
    "prompt": lambda naming, _: _FORBIDDEN.sub("_", naming.prompt).replace(" ", "_"),
    "prompt_spaces": lambda naming, _: naming.prompt,
    "prompt_words": lambda naming, _: _words(naming),
    "prompt_hash": lambda naming, arguments: _hash(naming.prompt, arguments),
    "negative_prompt_hash": lambda naming, arguments: _hash(
        naming.values.get("negative_prompt", ""), arguments
    ),
    "full_prompt_hash": lambda naming, arguments: _hash(
        f"{naming.prompt} {naming.values.get('negative_prompt', '')}", arguments
    ),
    "hasprompt": _hasprompt,
    "none": lambda _naming, _arguments: "",
}
