"""Filenames and folders of saved images, from patterns such as "[seed]-[prompt_spaces]", as in A1111.

Whatever a pattern or a prompt contains, the result is a single path component: no separator, no device name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from modules.core.registry import Registry

DEFAULT_PATTERN = "[seed]"
_DATETIME_FORMAT = "%Y%m%d%H%M%S"
_NUMBERED = re.compile(r"^(?:grid-(\d{4,})|(\d{5,}))[-.]")
_TOKEN = re.compile(r"\[(\w+)((?:<[^<>]*>)*)\]")
_ARGUMENT = re.compile(r"<([^<>]*)>")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
# Windows treats these as devices, whatever follows the dot.
_DEVICE_NAME = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_MAX_CHARACTERS = 128
_MAX_BYTES = 200  # file systems allow 255, and a number, an extension and ".part" have to fit


@dataclass(frozen=True)
class FilenameTokens:
    """Values for the tokens of a filename pattern.

    Args:
        folder_prefix: The task in A1111's spelling, such as "txt2img".
        seed: The seed of this image.
        values: Texts by token.
        saved_at: Time of saving.
        max_prompt_words: Word limit of [prompt_words].
        computed: All tokens that are computed from the others.
    """

    folder_prefix: str
    seed: int
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    saved_at: datetime = field(default_factory=datetime.now)
    max_prompt_words: int = 8
    computed: Registry[FilenameToken] = field(default_factory=lambda: FILENAME_TOKENS)

    @property
    def prompt(self) -> str:
        """Return the prompt, "" without one."""
        return self.values.get("prompt", "")


@dataclass(frozen=True)
class Destination:
    """An explicit folder and name, used instead of the filename patterns.

    Args:
        folder: A plain name, directly below the outputs folder.
        stem: The filename without its extension.
    """

    folder: str
    stem: str


def fill_pattern(pattern: str, tokens: FilenameTokens) -> str:
    """Return one valid filename: tokens replaced, characters that file systems reject replaced by "_", truncated.

    An unknown token is left unchanged, brackets included.
    """
    return _sanitize(_TOKEN.sub(lambda match: _replacement(match, tokens), pattern))


def output_folder(outputs: Path, pattern: str, tokens: FilenameTokens) -> Path:
    """Return the folder of an image, such as `txt2img-images/2026-01-31`; always inside `outputs`.

    Args:
        outputs: Holds one folder per task.
        pattern: Subfolders of that folder, separated by slashes; empty for none.
        tokens: Values for the pattern's tokens.
    """
    parts = [fill_pattern(part, tokens) for part in re.split(r"[/\\]", pattern)]
    return outputs.joinpath(f"{tokens.folder_prefix}-images", *(part for part in parts if part))


def next_file_number(folder: Path) -> int:
    """Return one more than the largest number that a filename in the folder begins with; 0 without any."""
    if not folder.is_dir():
        return 0
    names = [entry.name for entry in folder.iterdir()]
    numbers = [int(match[1] or match[2]) for name in names if (match := _NUMBERED.match(name))]
    return max(numbers, default=-1) + 1


def _replacement(match: re.Match[str], tokens: FilenameTokens) -> str:
    name = match[1].lower()
    arguments = _ARGUMENT.findall(match[2])
    if name in tokens.computed.names():
        return tokens.computed.get(name).compute(tokens, arguments)
    value = tokens.values.get(name)
    return match[0] if value is None else value


def _sanitize(name: str) -> str:
    name = _FORBIDDEN.sub("_", name).lstrip(" .")[:_MAX_CHARACTERS]
    name = name.encode("utf-8", "ignore")[:_MAX_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return f"_{name}" if _DEVICE_NAME.match(name) else name


def _datetime(tokens: FilenameTokens, arguments: list[str]) -> str:
    time_format = arguments[0] if arguments and arguments[0] else _DATETIME_FORMAT
    saved_at = tokens.saved_at
    if len(arguments) > 1:
        try:
            saved_at = saved_at.astimezone(ZoneInfo(arguments[1]))
        except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown zone: local time
            saved_at = saved_at.astimezone(timezone.utc) if arguments[1] == "UTC" else saved_at
    try:
        return saved_at.strftime(time_format)
    except ValueError:  # a directive that this platform does not support
        return saved_at.strftime(_DATETIME_FORMAT)


def _hash(text: str, arguments: list[str]) -> str:
    length = int(arguments[0][:3]) if arguments and arguments[0].isdecimal() else 8
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: max(1, length)]


def _hasprompt(tokens: FilenameTokens, arguments: list[str]) -> str:
    """Return, for each `<word|default>`, the word if the prompt contains it, else the default."""
    prompt = tokens.prompt.lower()
    parts: list[str] = []
    for argument in arguments:
        word, _, default = argument.partition("|")
        parts.append(word if word.lower() in prompt else default)
    return "".join(parts)


def _prompt_words(tokens: FilenameTokens) -> str:
    words = [word for word in re.split(r"[\s,.;:!?()\[\]{}<>\"]+", tokens.prompt) if word]
    return " ".join(words[: tokens.max_prompt_words])


@dataclass(frozen=True)
class FilenameToken:
    """One row of FILENAME_TOKENS.

    Args:
        name: The token without its brackets, in lower case.
        compute: Returns its text from the other values and the token's `<arguments>`.
    """

    name: str
    compute: Callable[[FilenameTokens, list[str]], str]


FILENAME_TOKENS: Registry[FilenameToken] = Registry(
    "filename token",
    [
        FilenameToken("seed", lambda tokens, _: str(tokens.seed)),
        FilenameToken("date", lambda tokens, _: tokens.saved_at.strftime("%Y-%m-%d")),
        FilenameToken("datetime", _datetime),
        FilenameToken(
            "prompt", lambda tokens, _: _FORBIDDEN.sub("_", tokens.prompt).replace(" ", "_")
        ),
        FilenameToken("prompt_spaces", lambda tokens, _: tokens.prompt),
        FilenameToken("prompt_words", lambda tokens, _: _prompt_words(tokens)),
        FilenameToken("prompt_hash", lambda tokens, arguments: _hash(tokens.prompt, arguments)),
        FilenameToken(
            "negative_prompt_hash",
            lambda tokens, arguments: _hash(tokens.values.get("negative_prompt", ""), arguments),
        ),
        FilenameToken(
            "full_prompt_hash",
            lambda tokens, arguments: _hash(
                f"{tokens.prompt} {tokens.values.get('negative_prompt', '')}", arguments
            ),
        ),
        FilenameToken("hasprompt", _hasprompt),
        FilenameToken("none", lambda _tokens, _arguments: ""),
    ],
)
