"""Reads a .yaml file as typed values; errors name the file and the key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.errors import NotFound, Unsupported, UserError

MAX_FILE_BYTES = 200_000
MAX_DEPTH = 30
MAX_ALIASES = 50  # a few hundred nested ones are enough to fill any memory


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
        """Return the mapping at a dotted path, where a number stands for an item of a list; an empty one if absent."""
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
        return value

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a list of whole numbers; a single number counts as a list of one."""
        value = self._value(name, default)
        values = cast("list[Any]", list(value) if isinstance(value, (list, tuple)) else [value])  # pyright: ignore[reportUnknownArgumentType]
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in values):
            raise self.invalid_value(name, "a list of whole numbers")
        return tuple(values)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.invalid_value(name, "a number")
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
                text = f"'{self.file}' sets {self._full_key(key)} to {value!r}, which is not supported."
                raise Unsupported(text)

    def invalid_value(self, name: str, expected: str) -> UserError:
        """Return the error for an invalid value."""
        actual = repr(self.values.get(name))
        return UserError(
            f"In '{self.file}', {self._full_key(name)} should be {expected}, not {actual[:60]}."
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
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    text = _read_text(file)
    try:
        _check_bounds(file, cast("Iterable[object]", yaml.parse(text, Loader=yaml.SafeLoader)))  # pyright: ignore[reportUnknownMemberType]
        config = OmegaConf.create(text)
        values = OmegaConf.to_container(config, resolve=True)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"'{file}' is broken{line}: {error.problem}.") from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(f"'{file}' is broken: {str(error).splitlines()[0]}") from error
    if not isinstance(config, DictConfig) or not isinstance(values, dict):
        raise UserError(f"'{file}' does not describe a model.")
    return YamlSection(cast("dict[str, Any]", values), file)


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


def _check_bounds(file: Path, events: Iterable[object]) -> None:
    """Raise at the first sign that the file would exhaust the memory or take minutes to read."""
    import yaml

    depth = alias_count = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        alias_count += isinstance(event, yaml.AliasEvent)
        if depth > MAX_DEPTH or alias_count > MAX_ALIASES:
            raise UserError(
                f"'{file}' is too deeply nested, or has too many aliases, to be a model config."
            )


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"'{file}' is too large to be a model config.")
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"'{file}' does not exist.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"'{file}' is not a text file.") from error
    except OSError as error:
        raise UserError(f"'{file}' cannot be read: {error.strerror or error}.") from error
