from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from modules.params.settings import Settings


@pytest.fixture
def schemas(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()["components"]["schemas"]


def test_a_field_is_described_with_range_default_and_help(schemas: dict[str, Any]):
    steps = schemas["Txt2ImgBody"]["properties"]["steps"]
    assert steps["default"] == 50
    assert steps["description"] == (
        "In how many steps noise becomes a picture; more take longer and refine it, though little beyond 30."
    )
    assert steps["anyOf"] == [{"type": "integer", "minimum": 1, "maximum": 1000}, {"type": "null"}]


def test_fields_that_set_options_have_the_options_range(schemas: dict[str, Any]):
    eta = schemas["Txt2ImgBody"]["properties"]["eta"]
    assert eta["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}
    assert "default" not in eta


def test_an_image_is_described_as_base64(schemas: dict[str, Any]):
    init_images = schemas["Img2ImgBody"]["properties"]["init_images"]["anyOf"][0]
    assert init_images["items"]["contentEncoding"] == "base64"
    assert schemas["Img2ImgBody"]["properties"]["mask"]["anyOf"][0]["contentEncoding"] == "base64"


def test_every_option_is_described(schemas: dict[str, Any]):
    assert set(schemas["OptionsBody"]["properties"]) == set(Settings.model_fields)


def test_unknown_fields_are_accepted(schemas: dict[str, Any]):
    assert schemas["Txt2ImgBody"]["additionalProperties"] is True
