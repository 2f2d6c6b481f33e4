"""Hostile .yaml files, each written next to a copy of the demo checkpoint."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tools.hostile_opcodes import Cases


def config_cases(demo: Path, canary: Path) -> Cases:
    """Return the .yaml files.

    Args:
        demo: The .yaml of the demo checkpoint.
        canary: A file that would be made, if one of them ran.
    """
    base = demo.read_text(encoding="utf-8")
    contents = _values(base) | _interpolations(base, canary) | _documents(base, canary)
    cases: Cases = {f"{name}.yaml": partial(str.encode, text) for name, text in contents.items()}
    return cases | {"bytes.yaml": lambda: b"\xff\xfe\x00\x80"}


def _changed(base: str, key: str, value: str) -> str:
    return re.sub(rf"(?m)^(\s*{key}:).*$", lambda found: f"{found[1]} {value}", base)


def _values(base: str) -> dict[str, str]:
    values = {
        "context_dim": ("???", "1" + "0" * 4000, "1" + "0" * 5000, "190:20:30", "-1", "1e400"),
        "model_channels": ("1000000000", "-32", "32\n        norm_num_groups: 1000000000", "0"),
        "num_res_blocks": ("-1", "1000000000"),
        "num_heads": ("0", "1000000000"),
        "timesteps": ("1000000000", "100000", "-1"),
        "linear_start": (".nan", "-1"),
        "linear_end": (".inf",),
        "scale_factor": (".nan", "0", ".inf", "1e400"),
        "channel_mult": ("[]", f"[{','.join(['1'] * 10_000)}]", "[-1]"),
        "transformer_depth": ("1000000000", "[1,1,1,1,1,1,1,1]"),
        "attention_resolutions": (f"[{','.join(map(str, range(20_000)))}]",),
        "image_size": ("1000000000",),
        "resolution": ("1000000000000",),
        "target": ("os.system",),
    }
    return {
        f"{key}-{position}": _changed(base, key, value)
        for key, options in values.items()
        for position, value in enumerate(options)
    }


def _interpolations(base: str, canary: Path) -> dict[str, str]:
    texts = "".join(f"b{at}: " + f"${{b{at - 1}}}" * 10 + "\n" for at in range(1, 9))
    nodes = "".join(
        f"b{at}: {{" + ", ".join(f"{key}: '${{b{at - 1}}}'" for key in "pqrs") + "}\n"
        for at in range(1, 15)
    )
    code = f'!!python/object/apply:os.system ["touch {canary}"]'
    added = {
        "texts": "b0: " + "x" * 1000 + "\n" + texts,
        "nodes": "b0: {x: 1, y: 2}\n" + nodes,
        "cycle": "a: ${b}\nb: ${a}\n",
        "itself": "a: ${a}\n",
        "deep": "a0: 1\n" + "".join(f"a{at}: ${{a{at - 1}}}\n" for at in range(1, 5000)),
        "nested": "x: " + "${" * 2000 + "a" + "}" * 2000 + "\n",
        "keys": "x: ${oc.dict.keys:model}\ny: ${oc.dict.values:model}\n",
        "decode": f"x: ${{oc.decode:'{code}'}}\n",
        "create": f"x: ${{oc.create:'{code}'}}\n",
        "environment": "x: ${oc.env:${oc.env:NOPE,HOME}}\n",
        "grammar": 'x: "${a:' + "[" * 400 + "]" * 400 + '}"\n',
        "many": 'x: "' + "${a}" * 40_000 + '"\na: 1\n',
    }
    cases = {f"interpolation-{name}": text + base for name, text in added.items()}
    for name in ("env:HOME", "decode:'[1,2]'", "create:{a:1}"):
        cases[f"interpolation-oc-{name[:3]}"] = _changed(base, "context_dim", f"${{oc.{name}}}")
    return cases


def _documents(base: str, canary: Path) -> dict[str, str]:
    def laughs(depth: int, width: int) -> str:
        rows = (
            f"a{at}: &a{at} [" + ",".join([f"*a{at - 1}"] * width) + "]\n" for at in range(1, depth)
        )
        return "a0: &a0 [x,x]\n" + "".join(rows)

    return {
        "python-object": base + f"\nx: !!python/object/apply:os.system ['touch {canary}']\n",
        "python-name": base + "\nx: !!python/name:os.system\n",
        "python-module": base + "\nx: !!python/module:os\n",
        "laughs": laughs(30, 4),
        "laughs-few": laughs(9, 6),
        "large": "a: " + "x" * 50_000_000,
        "nul": 'a: "\\0"\n' + base,
        "deep": "a: " + "[" * 5000 + "]" * 5000,
        "keys-twice": base + "\nmodel: {}\n",
        "list": "- 1\n- 2\n",
        "scalar": "5\n",
        "empty": "",
        "no-params": "model:\n  params: null\n",
        "long-key": "x" * 190_000 + ": 1\n" + base,
        "long-list": "a: [" + "1," * 90_000 + "1]\n",
        "date-key": "2020-01-01: 1\n" + base,
        "bytes-key": "!!binary aGVsbG8=: 1\n" + base,
        "nan-key": ".nan: 1\n" + base,
        "set": "a: !!set {x, y}\n" + base,
        "omap": "a: !!omap [x: 1]\n" + base,
    }  # fmt: skip
