"""Tiles: where they lie, that they join without a seam, and what happens when memory runs out or the job is stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling

from modules.backend.upscale.network import UpscalerNetwork
from modules.backend.upscale.tiles import enlarge_in_tiles
from modules.core.errors import Cancelled, OutOfMemory
from modules.plan.upscaling import Tiles
from tests.backend.upscale.tiny_upscalers import (
    cpu_upscalers,
    make_network,
    planned,
    write_network,
)


def noise(width: int, height: int) -> Image.Image:
    draws = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(draws)


def double(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 2, image.height * 2), Resampling.NEAREST)


@pytest.mark.parametrize(
    "tiles", [Tiles(0, 8), Tiles(16, 0), Tiles(16, 5), Tiles(64, 8), Tiles(33, 8)]
)
def test_tiles_of_a_filter_without_neighbourhood_are_the_whole_image(tiles: Tiles):
    image = noise(50, 37)
    assert enlarge_in_tiles(image, tiles, double).tobytes() == double(image).tobytes()


def test_a_tile_blends_into_those_before_it():
    shades = iter((0, 255))

    def paint(tile: Image.Image) -> Image.Image:
        shade = next(shades)
        return Image.new("RGB", tile.size, (shade,) * 3)

    joined = enlarge_in_tiles(noise(12, 8), Tiles(8, 4), paint)
    assert [joined.getpixel((x, 3))[0] for x in range(12)] == [0] * 4 + [0, 63, 127, 191] + [
        255
    ] * 4  # pyright: ignore


def test_an_upscaler_with_tiles_is_near_to_the_whole_image(tmp_path: Path):
    file = write_network(tmp_path / "a.pth", make_network("Compact").state_dict())
    upscalers, image = cpu_upscalers(), noise(80, 64)
    reports: list[tuple[int, int]] = []
    with torch.inference_mode():
        whole = upscalers.upscale(image, planned(file), 2)
        tiled = upscalers.upscale(
            image, planned(file, Tiles(40, 16)), 2, lambda *tile: reports.append(tile)
        )
    # Beyond the reach of the network's convolutions the tiles are the whole image; at their rims a little off.
    apart = abs(np.asarray(whole, np.int16) - np.asarray(tiled, np.int16))
    assert whole.size == tiled.size == (160, 128) and float((apart > 2).mean()) < 0.05
    assert reports == [(number, 6) for number in range(1, 7)]


def test_a_job_is_stopped_between_tiles(tmp_path: Path):
    file = write_network(tmp_path / "a.pth", make_network("Compact").state_dict())

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise Cancelled("Interrupted.")

    with torch.inference_mode(), pytest.raises(Cancelled):
        cpu_upscalers().upscale(noise(80, 64), planned(file, Tiles(40, 8)), 2, stop)


class _SmallDevice(UpscalerNetwork):
    """A network on a device whose memory ends at so many pixels."""

    limit = 0

    def enlarge(self, image: Image.Image) -> Image.Image:
        if image.width * image.height > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().enlarge(image)


@pytest.mark.parametrize(("limit", "fits"), [(40 * 40, True), (20 * 20, False)])
def test_tiles_become_smaller_until_they_fit(tmp_path: Path, limit: int, fits: bool):
    file = write_network(tmp_path / "a.pth", make_network("Compact").state_dict())
    upscalers, image = cpu_upscalers(), noise(128, 96)
    network = upscalers._acquire(file)
    small = _SmallDevice(network._descriptor, file.name)
    small.limit = limit
    upscalers._networks[file.stamp] = small
    with torch.inference_mode():
        if fits:
            assert upscalers.upscale(image, planned(file), 2).size == (256, 192)
            return
        with pytest.raises(OutOfMemory, match="has too little memory for 'a"):
            upscalers.upscale(image, planned(file), 2)


def test_two_networks_stay_loaded(tmp_path: Path):
    files = [
        write_network(tmp_path / f"{name}.pth", make_network("Compact").state_dict())
        for name in "abc"
    ]
    upscalers, image = cpu_upscalers(), noise(16, 16)
    with torch.inference_mode():
        for file in files:
            upscalers.upscale(image, planned(file), 2)
    assert [Path(stamp.path).stem for stamp in upscalers._networks] == ["b", "c"]
    upscalers.clear()
    assert not upscalers._networks
