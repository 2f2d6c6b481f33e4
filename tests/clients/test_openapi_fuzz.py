"""Valid and invalid requests generated from the OpenAPI document: none causes a server error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modules.api.routes import add_routes
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.params.events import CancelToken, Phase, Sink
from modules.plan.plan import Plan
from tests.conftest import ROOT, builtin_registries, write_listed_checkpoint
from tests.engine.fake_executor import FakeExecutor

schemathesis = pytest.importorskip("schemathesis")

JSON = {"content-type": "application/json"}
FEW_EXAMPLES = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class ImagelessExecutor(FakeExecutor):
    """Finishes every plan at once without an image: a request may be for thousands of the largest."""

    def _draw(self, plan: Plan, sink: Sink, cancel: CancelToken) -> None:
        sink(Phase("Sampling"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Iterator[FastAPI]:
    home = tmp_path_factory.mktemp("fuzzed")
    write_listed_checkpoint(home / "models" / "Stable-diffusion" / "first.safetensors")
    (home / "configs").symlink_to(ROOT / "configs")
    executor = ImagelessExecutor()
    engine = Engine(Paths(home, home), executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    app = FastAPI(docs_url=None)
    add_routes(app, engine)
    yield app
    engine.stop()


def test_generated_requests_cause_no_server_error(app: FastAPI):
    schema = schemathesis.openapi.from_dict(app.openapi())
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 30
    for operation in operations:

        @FEW_EXAMPLES
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            body = {} if isinstance(case.body, schemathesis.core.NotSet) else {"json": case.body}
            response = client.request(case.method, case.formatted_path, params=case.query, **body)
            assert response.status_code < 500, (
                f"{case.method} {case.path} {case.body}: {response.text}"
            )

        call()


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.parametrize(
    "path",
    ["txt2img", "img2img", "extra-single-image", "extra-batch-images", "options", "png-info"],
)
def test_values_of_any_type_in_the_known_fields_cause_no_server_error(app: FastAPI, path: str):
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    body = app.openapi()["paths"][f"/sdapi/v1/{path}"]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]
    name = body.get("$ref", "/").rpartition("/")[2]
    fields = sorted(
        app.openapi()["components"]["schemas"].get(name, {}).get("properties", {"image": {}})
    )

    @settings(FEW_EXAMPLES, max_examples=50)
    @given(st.dictionaries(st.sampled_from(fields), VALUES, max_size=4))
    def call(values: dict[str, Any]) -> None:
        response = client.post(f"/sdapi/v1/{path}", content=json.dumps(values), headers=JSON)
        assert response.status_code < 500, f"{values}: {response.text}"

    call()
