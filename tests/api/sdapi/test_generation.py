from __future__ import annotations

import base64
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.sdapi.requests.parsing import parse_request
from modules.core.errors import NotFound, OutOfMemory, UserError
from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.styles import Style
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

URL = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 3, "seed": 5}
# What webuiapi 0.9.17 sends with every call.
WEBUIAPI = {
    "enable_hr": False,
    "hr_scale": 2,
    "hr_upscaler": "Latent",
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "denoising_strength": 0.7,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "prompt": "a cat",
    "styles": [],
    "seed": 5,
    "subseed": -1,
    "subseed_strength": 0.0,
    "seed_resize_from_h": 0,
    "seed_resize_from_w": 0,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 3,
    "cfg_scale": 7.0,
    "width": 64,
    "height": 64,
    "restore_faces": False,
    "tiling": False,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "negative_prompt": "",
    "eta": 1.0,
    "s_churn": 0,
    "s_tmax": 0,
    "s_tmin": 0,
    "s_noise": 1,
    "override_settings": {},
    "override_settings_restore_afterwards": True,
    "sampler_name": "Euler a",
    "scheduler": "automatic",
    "sampler_index": "Euler a",
    "script_name": None,
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
}


def post(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post(URL, json={**SMALL, **body})
    assert response.status_code == 200, response.text
    return response.json()


def test_images_are_returned_as_base64_png_with_infotext(client: TestClient):
    answer = post(client, batch_size=2)
    assert len(answer["images"]) == 2
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
        assert image.info["parameters"].startswith("a cat\nSteps: 3, Sampler: Euler,")


def test_info_is_a_json_string_with_a1111s_keys(client: TestClient):
    info = json.loads(post(client, batch_size=2, negative_prompt="dog")["info"])
    assert info["seed"] == 5
    assert info["all_seeds"] == [5, 6]
    assert info["all_prompts"] == ["a cat", "a cat"]
    assert info["all_negative_prompts"] == ["dog", "dog"]
    assert info["index_of_first_image"] == 0
    assert len(info["infotexts"]) == 2
    assert (info["width"], info["height"], info["steps"], info["cfg_scale"]) == (64, 64, 3, 7)
    assert info["sampler_name"] == "Euler"


def test_the_request_is_echoed(client: TestClient):
    assert post(client, styles=[])["parameters"] == {**SMALL, "styles": []}


def test_missing_fields_get_the_defaults_of_the_api():
    request, warnings = parse_request({}, Txt2ImgRequest)
    assert (request.steps, request.sampler_name, request.cfg_scale, request.seed) == (
        50,
        "Euler",
        7,
        -1,
    )
    assert warnings == []


@pytest.mark.parametrize(
    ("body", "sampler"),
    [
        ({"sampler_index": "DDIM"}, "DDIM"),
        ({"sampler_name": "Euler a", "sampler_index": "DDIM"}, "Euler a"),
        ({"sampler_name": None, "sampler_index": "DDIM"}, "DDIM"),
        ({"sampler_name": "", "sampler_index": "DDIM"}, "DDIM"),
        ({"sampler_name": ""}, "Euler"),
        ({"sampler_index": ""}, "Euler"),
    ],
)
def test_sampler_name_has_priority_over_sampler_index(body: dict[str, Any], sampler: str):
    assert parse_request(body, Txt2ImgRequest)[0].sampler_name == sampler


def test_nulls_mean_the_default(client: TestClient):
    nulls = dict.fromkeys(
        ("negative_prompt", "scheduler", "sampler_name", "styles", "eta", "script_name")
    )
    answer = post(client, **nulls)
    assert answer["warnings"] == []


def test_a_field_without_effect_is_named_in_a_warning(client: TestClient):
    answer = post(client, firstpass_image="x", comments="y", styles=[], script_name="")
    assert answer["warnings"] == [
        "The field 'comments' has no effect in this version.",
        "The field 'firstpass_image' has no effect in this version.",
    ]


@pytest.mark.parametrize("name", ["None", "string", "", "oils"])
def test_a_style_that_does_not_exist_is_left_out_with_a_warning(
    client: TestClient, engine: Engine, name: str
):
    engine.styles.save(Style("oil", "oil painting", ""))
    answer = post(client, styles=[name, "oil", name])
    assert json.loads(answer["info"])["prompt"] == "a cat, oil painting"
    assert len(answer["warnings"]) == 1
    assert answer["warnings"][0].startswith(f"There is no style named '{name}'; it is left out.")


def test_styles_that_are_no_list_of_names_are_refused(client: TestClient):
    for styles in ("oil", [1], [None], {"a": 1}):
        assert client.post(URL, json={**SMALL, "styles": styles}).status_code == 422


def test_the_body_of_webuiapi_is_accepted(client: TestClient):
    answer = post(client, **WEBUIAPI)
    info = json.loads(answer["info"])
    assert not any("sampler_index" in warning for warning in answer["warnings"])
    assert info["sampler_name"] == "Euler a"
    assert info["all_seeds"] == [5]


def test_numbers_as_floats_strings_and_bools_are_accepted():
    request, _ = parse_request({"steps": 20.0, "width": "512", "batch_size": True}, Txt2ImgRequest)
    assert (request.steps, request.width, request.batch_size) == (20, 512, 1)


@pytest.mark.parametrize(
    ("width", "height", "size", "warning"),
    [
        (100, "100", (96, 96), "100x100"),
        ("100", 64, (96, 64), "100x64"),
        (100.5, 64.0, (96, 64), "100.5x64.0"),
        ("100.5", 71, (96, 64), "100.5x71"),
        (" 72 ", "64.0", (72, 64), ""),
        (8191, 64, (8184, 64), "8191x64"),
    ],
)
def test_a_side_is_rounded_down_to_a_multiple_of_8_with_a_warning(
    width: Any, height: Any, size: tuple[int, int], warning: str
):
    request, warnings = parse_request({"width": width, "height": height}, Txt2ImgRequest)
    assert (request.width, request.height) == size
    sentence = f"{warning} is rounded to {size[0]}x{size[1]}: sides are multiples of 8."
    assert warnings == ([sentence] if warning else [])


def test_one_odd_side_is_rounded_beside_the_default_of_the_other():
    request, warnings = parse_request({"height": 333}, Txt2ImgRequest)
    assert (request.width, request.height) == (512, 328)
    assert warnings == ["512x333 is rounded to 512x328: sides are multiples of 8."]


def test_the_size_of_an_infotext_is_rounded_with_the_same_warning(client: TestClient):
    text = "a dog\nSteps: 3, Sampler: Euler, Seed: 5, Size: 100x71"
    answer = client.post(URL, json={"infotext": text}).json()
    assert (json.loads(answer["info"])["width"], json.loads(answer["info"])["height"]) == (96, 64)
    assert answer["warnings"] == ["100x71 is rounded to 96x64: sides are multiples of 8."]


def test_override_settings_select_the_checkpoint(client: TestClient, engine: Engine):
    answer = post(client, override_settings={"sd_model_checkpoint": "second"})
    assert "Model: second" in json.loads(answer["info"])["infotexts"][0]
    assert engine.find_checkpoint().model_name == "first"


@pytest.mark.parametrize("overrides", [[], {}, {"sd_model_checkpoint": None}])
def test_empty_override_settings_change_nothing(client: TestClient, overrides: Any):
    assert len(post(client, override_settings=overrides)["images"]) == 1


@pytest.mark.parametrize("overrides", ["words", 3])
def test_override_settings_that_are_not_an_object_are_refused(client: TestClient, overrides: Any):
    response = client.post(URL, json={**SMALL, "override_settings": overrides})
    assert response.status_code == 422
    assert response.json()["detail"] == f"override_settings is {overrides!r}; an object is needed."


@pytest.mark.parametrize(
    ("body", "status", "error", "detail"),
    [
        ({"steps": 0}, 422, "UserError", "Sampling steps is 0; the smallest valid value is 1."),
        ({"width": 60}, 422, "UserError", "Width is 60; the smallest valid value is 64."),
        ({"width": "60"}, 422, "UserError", "Width is '60'; the smallest valid value is 64."),
        ({"height": 1e9}, 422, "UserError", "Height is 1000000000.0; the largest valid value is"),
        ({"steps": "1.5"}, 422, "UserError", "Sampling steps is '1.5'; a whole number is needed."),
        ({"width": "big"}, 422, "UserError", "Width is 'big'; a number is needed."),
        ({"cfg_scale": "x"}, 422, "UserError", "CFG Scale is 'x'; a number is needed."),
        ({"prompt": ["a"]}, 422, "UserError", "Prompt is ['a']; input should be a valid string."),
        ({"sampler_name": "Eulr"}, 404, "NotFound", "There is no sampler named 'Eulr'."),
        ({"scheduler": "fast"}, 404, "NotFound", "There is no schedule type named 'fast'."),
        ({"sd_model_checkpoint": "x"}, 404, "NotFound", "There is no checkpoint named 'x'."),
    ],
)
def test_an_invalid_request_is_answered_in_a1111s_format(
    client: TestClient, body: dict[str, Any], status: int, error: str, detail: str
):
    response = client.post(URL, json={**SMALL, **body})
    answer = response.json()
    assert response.status_code == status
    assert set(answer) == {"error", "detail", "body", "errors"}
    assert answer["error"] == error
    assert answer["detail"].startswith(detail)


def test_a_body_that_is_not_an_object_is_refused(client: TestClient):
    assert client.post(URL, json=[1, 2]).status_code == 422
    assert client.post(URL, content=b"{").status_code == 422


def test_a_lone_surrogate_is_refused(client: TestClient):
    response = client.post(
        URL, content=b'{"prompt": "\\ud83d"}', headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["detail"] == "Prompt contains half a character; type it again."


def test_a_failed_job_answers_with_its_own_error(client: TestClient, executor: FakeExecutor):
    executor.failures = [OutOfMemory("Too little memory.", "Use a smaller size.")]
    response = client.post(URL, json=SMALL)
    assert (response.status_code, response.json()["error"]) == (507, "OutOfMemory")
    assert response.json()["detail"] == "Too little memory. Use a smaller size."
    assert client.post(URL, json=SMALL).status_code == 200


def test_an_interrupted_job_returns_the_images_it_has(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(post(client, n_iter=2)))
    caller.start()
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt()
    executor.release()
    caller.join(PATIENCE_S)
    assert len(answers[0]["images"]) == 1
    assert json.loads(answers[0]["info"])["all_seeds"] == [5]


def stop_first_image(
    client: TestClient, executor: FakeExecutor, route: str, **body: Any
) -> dict[str, Any]:
    executor.hold_at(2)
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(post(client, **body)))
    caller.start()
    assert executor.held.wait(PATIENCE_S)
    assert client.post(f"/sdapi/v1/{route}").status_code == 200
    executor.release()
    caller.join(PATIENCE_S)
    return answers[0]


@pytest.mark.parametrize("route", ["interrupt", "skip"])
def test_a_job_stopped_before_its_first_image_returns_the_unfinished_one(
    client: TestClient, executor: FakeExecutor, engine: Engine, route: str
):
    answer = stop_first_image(client, executor, route, save_images=True)
    assert len(answer["images"]) == 1
    info = json.loads(answer["info"])
    assert (info["all_seeds"], len(info["infotexts"]), info["seed"]) == ([5], 1, 5)
    assert any("unfinished" in warning for warning in answer["warnings"])
    assert list(engine.paths.outputs.rglob("*.png")) == []
    assert engine.jobs()[-1].status().images == ()


def test_an_unfinished_image_is_saved_if_the_settings_say_so(
    client: TestClient, executor: FakeExecutor, engine: Engine
):
    client.post("/sdapi/v1/options", json={"save_incomplete_images": True})
    stop_first_image(client, executor, "interrupt", save_images=True)
    assert len(list(engine.paths.outputs.rglob("*.png"))) == 1
    stop_first_image(client, executor, "interrupt")
    assert len(list(engine.paths.outputs.rglob("*.png"))) == 1


def test_a_note_of_the_job_is_a_warning(client: TestClient, engine: Engine):
    engine.paths.outputs.write_text("a file where the folder should be")
    answer = post(client, save_images=True)
    assert len(answer["images"]) == 1
    assert "could not be saved" in answer["warnings"][0]


def test_an_invalid_value_raises_before_a_job_is_queued():
    with pytest.raises(UserError, match="Batch size is 0"):
        parse_request({"batch_size": 0}, Txt2ImgRequest)


def test_a_refused_request_leaves_no_job_in_the_engine(client: TestClient, engine: Engine):
    client.post(URL, json={**SMALL, "sampler_name": "Eulr"})
    assert engine.jobs() == []
    with pytest.raises(NotFound):
        engine.job("x")


def test_many_waiting_callers_do_not_block_the_other_routes(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(1)
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(post, client) for _ in range(50)]
        assert executor.held.wait(PATIENCE_S)
        progress = ThreadPoolExecutor(1).submit(client.get, "/sdapi/v1/progress")
        done = wait([progress], timeout=PATIENCE_S).done
        executor.release()
    assert done, "progress was not answered while fifty callers waited"
    assert all(len(answer.result()["images"]) == 1 for answer in answers)


def test_an_override_that_has_no_effect_is_named_in_the_warnings(client: TestClient):
    answer = client.post(URL, json={**SMALL, "override_settings": {"hide_samplers": 2}}).json()
    assert answer["warnings"] == ["The field 'hide_samplers' has no effect in this version."]


@pytest.mark.parametrize("value", [2, 2.0])
def test_clip_skip_can_be_set_for_one_request(client: TestClient, engine: Engine, value: float):
    first = post(client, override_settings={"CLIP_stop_at_last_layers": value})
    second = post(client)
    assert first["warnings"] == []
    assert "Clip skip: 2" in json.loads(first["info"])["infotexts"][0]
    assert "Clip skip" not in json.loads(second["info"])["infotexts"][0]
    assert engine.settings.CLIP_stop_at_last_layers == 1


@pytest.mark.parametrize(
    ("value", "bound"), [(0, "smallest valid value is 1"), (13, "largest valid value is 12")]
)
def test_a_clip_skip_out_of_range_is_refused(client: TestClient, value: int, bound: str):
    body = {**SMALL, "override_settings": {"CLIP_stop_at_last_layers": value}}
    response = client.post(URL, json=body)
    assert response.status_code == 422
    assert response.json()["detail"] == f"Override settings: Clip skip is {value}; the {bound}."


def test_nan_in_a_request_is_refused_before_generation(client: TestClient):
    response = client.post(
        URL, content=b'{"eta": NaN}', headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert (
        response.json()["detail"]
        == "The request contains NaN or Infinity, which JSON does not allow."
    )


def test_an_older_sampler_name_includes_its_schedule(client: TestClient):
    answer = client.post(
        URL, json={**SMALL, "sampler_name": "DPM++ SDE Karras", "scheduler": "automatic"}
    ).json()
    assert "Sampler: DPM++ SDE, Schedule type: Karras" in json.loads(answer["info"])["infotexts"][0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sampler_name": "DPM++ 2N"},
            "There is no sampler named 'DPM++ 2N'. Did you mean 'DPM++ 2M'",
        ),
        ({"scheduler": "karas"}, "There is no schedule type named 'karas'. Did you mean 'Karras'?"),
    ],
)
def test_an_unknown_sampler_or_schedule_is_refused_with_similar_names(
    client: TestClient, fields: dict, message: str
):
    response = client.post(URL, json={**SMALL, **fields})
    assert response.status_code == 404
    assert message in response.json()["detail"]


def test_hires_fix_without_denoising_succeeds(client: TestClient, engine: Engine):
    answer = post(
        client, enable_hr=True, denoising_strength=0, seed_resize_from_h=-1, seed_resize_from_w=-1
    )
    assert len(answer["images"]) == 1
    assert engine.jobs()[-1].plan.hires is not None


def test_the_older_fields_of_hires_fix_are_the_size_of_the_first_pass():
    body = {
        "enable_hr": True,
        "width": 1024,
        "height": 768,
        "firstphase_width": 512,
        "firstphase_height": 384,
    }
    request, warnings = parse_request(body, Txt2ImgRequest)
    assert (request.width, request.height, request.hr_resize_x, request.hr_resize_y) == (
        512,
        384,
        1024,
        768,
    )
    assert warnings == []


def test_older_fields_of_hires_fix_with_zeros_have_no_effect():
    request, warnings = parse_request(
        {"firstphase_width": 0, "firstphase_height": 0}, Txt2ImgRequest
    )
    assert (request.width, request.hr_resize_x, warnings) == (512, 0, [])


def test_info_has_the_seeds_of_variations(client: TestClient):
    answer = post(client, seed=5, subseed=9, subseed_strength=0.5, batch_size=2)
    info = json.loads(answer["info"])
    assert (info["all_seeds"], info["all_subseeds"]) == ([5, 5], [9, 10])
    assert (info["subseed"], info["subseed_strength"]) == (9, 0.5)
