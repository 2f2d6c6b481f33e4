"""Pickles written opcode by opcode, and those that try to run code."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

Cases = dict[str, Callable[[], bytes]]  # the name of a file to what writes its content
UNET_INPUT = "model.diffusion_model.input_blocks.0.0.weight"
UNET_CONTEXT = (
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"  # of 768 or so
)
DICT, EMPTY_TUPLE, STACK_GLOBAL = b"}", b")", b"\x93"
MARK, TUPLE, TUPLE_OF_1, TUPLE_OF_2 = b"(", b"t", b"\x85", b"\x86"
REDUCE, BUILD, SET_ITEM, PERSISTENT_ID, MEMOIZE, POP = b"R", b"b", b"s", b"Q", b"\x94", b"0"


def make_pickle(body: bytes, protocol: int = 4) -> bytes:
    """Return a whole pickle."""
    return b"\x80" + bytes([protocol]) + body + b"."


def make_archive(
    content: bytes,
    members: Iterable[tuple[str, bytes]] = (),
    compression: int = zipfile.ZIP_STORED,
    prefix: str = "archive/",
) -> bytes:
    """Return an archive as PyTorch writes it, whose pickle has this content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(prefix + "data.pkl", content)
        archive.writestr(prefix + "version", "3\n")
        for name, member in members:
            archive.writestr(name, member)
    return buffer.getvalue()


def text(value: str) -> bytes:
    """Return the opcode of a text; half characters are kept."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Return the opcode of an integer of any size."""
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    if len(data) < 256:
        return b"\x8a" + bytes([len(data)]) + data
    return b"\x8b" + struct.pack("<i", len(data)) + data


def global_opcode(module: str, name: str) -> bytes:
    """Return the opcodes that import a name."""
    return text(module) + text(name) + STACK_GLOBAL


def line_global(module: str, name: str) -> bytes:
    """Return the older opcode that imports a name."""
    return f"c{module}\n{name}\n".encode()


def sequence(*values: bytes) -> bytes:
    """Return the opcodes of a tuple."""
    return MARK + b"".join(values) + TUPLE


def reduce_opcodes(function: bytes, *arguments: bytes) -> bytes:
    """Return the opcodes of a call."""
    return function + sequence(*arguments) + REDUCE


def table(items: Mapping[str, bytes]) -> bytes:
    """Return the opcodes of a dictionary with texts as keys."""
    return DICT + b"".join(text(key) + value + SET_ITEM for key, value in items.items())


def storage(
    key: str = "0", kind: str = "FloatStorage", count: int = 4, raw_count: bytes = b""
) -> bytes:
    """Return the opcodes that name a storage of the archive."""
    size = raw_count or number(count)
    return (
        sequence(text("storage"), line_global("torch", kind), text(key), text("cpu"), size)
        + PERSISTENT_ID
    )


def tensor(
    of: bytes = b"", offset: int = 0, shape: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,)
) -> bytes:
    """Return the opcodes of a tensor as PyTorch writes it."""
    return reduce_opcodes(
        line_global("torch._utils", "_rebuild_tensor_v2"),
        of or storage(),
        number(offset),
        sequence(*map(number, shape)),
        sequence(*map(number, stride)),
        b"\x89",
        line_global("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE,
    )


def tensors(items: Mapping[str, bytes], size: int = 16, keys: Iterable[str] = ("0",)) -> bytes:
    """Return a .ckpt with these tensors, whose storages have this size in bytes."""
    return make_archive(
        make_pickle(table(items)), [(f"archive/data/{key}", bytes(size)) for key in keys]
    )


def code_cases(canary: Path) -> Cases:
    """Return files that would make the canary, if one of them ran."""
    command = text(f"touch '{canary}'")
    python = text(f"__import__('os').system('touch {canary}')")
    system, posix_system = line_global("os", "system"), line_global("posix", "system")
    os_call = reduce_opcodes(system, command)
    inert = line_global("numpy", "X")
    bodies = {
        "os": os_call,
        "posix": reduce_opcodes(posix_system, command),
        "eval": reduce_opcodes(line_global("builtins", "eval"), python),
        "py2-exec": reduce_opcodes(line_global("__builtin__", "exec"), python),
        "getattr": reduce_opcodes(
            line_global("builtins", "getattr"), line_global("builtins", "object"), text("mro")
        ),
        "subprocess": reduce_opcodes(global_opcode("subprocess", "getoutput"), command),
        "nested": reduce_opcodes(line_global("builtins", "list"), os_call),
        "memo": text("os") + MEMOIZE + text("system") + MEMOIZE + b"00h\0h\1\x93" + command + b"\x85R",
        "dotted": global_opcode("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "dotted-type": global_opcode("collections", "OrderedDict.__init__.__globals__"),
        "numpy-dotted": reduce_opcodes(global_opcode("numpy", "os.system"), command),
        "numpy-runstring": reduce_opcodes(global_opcode("numpy.testing._private.utils", "runstring"), python, DICT),
        "numpy-myeval": reduce_opcodes(global_opcode("numpy.f2py.crackfortran", "myeval"), python),
        "lightning": reduce_opcodes(
            global_opcode("pytorch_lightning.utilities.imports", "_module_available"), text("antigravity")
        ),
        "pathlib": reduce_opcodes(global_opcode("pathlib", "os.system"), command),
        "extension-1": b"\x82\x01" + text("x") + b"\x85R",
        "extension-4": b"\x84\xff\xff\xff\x7f)R",
        "inst": MARK + command + b"ios\nsystem\n",
        "obj": MARK + system + command + b"o",
        "newobj-ex": line_global("subprocess", "Popen") + sequence(command) + DICT + b"\x92",
        "setstate": inert + b")\x81}" + text("__reduce__") + os_call + b"sb",
        "build-class": inert + DICT + text("__setstate__") + b"Nsb",
        "build-slots": inert + b"N}" + text("__new__") + inert + b"s\x86b",
        "build-rebuilder": line_global("torch._utils", "_rebuild_tensor_v2") + b"N}" + text("_build")
        + inert + b"s\x86b",
        "build-size": line_global("torch", "Size") + b"N}" + text("count") + inert + b"s\x86b",
        "build-storage": line_global("torch", "FloatStorage") + b"N}" + text("dtype") + b"Ns\x86b",
        "build-tensor": tensor() + b"N}" + text("offset") + number(9) + b"s\x86b",
        "persistent-text": b"Pos.system\n",
        "persistent-module": sequence(text("module"), line_global("torch.nn", "Linear"), command) + b"Q",
        "torch-load": reduce_opcodes(global_opcode("torch", "load"), text(str(canary))),
        "torch-hub": reduce_opcodes(global_opcode("torch.hub", "load_state_dict_from_url"), text("http://127.0.0.1:9/")),
        "torch-bytes": global_opcode("torch.storage", "_load_from_bytes") + b"C\x05aaaaa\x85R",
        "codecs": reduce_opcodes(global_opcode("_codecs", "lookup"), text("../../x")),
        "partial": reduce_opcodes(reduce_opcodes(global_opcode("functools", "partial"), system, command)),
        "methodcaller": reduce_opcodes(global_opcode("operator", "methodcaller"), text("system"), command),
        "runpy": reduce_opcodes(global_opcode("runpy", "_run_code"), python),
        "capitals": reduce_opcodes(global_opcode("Builtins", "eval"), python),
        "zero-width": reduce_opcodes(global_opcode("o\u200bs", "system"), command),
        "no-module": reduce_opcodes(global_opcode("", "eval"), python),
        "half-character": global_opcode("os", "\ud800"),
    }  # fmt: skip
    cases: Cases = {
        f"code-{name}.ckpt": partial(make_archive, make_pickle(body))
        for name, body in bodies.items()
    }
    return cases | {
        "code-legacy-third.ckpt": lambda: _legacy_start() + make_pickle(os_call, 2),
        "code-legacy-first.ckpt": lambda: make_pickle(os_call, 2),
        "code-protocol-0.ckpt": lambda: f"cos\nsystem\n(S'touch {canary}'\ntR.".encode(),
        "code-tar.ckpt": lambda: _tar(make_pickle(os_call)),
        "code-constants.ckpt": lambda: make_archive(
            make_pickle(DICT), [("archive/constants.pkl", make_pickle(os_call))]
        ),
        "code-second-pickle.ckpt": lambda: make_archive(
            make_pickle(DICT), [("b/data.pkl", make_pickle(os_call))]
        ),
    }


def _legacy_start() -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "../../pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
