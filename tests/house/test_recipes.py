"""The recipes of modules/README.md: add it, see it in the page, the API and the infotext."""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from PIL.Image import Resampling
from pydantic import BaseModel

from modules import infotext
from modules.api import routes
from modules.engine.engine import Engine
from modules.engine.registries import Registries, Router, Tab
from modules.models.upscaling.upscalers import UPSCALERS, Upscaler
from modules.params.field_schema import field_schema
from modules.params.image import ImageField
from modules.params.param import param, params_of, validate
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.tasks import Task
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings.sampling import SamplingSettings
from modules.params.settings.sections import SettingsSection
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES, Schedule
from modules.ui import page
from modules.ui.forms.layout import FormLayout
from modules.ui.forms.layouts import DEPTH, IMG2IMG, INPAINT, TXT2IMG
from tests.engine.fake_executor import PATIENCE_S

SMALL = Txt2ImgRequest(width=64, height=64, steps=2, seed=1)


def client_of(engine: Engine) -> TestClient:
    app = FastAPI()
    routes.add_routes(app, engine)
    return TestClient(app)


def jump(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Jump to the prediction at once."""
    return (yield x, sigmas[0])


def straight(steps: int, levels: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return sigmas on a straight line."""
    return [levels.sigma_max * (steps - i) / steps for i in range(steps + 1)]


def test_a_sampler_is_a_generator_and_a_row(engine: Engine):
    engine.samplers.add(Sampler("Jump", jump, aliases=("k_jump",)))
    assert engine.choices("samplers")[-1] == "Jump"
    assert client_of(engine).get("/sdapi/v1/samplers").json()[-1]["name"] == "Jump"
    job = engine.submit(SMALL.replace(sampler_name="k_jump"))
    assert job.wait(PATIENCE_S)
    assert "Sampler: Jump" in job.status().images[0].infotext
    assert "Jump" not in SAMPLERS.names(), "each engine has tables of its own"


def test_a_schedule_is_a_function_and_a_row(engine: Engine):
    engine.schedules.add(Schedule("Straight", straight))
    assert engine.choices("schedules")[-1] == "Straight"
    assert client_of(engine).get("/sdapi/v1/schedulers").json()[-1]["label"] == "Straight"
    job = engine.submit(SMALL.replace(scheduler="straight"))
    assert job.wait(PATIENCE_S)
    assert "Schedule type: Straight" in job.status().images[0].infotext
    assert "Straight" not in SCHEDULES.names()


def test_an_upscaler_is_a_row(engine: Engine):
    engine.registries.upscalers.add(Upscaler("Bicubic", Resampling.BICUBIC))
    client = client_of(engine)
    assert "Bicubic" in [row["name"] for row in client.get("/sdapi/v1/upscalers").json()]
    assert "Bicubic" in engine.choices("hires upscalers")
    job = engine.submit(SMALL.replace(enable_hr=True, hr_upscaler="bicubic"))
    assert job.wait(PATIENCE_S)
    assert "Hires upscaler: Bicubic" in job.status().images[0].infotext
    image = ImageField.from_pil(Image.linear_gradient("L")).to_base64()
    body = {"image": image, "upscaler_1": "Bicubic", "upscaling_resize": 1.5}
    upscaled = client.post("/sdapi/v1/extra-single-image", json=body).json()["image"]
    assert ImageField.from_base64(upscaled).to_pil().size == (384, 384)
    assert "Bicubic" not in UPSCALERS.names()


class HumSettings(BaseModel):
    """One more option."""

    hum: int = param(
        2, "Hum", help="More is louder.", infotext="Hum", ge=0, le=11, section="sampling"
    )


@pytest.fixture
def humming_registries(registries: Registries) -> Registries:
    """Add an option before there is an engine."""
    registries.settings_sections.add(SettingsSection("hum", "Humming", HumSettings))
    return registries


def test_a_setting_is_one_line(humming_registries: Registries, engine: Engine):
    client = client_of(engine)
    changed = client.post("/internal/settings", json={"changes": {"hum": 7}}).json()
    options = {one["name"]: one for section in changed["sections"] for one in section["options"]}
    keys = ("label", "help", "kind", "min", "max", "value", "default")
    assert [options["hum"][key] for key in keys] == [
        "Hum",
        "More is louder.",
        "number",
        0,
        11,
        7,
        2,
    ]
    assert client.get("/sdapi/v1/options").json()["hum"] == 7
    assert '"hum": 7' in engine.settings_path.read_text(encoding="utf-8")
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    assert "Hum: 7" in job.status().images[0].infotext


class LouderRequest(Txt2ImgRequest):
    """A request with one more parameter."""

    volume: int = param(
        3, "Volume", help="More is louder.", infotext="Volume", ge=0, le=11, slider=(0, 11, 1)
    )


def test_a_request_parameter_is_one_line(engine: Engine):
    request = validate(LouderRequest, {"volume": 7, "seed": 1})
    assert infotext.create_infotext(request, {}).endswith("Size: 512x512, Volume: 7")
    assert LouderRequest.model_json_schema()["properties"]["volume"]["maximum"] == 11
    field = field_schema(params_of(LouderRequest)["volume"], LouderRequest.model_fields["volume"])
    shown = {name: field[name] for name in ("label", "help", "kind", "min", "max", "default")}
    assert list(shown.values()) == ["Volume", "More is louder.", "slider", 0, 11, 3]
    assert list(params_of(LouderRequest))[-1] == "volume"


def test_a_tab_is_a_function_and_a_row(engine: Engine):
    def build(engine: Engine) -> None:
        gr.HTML("Loud.", elem_id="loud")

    engine.registries.tabs.add(Tab("Louder", build))
    config = page.build_page(engine).get_config_file()
    tabs = [one["props"]["label"] for one in config["components"] if one["type"] == "tabitem"]
    assert tabs[-1] == "Louder"
    assert "loud" in [one["props"].get("elem_id") for one in config["components"]]
    assert json.loads(page.page_files(engine)["page.json"])["tabs"][-1] == "Louder"


def test_a_generation_tab_is_a_layout_and_a_row(engine: Engine):
    engine.registries.tasks.add(Task("loud", LouderRequest))
    layout = FormLayout("louder", "loud", rows=(("volume",),), sections=())
    engine.registries.tabs.add(Tab("Louder", form=layout))
    form = json.loads(page.page_files(engine)["page.json"])["forms"]["louder"]
    assert (form["title"], form["task"], form["rows"]) == ("Louder", "loud", [["volume"]])
    assert form["fields"]["volume"]["label"] == "Volume"
    assert [part["title"] for part in form["sections"]] == ["More"]  # all others


def test_an_endpoint_is_a_function_in_a_router(engine: Engine):
    def shout_router(engine: Engine) -> APIRouter:
        router = APIRouter(prefix="/sdapi/v1")

        @router.get("/shout")
        def shout() -> list[str]:
            return engine.samplers.names()

        return router

    engine.registries.routers.add(Router("shout", shout_router))
    assert client_of(engine).get("/sdapi/v1/shout").json() == engine.samplers.names()


def test_a_page_offers_every_field_of_its_request(engine: Engine):
    forms = json.loads(page.page_files(engine)["page.json"])["forms"]
    fields_of_the_bar = {"sd_model_checkpoint", "sd_vae", "override_settings"}
    requests = {
        "txt2img": Txt2ImgRequest,
        "img2img": Img2ImgRequest,
        "inpaint": Img2ImgRequest,
        "depth": DepthRequest,
    }
    layouts = {layout.prefix: layout for layout in (TXT2IMG, IMG2IMG, INPAINT, DEPTH)}
    for prefix, model in requests.items():
        names = {
            name
            for name, row in params_of(model).items()
            if row.section not in layouts[prefix].left_out
        }
        assert names - forms[prefix]["fields"].keys() == fields_of_the_bar
