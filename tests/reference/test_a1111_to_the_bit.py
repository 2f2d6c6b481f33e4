"""Latents of A1111 come back to the last bit once its arithmetic is in its order: what differs otherwise is rounding alone.

Of `cases_networks.jsonl`, on a processor of the kind that made them: AMD, with the instructions of AVX-512.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from torch import Tensor

from tests.reference.a1111_arithmetic import use_arithmetic_of_a1111
from tests.reference.a1111_cases import (
    EXACT_SHARE,
    FAULTS,
    FOLDER,
    INVOKE_AI,
    Case,
    read_cases,
    read_pixels,
    read_reasons,
    send,
    serve,
)

GROUP_NAMES = ("lora", "ti", "hyper", "xl", "misc")
ORDINARY = ("xl_v_ztsnr", "xl_lora_xl_all", "lora_kohya_lin", "ti_png", "misc_tiling")
# Their steps are computed in another order than these two samplers'.
SAMPLERS = ("Euler", "Restart")
ROUNDED = {
    "lora_te_named_only": "the text encoder's weights are joined with the others in another order",
    "lora_two": "two LoRAs of a layer are added as one product",
    "lora_functional_norm32": "A1111 adds to the output, not to the weight",
    "lora_functional_ia3": "likewise",
    "misc_tome_128": "tokens are averaged in another order",
}
_CPU_INFO = Path("/proc/cpuinfo")


def is_such_a_processor() -> bool:
    is_amd = _CPU_INFO.is_file() and "AuthenticAMD" in _CPU_INFO.read_text(encoding="utf-8")
    return is_amd and torch.backends.cpu.get_cpu_capability() == "AVX512"


pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the images of A1111 are not in {FOLDER}"),
    pytest.mark.skipif(
        not is_such_a_processor(),
        reason="other processors multiply matrices in other orders than those of AMD with AVX-512",
    ),
]


def make_parameters() -> list[Any]:
    """Return the cases that begin with noise, the ordinary ones without a mark."""
    if not FOLDER.is_dir():
        return [pytest.param(None, id=name) for name in ORDINARY]
    left_out = read_reasons() | FAULTS | ROUNDED
    return [
        pytest.param(case, id=case.name, marks=[] if case.name in ORDINARY else [pytest.mark.slow])
        for group in GROUP_NAMES
        for case in read_cases("cases_networks.jsonl", group)
        if case.name not in left_out
        and not case.is_refused
        and read_latents(case) is not None
        and not case.row.get("files")  # an init image is encoded with a draw of the job before
        and case.row["payload"].get("sampler_name") in SAMPLERS
    ]


def read_latents(case: Case) -> NDArray[np.float32] | None:
    """Return what A1111 decoded, None where nobody noted it."""
    path = FOLDER / "latents" / f"{case.name}__0.npz"
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return arrays.get("final", None)


@pytest.fixture(scope="module")
def client(data: Path, one_thread: None, no_network: None) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        use_arithmetic_of_a1111(patch)
        with serve(data) as client:
            yield client


@pytest.mark.parametrize("case", make_parameters())
def test_the_latents_come_back_to_the_last_bit(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, case: Case
):
    decode, decoded = AutoencoderKL.decode, []

    def note_and_decode(vae: AutoencoderKL, latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        decoded.append((vae.config["scaling_factor"], latents.clone()))
        return decode(vae, latents, *args, **kwargs)

    monkeypatch.setattr(AutoencoderKL, "decode", note_and_decode)
    difference = send(client, case, INVOKE_AI)
    assert difference.verdict == "exact", str(difference)
    (scale, latents), theirs = decoded[-1], torch.from_numpy(read_latents(case))
    assert torch.equal(latents, theirs / scale), (latents * scale - theirs).abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["script_loopback", "script_loopback_lazy_batch", "script_outmk2"])
def test_what_repaints_itself_depends_in_a1111_on_the_job_before(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Its VAE adds 3e-7 of noise from PyTorch's own generator, which the noise of the job before has seeded."""
    (case,) = (one for one in read_cases("cases_networks.jsonl", "script") if one.name == name)

    def repaint(seed: int) -> NDArray[np.int16]:
        """Return the images with noise of a seed; this program leaves it out."""

        def draw(distribution: DiagonalGaussianDistribution) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(distribution.mean.shape, generator=generator)
            return distribution.mean + distribution.std * noise

        monkeypatch.setattr(DiagonalGaussianDistribution, "mode", draw)
        response = client.post(case.row["endpoint"], json=case.body(INVOKE_AI)).raise_for_status()
        images = response.json()["images"]
        return np.concatenate([read_pixels(base64.b64decode(image)).ravel() for image in images])

    assert (repaint(1) != repaint(2)).mean() > EXACT_SHARE, "no longer exact beside itself"
