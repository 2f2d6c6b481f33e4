"""Pickles and archives whose sizes lie, or that cost memory and time."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from functools import partial

from tools.hostile_opcodes import (
    DICT,
    MEMOIZE,
    UNET_CONTEXT,
    UNET_INPUT,
    Cases,
    global_opcode,
    line_global,
    make_archive,
    make_pickle,
    number,
    reduce_opcodes,
    sequence,
    storage,
    table,
    tensor,
    tensors,
    text,
)

LOCAL_HEADER, CENTRAL_HEADER = b"PK\x03\x04", b"PK\x01\x02"
EMPTY = make_pickle(DICT)


def size_cases() -> Cases:
    """Return files whose tensors are not what their storages hold."""
    lies = {
        "storage": tensor(storage(count=10**12), shape=(10**12,)),
        "negative-stride": tensor(shape=(2,), stride=(-1,)),
        "offset": tensor(offset=2),
        "negative-offset": tensor(offset=-1),
        "overlap": tensor(shape=(10**6, 10**6), stride=(0, 0)),
        "overlap-4d": tensor(shape=(320, 4, 3, 3), stride=(0, 0, 0, 1)),
        "empty-huge": tensor(shape=(0, 10**30), stride=(1, 1)),
        "empty-big-integer": tensor(shape=(0, 1 << 20_000), stride=(1, 1)),
        "many-axes": tensor(shape=(1,) * 3000, stride=(0,) * 3000),
        "stride-count": tensor(shape=(1, 1), stride=(1,)),
        "count-bool": tensor(storage(raw_count=b"\x88")),
        "count-big-integer": tensor(storage(count=1 << 24_000), shape=(1 << 3000,)),
        "key-nul": tensor(storage("0\0x")),
        "key-missing": tensor(storage("7")),
        "unknown-storage": tensor(storage(kind="QInt8Storage")),
        "not-a-tensor": sequence(text("storage"), line_global("torch", "FloatStorage")) + b"Q",
        "itself": MEMOIZE + b"h\0",
    }
    cases: Cases = {
        f"size-{name}.ckpt": partial(tensors, {UNET_INPUT: body}) for name, body in lies.items()
    }
    shared = {UNET_INPUT: tensor(), "b": tensor(storage(count=999), shape=(999,))}
    scalar = tensor(storage(count=1), shape=(), stride=())
    return cases | {
        "size-key-parent.ckpt": lambda: tensors(
            {UNET_INPUT: tensor(storage("../../etc/passwd"))}, keys=["../../etc/passwd"]
        ),
        "size-short.ckpt": lambda: tensors({UNET_INPUT: tensor()}, size=8),
        "size-shared.ckpt": lambda: tensors(shared),
        "size-scalars.ckpt": lambda: tensors({UNET_INPUT: scalar, UNET_CONTEXT: scalar}, size=4),
        "size-name-integer.ckpt": lambda: make_archive(
            make_pickle(DICT + number(5) + tensor() + b"s")
        ),
        "size-name-big-integer.ckpt": lambda: make_archive(
            make_pickle(DICT + number(1 << 30_000) + tensor() + b"s")
        ),
        "size-name-half-character.ckpt": lambda: tensors({"model.\ud800": tensor()}),
        "size-state-itself.ckpt": lambda: make_archive(
            make_pickle(DICT + MEMOIZE + text("state_dict") + b"h\0s")
        ),
        "size-persistent-none.ckpt": lambda: make_archive(make_pickle(b"NQ")),
    }


def archive_cases() -> Cases:
    """Return archives that are damaged, packed, or lie about their members."""
    return {
        "zip-parent.ckpt": lambda: make_archive(
            EMPTY, [("../../../../hostile", b"x"), ("/hostile", b"x")]
        ),
        "zip-deflated.ckpt": lambda: _deflate(b"}" + b"N0" * 30_000_000),
        "zip-deflated-storage.ckpt": _deflated_storage,
        "zip-encrypted.ckpt": _encrypt_archive,
        "zip-cut.ckpt": lambda: make_archive(EMPTY)[:-10],
        "zip-lzma.ckpt": lambda: make_archive(EMPTY, compression=zipfile.ZIP_LZMA),
        "zip-bzip2.ckpt": lambda: make_archive(
            make_pickle(b"}" + b"N0" * 20_000_000), compression=zipfile.ZIP_BZIP2
        ),
        "zip-size.ckpt": lambda: _patch_archive(24, b"\xff\xff\xff\x7f"),
        "zip-method.ckpt": lambda: _patch_archive(10, b"\x63\x00"),
        "zip-offset.ckpt": lambda: _patch_archive(42, b"\xff\xff\xff\x7f"),
        "zip-60000-members.ckpt": _many_members,
        "zip-directory.ckpt": lambda: (
            LOCAL_HEADER
            + b"PK\x05\x06"
            + struct.pack("<HHHHIIH", 0, 0, 65_535, 65_535, 0xFFFF_FFF0, 0, 0)
        ),
        "zip-name-bytes.ckpt": lambda: make_archive(EMPTY, [("archive/\u00e9", b"x")]).replace(
            "\u00e9".encode(), b"\xff\xfe"
        ),
        "zip-nested-name.ckpt": lambda: make_archive(
            EMPTY, [("data.pkl/data.pkl", b"x")], prefix=""
        ),
    }


def _deflate(body: bytes) -> bytes:
    return make_archive(make_pickle(body), compression=zipfile.ZIP_DEFLATED)


def _deflated_storage() -> bytes:
    body = table({UNET_INPUT: tensor(storage(count=10**8), shape=(10**8,))})
    return make_archive(
        make_pickle(body), [("archive/data/0", bytes(4 * 10**8))], compression=zipfile.ZIP_DEFLATED
    )


def _encrypt_archive() -> bytes:
    archive = bytearray(make_archive(EMPTY))
    for signature, flags in ((LOCAL_HEADER, 6), (CENTRAL_HEADER, 8)):
        position = archive.find(signature)
        while position >= 0:
            archive[position + flags] |= 1
            position = archive.find(signature, position + 4)
    return bytes(archive)


def _patch_archive(offset: int, value: bytes) -> bytes:
    archive = bytearray(make_archive(EMPTY))
    start = archive.find(CENTRAL_HEADER) + offset
    archive[start : start + len(value)] = value
    return bytes(archive)


def _many_members() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for position in range(60_000):
            archive.writestr(f"a/{position}", b"")
        archive.writestr("a/data.pkl", EMPTY)
    return buffer.getvalue()


def bomb_cases() -> Cases:
    """Return small pickles that take much memory or time to build, to hash, to compare or to show."""
    inert = reduce_opcodes(line_global("numpy", "A"))
    bodies = {
        "memo": b"}r" + struct.pack("<I", 0x0FFF_FFFF),
        "memo-text": b"}p400000000\n",
        "bytearray": b"\x96" + struct.pack("<Q", 20 * 2**30),
        "long-text": b"\x8d" + struct.pack("<Q", 20 * 2**30),
        "frame": b"\x95" + struct.pack("<Q", 2**62) + b"}",
        "long-integer": b"\x8b\xff\xff\xff\x7f",
        "hash": b"})" + b"2\x86" * 40 + b"Ns",
        "hash-list": b"]\x94h\0a",
        "hash-frozenset": b"}(\x91"
        + b"".join(
            b"\x94(h" + bytes([at]) + sequence(b"h" + bytes([at])) + b"\x91" for at in range(40)
        )
        + b"Ns",
        "show": b"}\x94"
        + inert
        + b"".join(
            b"q%c0" % at + inert + b"".join(text(key) + b"h%c" % at + b"s" for key in ("a", "b"))
            for at in range(1, 41)
        )
        + tensor()
        + b"s",
        "deep-tuple": b")" + b"\x85" * 5_000_000,
        "deep-list": b"]" * 3_000_000 + b"a" * 2_999_999,
        "deep-key": b"})" + b"\x85" * 200_000 + b"Ns",
        "decimal": b"}I" + b"9" * 5_000_000 + b"\n0",
        "long-decimal": b"}L" + b"9" * 5_000_000 + b"L\n0",
    }
    cases: Cases = {
        f"bomb-{name}.ckpt": partial(make_archive, make_pickle(body))
        for name, body in bodies.items()
    }
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    return cases | {
        "bomb-dictionaries.ckpt": lambda: _deflate(b"}" * 60_000_000),
        "bomb-classes.ckpt": lambda: _deflate(
            global_opcode("numpy", "A") + text("numpy") + MEMOIZE + text("A") + MEMOIZE
            + b"h\0h\1\x93" * 12_000_000
        ),
        "bomb-legacy-keys.ckpt": lambda: legacy
        + pickle.dumps({"little_endian": True}, 2)
        + EMPTY
        + make_pickle(text("x"), 2),
        "bomb-legacy-list.ckpt": lambda: legacy + pickle.dumps([1], 2),
    }  # fmt: skip
