"""Reads a .yaml file as typed values; errors name the file and the key."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.errors import NotFound, Unsupported, UserError
from modules.models.files.safe_pickle import DAMAGE

MAX_FILE_BYTES = 200_000
MAX_DEPTH = 30
MAX_ALIASES = 50
MAX_NODES = 2_000  # each alias counted as its expansion; the longest known config has 200
MAX_SCALAR_CHARS = 1_000
MAX_INTEGER = 10**9
MAX_ERROR_CHARS = 200
MAX_VALUE_CHARS = 60  # of a value in an error message


@dataclass(frozen=True)
class YamlSection:
    """One mapping of a .yaml file.

    Args:
        values: Plain dicts, lists, numbers and strings.
        file: The file it was read from.
        key_path: Dotted path of this mapping, empty at the top level.
    """

    values: Mapping[str, Any]  # YAML: anything, checked when read
    file: Path
    key_path: str = ""

    def section(self, name: str) -> YamlSection:
        """Return the mapping under a key, an empty one when it is absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.invalid_value(name, "a mapping")
        return YamlSection(cast("dict[str, Any]", value or {}), self.file, self._full_key(name))

    def at(self, path: str) -> YamlSection:
        """Return the mapping at a dotted path, where a number selects an item of a list; an empty one if absent."""
        section = self
        for name in path.split("."):
            items = section.values.get(name)
            if isinstance(items, list):
                numbered = {
                    str(number): item for number, item in enumerate(cast("list[Any]", items))
                }
                section = YamlSection(numbered, self.file, section._full_key(name))
            else:
                section = section.section(name)
        return section

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.invalid_value(name, "a whole number")
        if abs(value) > MAX_INTEGER:
            raise self.invalid_value(name, f"at most {MAX_INTEGER}")
        return value

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a list of whole numbers; a single number counts as a list of one."""
        value = self._value(name, default)
        values = cast("list[Any]", list(value) if isinstance(value, (list, tuple)) else [value])  # pyright: ignore[reportUnknownArgumentType]
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in values):
            raise self.invalid_value(name, "a list of whole numbers")
        if any(abs(item) > MAX_INTEGER for item in values):
            raise self.invalid_value(name, f"a list of numbers of at most {MAX_INTEGER}")
        return tuple(values)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.invalid_value(name, "a number")
        if not abs(value) <= sys.float_info.max:  # infinity, NaN, or an integer without a float
            raise self.invalid_value(name, "a finite number")
        return float(value)

    def string(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.invalid_value(name, "a string")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.invalid_value(name, "true or false")
        return value

    def norm_group_count(self, width_key: str, width: int, mult: tuple[int, ...]) -> int:
        """Return norm_num_groups, 32 by default, which must divide the channels of every level.

        Args:
            width_key: Key of the channels of the first level.
            width: Its value.
            mult: Channels of each level, as multiples of width.
        """
        count = self.integer("norm_num_groups", 32)
        if (
            not mult
            or min(width, count, *mult) < 1
            or any(width * factor % count for factor in mult)
        ):
            key = "norm_num_groups" if "norm_num_groups" in self.values else width_key
            raise self.invalid_value(
                key, f"such that {count} groups divide the channels of every level"
            )
        return count

    def require_supported(self, supported: Mapping[str, tuple[object, ...]]) -> None:
        """Check keys of which only some values are supported; a key may be absent.

        Raises:
            Unsupported: a key has another value.
        """
        for key, accepted in supported.items():
            value = self.values.get(key)
            if value is not None and value not in accepted:
                actual = repr(value)[:MAX_VALUE_CHARS]
                text = (
                    f"'{self.file}' sets {self._full_key(key)} to {actual}, which is not supported."
                )
                raise Unsupported(text)

    def invalid_value(self, name: str, expected: str) -> UserError:
        """Return the error for an invalid value."""
        actual = repr(self.values.get(name))
        return UserError(
            f"In '{self.file}', {self._full_key(name)} should be {expected}, not {actual[:MAX_VALUE_CHARS]}."
        )

    def _value(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise UserError(f"'{self.file}' lacks {self._full_key(name)}.")
        return value

    def _full_key(self, name: str) -> str:
        return f"{self.key_path}.{name}" if self.key_path else name


def read_yaml(file: Path) -> YamlSection:
    """Return the top-level mapping of a .yaml file.

    Raises:
        NotFound: there is no such file.
        UserError: it is not YAML, not a mapping, or would exhaust the memory.
    """
    import yaml  # imported here, because listing checkpoints must not wait for it
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    text = read_config_text(file)
    try:
        _check_bounds(file, cast("Iterable[object]", yaml.parse(text, Loader=yaml.SafeLoader)))  # pyright: ignore[reportUnknownMemberType]
        config = OmegaConf.create(text)
        values = OmegaConf.to_container(config)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _syntax_error(file, line, str(error.problem)) from error
    except (yaml.YAMLError, OmegaConfBaseException, *DAMAGE) as error:
        raise _syntax_error(file, 0, next(iter(str(error).splitlines()), repr(error))) from error
    return YamlSection(cast("dict[str, Any]", _with_text_keys(values)), file)


class YamlCache:
    """Caches .yaml files until they change: parsing one takes longer than the smallest sampling step."""

    def __init__(self) -> None:
        self._entries: dict[Path, tuple[int, int, YamlSection]] = {}

    def read(self, file: Path) -> YamlSection:
        """Return the top-level mapping of a .yaml file; raises as `read_yaml` does."""
        try:
            status = file.stat()
        except OSError:
            return read_yaml(file)  # raises the error that says why
        size, modified, section = self._entries.get(file, (-1, 0, None))
        if section is None or (size, modified) != (status.st_size, status.st_mtime_ns):
            section = read_yaml(file)
            self._entries[file] = status.st_size, status.st_mtime_ns, section
        return section


def _with_text_keys(value: object) -> object:
    """Return plain values in which every key is a string, as the readers expect."""
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {str(key): _with_text_keys(item) for key, item in items}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in cast("list[object]", value)]
    return value


def _syntax_error(file: Path, line: int, problem: str) -> UserError:
    place = f" in line {line}" if line else ""
    return UserError(f"'{file}' is broken{place}: {problem[:MAX_ERROR_CHARS]}.")


def _check_bounds(file: Path, events: Iterable[object]) -> None:
    """Raise at the first sign that the file would exhaust the memory, take minutes, or look outside of itself."""
    bounds = _Bounds(file)
    for event in events:
        bounds.add(event)
    if not bounds.is_mapping:
        raise UserError(f"'{file}' does not describe a model.")


class _Bounds:
    """Counts the expanded nodes of a .yaml while it is parsed, before anything is made of it."""

    def __init__(self, file: Path) -> None:
        self.is_mapping = True  # at the top level, where an empty file counts as one
        self._file = file
        self._node_count = self._alias_count = 0
        self._sizes: dict[str, int] = {}  # nodes of each anchor
        self._open: list[tuple[str | None, int]] = []

    def add(self, event: object) -> None:
        """Count an event.

        Raises:
            UserError: there are too many, or it is one that no config needs.
        """
        import yaml

        if isinstance(event, yaml.CollectionEndEvent):
            anchor, count_before = self._open.pop()
            self._set_anchor(anchor, self._node_count - count_before)
        elif isinstance(event, yaml.NodeEvent):
            if not self._open and not isinstance(event, yaml.MappingStartEvent):
                self.is_mapping = False
            if isinstance(event, yaml.CollectionStartEvent):
                self._open.append((cast("str | None", event.anchor), self._node_count))
            self._node_count += self._size(event)
        if self._node_count > MAX_NODES or len(self._open) > MAX_DEPTH:
            raise self._too_complex()

    def _size(self, event: object) -> int:
        """Return how many nodes an event begins or expands to."""
        import yaml

        if isinstance(event, yaml.AliasEvent):
            self._alias_count += 1
            size = self._sizes.get(str(event.anchor))  # none of an anchor that contains the alias
            if size is None or self._alias_count > MAX_ALIASES:
                raise self._too_complex()
            return size
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            line = int(cast("Any", event).start_mark.line) + 1  # the library has no types
            if event.tag is not None:
                problem = f"could not determine what the tag '{event.tag}' means"
                raise _syntax_error(self._file, line, problem)
            if isinstance(event, yaml.ScalarEvent):
                self._check_scalar(cast("str", event.value), line)
                self._set_anchor(cast("str | None", event.anchor), 1)
        return 1

    def _check_scalar(self, value: str, line: int) -> None:
        if "${" in value:  # it could copy the file into itself, or show environment variables
            problem = "a reference such as ${a} is not read; write the value in its place"
            raise _syntax_error(self._file, line, problem)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise _syntax_error(self._file, line, f"{value!r} has half a character")
        if len(value) > MAX_SCALAR_CHARS:
            raise UserError(f"'{self._file}' is too large to be a model config.")

    def _set_anchor(self, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size

    def _too_complex(self) -> UserError:
        return UserError(
            f"'{self._file}' is too deeply nested, or has too many values or aliases, to be a model config."
        )


def read_config_text(file: Path) -> str:
    """Return the text of a config file.

    Raises:
        NotFound: there is no such file.
        UserError: it is no text, no regular file, or too large to be a config.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe may have no end
            raise UserError(f"'{file}' cannot be read: it is not a file.")
        if status.st_size > MAX_FILE_BYTES:
            raise UserError(f"'{file}' is too large to be a model config.")
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"'{file}' does not exist.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"'{file}' is not a text file.") from error
    except OSError as error:
        raise UserError(f"'{file}' cannot be read: {error.strerror or error}.") from error
