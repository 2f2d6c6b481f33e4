from __future__ import annotations

import io
import zipfile

import pytest
from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

URL = "/internal/gallery"
SMALL = Txt2ImgRequest(
    prompt="a cat",
    width=64,
    height=64,
    steps=4,
    seed=7,
    n_iter=2,
    override_settings={"grid_save": False},
)


@pytest.fixture
def images(client: TestClient, engine: Engine) -> list[dict]:
    """Two images that the engine has made."""
    assert engine.submit(SMALL).wait(PATIENCE_S)
    engine.gallery.refresh()
    return (
        client.get(f"{URL}/images", params={"text": "seed:7 cat"}).json()["images"]
        + (client.get(f"{URL}/images", params={"text": "seed:8"}).json()["images"])
    )


def test_generated_images_are_listed_with_their_facts(client: TestClient, images: list[dict]):
    listing = client.get(f"{URL}/images").json()
    assert (listing["total"], listing["cursor"]) == (2, "")
    assert [image["prompt"] for image in images] == ["a cat", "a cat"]
    facts = client.get(f"{URL}/images/{images[0]['id']}/facts").json()
    assert (facts["prompt"], dict(facts["pairs"])["Seed"], facts["readonly"]) == (
        "a cat",
        "7",
        False,
    )
    assert facts["file"].startswith("outputs")
    assert "Steps: 4" in facts["infotext"]
    state = client.get(f"{URL}/state").json()
    assert (state["count"], state["trashed"], state["remark"]) == (2, 0, "")
    assert client.get(f"{URL}/facets").json()["size"] == [["64x64", 2]]


def test_image_thumbnail_and_download_are_files(client: TestClient, images: list[dict]):
    url = f"{URL}/images/{images[0]['id']}"
    assert client.get(url).content.startswith(b"\x89PNG")
    assert client.get(f"{url}/thumbnail").headers["content-type"] == "image/jpeg"
    download = client.get(url, params={"download": True})
    assert images[0]["name"] in download.headers["content-disposition"]


def test_favourites_and_trash_and_its_undo(client: TestClient, images: list[dict]):
    ids = [image["id"] for image in images]
    client.post(f"{URL}/favourite", json={"ids": ids[:1], "on": True})
    listing = client.get(f"{URL}/images", params={"favourites": True}).json()["images"]
    assert [image["id"] for image in listing] == ids[:1]
    trashed = client.post(f"{URL}/trash", json={"ids": ids}).json()["ids"]
    assert client.get(f"{URL}/images").json()["total"] == 0
    assert client.get(f"{URL}/images", params={"trashed": True}).json()["total"] == 2
    assert client.post(f"{URL}/restore", json={"ids": trashed}).json()["ids"] == ids
    assert client.get(f"{URL}/images").json()["total"] == 2
    trashed = client.post(f"{URL}/trash", json={"ids": ids}).json()["ids"]
    assert client.post(f"{URL}/erase", json={"ids": trashed[:1]}).json() == {"count": 1}
    assert client.post(f"{URL}/empty-trash").json() == {"count": 1}
    assert client.get(f"{URL}/state").json()["trashed"] == 0


def test_the_archive_holds_the_files_as_they_are(client: TestClient, images: list[dict]):
    ids = [image["id"] for image in images]
    ticket = client.post(f"{URL}/zip", json={"ids": [*ids, ids[0]]}).json()["ticket"]
    answer = client.get(f"{URL}/zip/{ticket}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == len(set(archive.namelist())) == 3
        assert archive.read(images[0]["name"]) == client.get(f"{URL}/images/{ids[0]}").content
    assert client.get(f"{URL}/zip/{ticket}").status_code == 404


@pytest.mark.parametrize("image_id", ["nothing", "..%2F..%2Fetc%2Fpasswd", "%00"])
def test_an_unknown_id_is_answered_in_a_sentence(client: TestClient, image_id: str):
    for path in ("", "/thumbnail", "/facts"):
        answer = client.get(f"{URL}/images/{image_id}{path}")
        assert answer.status_code == 404
    answer = client.post(f"{URL}/trash", json={"ids": [image_id]})
    assert answer.status_code == 404
    assert "no such picture" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"since": "yesterday"}, 422),
        ({"text": "date:99999999999"}, 422),
        ({"limit": 0}, 422),
        ({"cursor": "x.y"}, 200),
        ({"cursor": "9" * 40}, 200),
        ({"text": "\ud800".encode("utf-16", "surrogatepass").hex()}, 200),
        ({"text": "'; DROP TABLE images; --"}, 200),
        ({"text": "model:"}, 200),
    ],
)
def test_an_odd_search_is_refused_or_finds_nothing(
    client: TestClient, images: list[dict], query: dict, status: int
):
    assert client.get(f"{URL}/images", params=query).status_code == status
    assert client.get(f"{URL}/images").json()["total"] == 2
