"""Runs the instructions of a pickle within a budget; it imports, calls and hashes nothing that the file names.

Python's own unpickler is at the mercy of a file: nested keys take for ever to hash, a memo index of four bytes takes
gigabytes, and deep nesting exhausts the stack of the process. Here each instruction is checked before it is executed,
every value is one of a few inert types, only strings are keys, and nothing is ever compared, hashed or shown.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, cast

# A tensor takes about 50 instructions, and what training frameworks add to a checkpoint some thousands. More of them
# go with gigabytes of weights; a small file must cost little, since there can be hundreds.
BASE_BUDGET = 100_000
BYTES_PER_UNIT = 10_000
BUDGET_PER_TENSOR = 100
MAX_WIDTH = 100_000  # of a layer: a hypernetwork has it as the key of its networks
MAX_BUDGET = 1_000_000
MAX_TEXT_BYTES = 500  # the names of tensors have at most 150; longer texts are skipped
MAX_INT_BYTES = 16  # longer numbers are skipped
MAX_LINE_BYTES = 300  # the name of a module or a class
TEXT_BYTES_PER_UNIT = 64
SKIPPED_BYTES_PER_UNIT = 4096


class Opaque:
    """Stands for a value of which nothing is needed: a class, a number with decimals, or a long text."""

    __slots__ = ()


class ParameterTable(dict[str, Any]):
    """Stands for a table of parameters that is an object: its state has the parameters."""

    def set_state(self, state: Any) -> None:
        """Take the parameters from a state; anything else in it is dropped."""
        parameters = cast("dict[str, Any]", state).get("_parameters") if _is_dict(state) else None
        if _is_dict(parameters):
            self.update(cast("dict[str, Any]", parameters))


OPAQUE = Opaque()
Spend = Callable[[int], None]


class Function(NamedTuple):
    """A function that a pickle may call.

    Args:
        build: Returns the result from the arguments; work beyond a few steps goes to the second one, which bounds it.
        allowance: Instructions added to the budget by each call.
    """

    build: Callable[[tuple[Any, ...], Spend], Any]
    allowance: int = 0


class PickleMachine:
    """Reads the pickles of one file, one after the other.

    Args:
        file: Positioned at the first one.
        find_global: Returns a `Function`, `OPAQUE` or another inert value for the names of a module and a global, or raises.
        load_persistent: Returns an inert value for a persistent ID.
        max_bytes: Of all pickles.
        file_bytes: Size of the whole file, with its weights.
    """

    def __init__(
        self,
        file: BinaryIO,
        find_global: Callable[[str, str], Any],
        load_persistent: Callable[[Any], Any],
        max_bytes: int,
        file_bytes: int,
    ) -> None:
        self._file = file
        self._find_global = find_global
        self._load_persistent = load_persistent
        self._remaining_bytes = max_bytes
        self._spent = 0
        self._budget = BASE_BUDGET + file_bytes // BYTES_PER_UNIT
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Return the value of the next pickle: dicts with string keys, lists, tuples, numbers, strings, inert values.

        Raises:
            UnpicklingError: it is damaged, or takes more work than any list of tensors.
            ValueError: a text is not UTF-8.
            LookupError: there are too few values.
        """
        self.stack, self._marks, self._memo = [], [], {}
        while True:
            code = self.read(1)
            self.spend(1)
            if code == pickle.STOP:
                return self.stack.pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise pickle.UnpicklingError(f"the instruction {code!r}")
            instruction(self)

    def spend(self, units: int) -> None:
        """Take so much from the budget.

        Raises:
            UnpicklingError: nothing is left.
        """
        self._spent += units
        if self._spent > min(self._budget, MAX_BUDGET):
            raise pickle.UnpicklingError("more work than any list of tensors")

    def read(self, count: int) -> bytes:
        """Return exactly so many bytes."""
        self._remaining_bytes -= count
        if self._remaining_bytes < 0:
            raise pickle.UnpicklingError("longer than any list of tensors")
        data = self._file.read(count)
        if len(data) != count:
            raise pickle.UnpicklingError("it ends too early")
        return data

    def read_int(self, size: int) -> int:
        """Return an unsigned number of so many bytes."""
        return int.from_bytes(self.read(size), "little")

    def read_line(self) -> str:
        """Return a line without its end."""
        line = self._file.readline(MAX_LINE_BYTES)
        self._remaining_bytes -= len(line)
        if not line.endswith(b"\n"):
            raise pickle.UnpicklingError("a name longer than any")
        return line[:-1].decode()

    def push_text(self, length: int, *, is_python2: bool = False) -> None:
        """Read a text; a string of Python 2 may be bytes, which nothing here needs."""
        if length > MAX_TEXT_BYTES:
            return self.push_skipped(length)
        self.spend(length // TEXT_BYTES_PER_UNIT)
        data = self.read(length)
        is_opaque = is_python2 and not data.isascii()
        return self.stack.append(OPAQUE if is_opaque else data.decode())

    def push_skipped(self, length: int) -> None:
        """Pass over bytes of which nothing is needed."""
        self.spend(length // SKIPPED_BYTES_PER_UNIT)
        while length > 0:
            length -= len(self.read(min(length, SKIPPED_BYTES_PER_UNIT)))
        self.stack.append(OPAQUE)

    def push_int(self, length: int) -> None:
        """Read a signed number of so many bytes."""
        if length > MAX_INT_BYTES:
            return self.push_skipped(length)
        return self.stack.append(int.from_bytes(self.read(length), "little", signed=True))

    def push_tuple(self, count: int) -> None:
        """Replace the last values by a tuple of them."""
        if count > len(self.stack):
            raise pickle.UnpicklingError("too few values")
        start = len(self.stack) - count
        self.stack[start:] = [tuple(self.stack[start:])]

    def mark(self) -> None:
        """Note where a list of values begins."""
        self._marks.append(len(self.stack))

    def pop_marked(self) -> list[Any]:
        """Take the values since the last mark."""
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def put(self, index: int | None = None) -> None:
        """Store the last value in the memo."""
        self._memo[len(self._memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Push a value of the memo."""
        self.stack.append(self._memo[index])

    def push_global(self, module: Any, name: Any) -> None:
        """Push the placeholder of a global."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a global without a name")
        self.stack.append(self._find_global(module, name))

    def push_persistent(self) -> None:
        """Replace a persistent ID by its value."""
        self.stack.append(self._load_persistent(self.stack.pop()))

    def push_call(self, function: Any, args: Any) -> None:
        """Push the result of a call; that of an unknown class is an empty dict."""
        if not isinstance(args, tuple):
            raise pickle.UnpicklingError("arguments that are no tuple")
        if isinstance(function, Function):
            self._budget += function.allowance
            self.stack.append(function.build(cast("tuple[Any, ...]", args), self.spend))
        elif function is OPAQUE:
            self.stack.append({})
        else:
            raise pickle.UnpicklingError("a call of a value")

    def push_dict(self) -> None:
        """Replace the values since the last mark by a dict of them."""
        pairs = self.pop_marked()
        self.stack.append({})
        self.set_items(pairs)

    def set_items(self, values: list[Any]) -> None:
        """Store keys and values, by turns, in the dict before them; only strings are kept as keys, and a hypernetwork's widths."""
        target = self.stack[-1]
        if isinstance(target, dict):
            table = cast("dict[str, Any]", target)
            for key, value in zip(values[::2], values[1::2], strict=True):
                if isinstance(key, str):
                    table[key] = value
                elif _is_width(key) and type(value) in (tuple, list):
                    table[str(key)] = value
        elif target is not OPAQUE:
            raise pickle.UnpicklingError("items of a value")

    def append_items(self, values: list[Any]) -> None:
        """Append values to the list before them; an object of an unknown class ignores them."""
        target = self.stack[-1]
        if isinstance(target, list):
            cast("list[Any]", target).extend(values)
        elif target is not OPAQUE and not isinstance(target, dict):
            raise pickle.UnpicklingError("items of a value")

    def build(self) -> None:
        """Drop the state of an object: no record has any but a table of parameters."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Function):
            raise pickle.UnpicklingError("a state of a function")
        if isinstance(target, ParameterTable):
            self.spend(len(state) if _is_dict(state) else 0)
            target.set_state(state)


def _stack_global(m: PickleMachine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.push_global(module, name)


def _global(m: PickleMachine) -> None:
    module, name = m.read_line(), m.read_line()
    m.push_global(module, name)


def _reduce(m: PickleMachine) -> None:
    args, function = m.stack.pop(), m.stack.pop()
    m.push_call(function, args)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _is_width(key: object) -> bool:
    return isinstance(key, int) and not isinstance(key, bool) and 0 < key < MAX_WIDTH


def _new_object_with_keywords(m: PickleMachine) -> None:
    m.stack.pop()
    _reduce(m)


def _object(m: PickleMachine) -> None:
    values = m.pop_marked()
    m.push_call(values[0], tuple(values[1:]))


def _instance(m: PickleMachine) -> None:
    _global(m)
    function = m.stack.pop()
    m.push_call(function, tuple(m.pop_marked()))


def _set_item(m: PickleMachine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


def _append(m: PickleMachine) -> None:
    value = m.stack.pop()
    m.append_items([value])


def _drop_marked(m: PickleMachine) -> None:
    m.pop_marked()
    m.stack.append(OPAQUE)


def _pop(m: PickleMachine) -> None:
    m.stack.pop()


def _proto(m: PickleMachine) -> None:
    if m.read_int(1) > pickle.HIGHEST_PROTOCOL:
        raise pickle.UnpicklingError("a newer protocol")


# Those of protocols 2 to 5, without extension codes and buffers outside of the file; torch writes protocol 2.
INSTRUCTIONS: Mapping[bytes, Callable[[PickleMachine], object]] = {
    pickle.PROTO: _proto,
    pickle.FRAME: lambda m: m.read(8),
    pickle.MARK: lambda m: m.mark(),
    pickle.POP: _pop,
    pickle.POP_MARK: lambda m: m.pop_marked(),
    pickle.DUP: lambda m: m.stack.append(m.stack[-1]),
    pickle.NONE: lambda m: m.stack.append(None),
    pickle.NEWTRUE: lambda m: m.stack.append(True),
    pickle.NEWFALSE: lambda m: m.stack.append(False),
    pickle.BININT: lambda m: m.push_int(4),
    pickle.BININT1: lambda m: m.stack.append(m.read_int(1)),
    pickle.BININT2: lambda m: m.stack.append(m.read_int(2)),
    pickle.LONG1: lambda m: m.push_int(m.read_int(1)),
    pickle.LONG4: lambda m: m.push_int(m.read_int(4)),
    pickle.BINFLOAT: lambda m: m.push_skipped(struct.calcsize(">d")),
    pickle.BINUNICODE: lambda m: m.push_text(m.read_int(4)),
    pickle.SHORT_BINUNICODE: lambda m: m.push_text(m.read_int(1)),
    pickle.BINUNICODE8: lambda m: m.push_text(m.read_int(8)),
    pickle.BINSTRING: lambda m: m.push_text(m.read_int(4), is_python2=True),
    pickle.SHORT_BINSTRING: lambda m: m.push_text(m.read_int(1), is_python2=True),
    pickle.BINBYTES: lambda m: m.push_skipped(m.read_int(4)),
    pickle.SHORT_BINBYTES: lambda m: m.push_skipped(m.read_int(1)),
    pickle.BINBYTES8: lambda m: m.push_skipped(m.read_int(8)),
    pickle.BYTEARRAY8: lambda m: m.push_skipped(m.read_int(8)),
    pickle.EMPTY_TUPLE: lambda m: m.push_tuple(0),
    pickle.TUPLE1: lambda m: m.push_tuple(1),
    pickle.TUPLE2: lambda m: m.push_tuple(2),
    pickle.TUPLE3: lambda m: m.push_tuple(3),
    pickle.TUPLE: lambda m: m.stack.append(tuple(m.pop_marked())),
    pickle.EMPTY_LIST: lambda m: m.stack.append([]),
    pickle.LIST: lambda m: m.stack.append(m.pop_marked()),
    pickle.EMPTY_DICT: lambda m: m.stack.append({}),
    pickle.DICT: lambda m: m.push_dict(),
    pickle.EMPTY_SET: lambda m: m.stack.append(OPAQUE),
    pickle.FROZENSET: _drop_marked,
    pickle.APPEND: _append,
    pickle.APPENDS: lambda m: m.append_items(m.pop_marked()),
    pickle.ADDITEMS: lambda m: m.append_items(m.pop_marked()),
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: lambda m: m.set_items(m.pop_marked()),
    pickle.GLOBAL: _global,
    pickle.STACK_GLOBAL: _stack_global,
    pickle.REDUCE: _reduce,
    pickle.NEWOBJ: _reduce,
    pickle.NEWOBJ_EX: _new_object_with_keywords,
    pickle.OBJ: _object,
    pickle.INST: _instance,
    pickle.BUILD: lambda m: m.build(),
    pickle.BINPERSID: lambda m: m.push_persistent(),
    pickle.BINPUT: lambda m: m.put(m.read_int(1)),
    pickle.LONG_BINPUT: lambda m: m.put(m.read_int(4)),
    pickle.MEMOIZE: lambda m: m.put(),
    pickle.BINGET: lambda m: m.get(m.read_int(1)),
    pickle.LONG_BINGET: lambda m: m.get(m.read_int(4)),
}
