from __future__ import annotations

from pathlib import Path

from PIL import Image

from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest
from modules.scripts.init_images import InitImagesArgs, run_init_images
from tests.scripts.script_runs import run_script


def test_each_image_of_each_batch_has_the_next_seed_and_variation_seed(tmp_path: Path):
    blue, red = (ImageField.from_pil(Image.new("RGB", (64, 64), name)) for name in ("blue", "red"))
    request = Img2ImgRequest(
        init_image=blue,
        width=64,
        height=64,
        seed=5,
        subseed=9,
        subseed_strength=0.5,
        n_iter=2,
        batch_size=3,
    )
    run = run_init_images(request, InitImagesArgs(images=(red.to_base64(),)))
    cells, requests, result = run_script(run, tmp_path)
    assert [one.init_image for one in requests] == [blue, red, blue, red]
    assert [(one.seed, one.subseed) for one in requests] == [(5, 9), (6, 10), (7, 11), (8, 12)]
    assert {(one.n_iter, one.batch_size) for one in requests} == {(1, 1)}
    assert [cell.name for cell in cells] == [f"picture {number}" for number in (1, 2, 3, 4)]
    assert result.images == ()
