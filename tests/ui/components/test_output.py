from __future__ import annotations

from PIL import Image

from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.output import JobOutput
from tests.conftest import write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor


def test_the_grid_of_a_job_is_shown_unless_the_settings_say_otherwise(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1, n_iter=2))
    assert job.wait(PATIENCE_S)
    assert JobOutput(engine).grid_items(job.id) == [(str(job.grid_path), "Grid")]
    engine.change_settings({"return_grid": False})
    assert JobOutput(engine).grid_items(job.id) == []


def test_a_job_of_one_image_or_of_an_earlier_run_has_no_grid(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1))
    assert job.wait(PATIENCE_S)
    assert JobOutput(engine).grid_items(job.id) == []
    assert JobOutput(engine).grid_items("long ago") == []


def test_the_depth_map_is_shown_after_the_images_and_not_saved(
    idle_engine: Engine, executor: FakeExecutor
):
    write_listed_depth(idle_engine.paths.checkpoint_folders[0] / "depth.safetensors")
    idle_engine.start()
    init_image = ImageField.from_pil(Image.new("RGB", (8, 8)))
    request = DepthRequest(
        init_image=init_image, width=64, height=64, steps=2, n_iter=2, sd_model_checkpoint="depth"
    )
    job = idle_engine.submit(request)
    assert job.wait(PATIENCE_S)
    gallery, images, *_ = JobOutput(idle_engine).collect(job.id)
    items = gallery.constructor_args["value"]
    assert [caption for _, caption in items] == [None, None, "Grid", "Depth map"]
    assert [path.parts[-3] for path in (image.path for image in images)] == ["img2img-images"] * 2
    assert len(images) == len(list(idle_engine.paths.outputs.glob("img2img-images/*/*.png"))) == 2


def test_a_txt2img_job_has_no_depth_map(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=2))
    assert job.wait(PATIENCE_S)
    gallery, *_ = JobOutput(engine).collect(job.id)
    assert len(gallery.constructor_args["value"]) == 1
