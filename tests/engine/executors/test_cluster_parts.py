"""The parts of a cluster that need no Ray: what is compared, what is sent, and which workers there are."""

from __future__ import annotations

import dataclasses
import io
import logging
import platform
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import BadFile, UserError, WebUIError
from modules.engine.executors import DeviceInfo
from modules.engine.executors.cluster.device_worker import DeviceWorker, WorkerOptions
from modules.engine.executors.cluster.program import check_program, machine_id, program_facts
from modules.engine.executors.cluster.ray_cluster import Node
from modules.engine.executors.cluster.ray_executor import (
    RayExecutor,
    RayOptions,
    place_devices,
    place_on_nodes,
)
from modules.engine.executors.cluster.wire import (
    EventMessage,
    PreviewMessage,
    Requests,
    ResultMessage,
    pack_error,
    pack_event,
    pack_work,
    unpack_error,
    unpack_preview,
)
from modules.engine.executors.local import LocalExecutor
from modules.engine.executors.worker_link import Memory, WorkerFacts
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken, Event, Output, Preview
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import ROOT

FACTS = program_facts(ROOT)
PACKAGES = dict(FACTS.packages)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": "9.9"}, "there has version 9.9 of the program, and the server "),
        ({"python": "3.9"}, "there has Python 3.9, and the server "),
        (
            {"packages": tuple((PACKAGES | {"numpy": "1.0"}).items())},
            "there has numpy 1.0, and the",
        ),
        (
            {"packages": tuple((PACKAGES | {"numpy": ""}).items())},
            f"there has no numpy, and the server numpy {PACKAGES['numpy']}, so",
        ),
        ({"source": "0"}, "there has other source files of the program than the server"),
    ],
)
def test_a_worker_of_another_program_is_refused_in_words(changes: dict[str, Any], sentence: str):
    worker = dataclasses.replace(FACTS, machine="there", **changes)
    with pytest.raises(UserError, match=sentence):
        check_program(FACTS, worker)


def test_a_worker_of_the_same_program_is_taken():
    check_program(FACTS, dataclasses.replace(FACTS, machine="there"))
    assert PACKAGES["numpy"]
    assert machine_id(ROOT) == machine_id(ROOT)
    assert machine_id(ROOT) != machine_id(ROOT / "modules")


@pytest.mark.parametrize("kind", [BadFile, UserError])
def test_an_error_keeps_its_class_and_its_sentence(kind: type[WebUIError]):
    error = unpack_error(pack_error(kind("It is broken.", "Get another one.")))
    assert type(error) is kind
    assert str(error) == "It is broken. Get another one."


def test_an_error_of_another_class_keeps_that_of_its_family():
    class Special(BadFile):
        pass

    error = unpack_error(pack_error(Special("It is broken.")))
    assert type(error) is BadFile
    assert "Internal error: ValueError: no" in str(unpack_error(pack_error(ValueError("no"))))


def test_previews_are_sent_as_jpeg_and_pictures_whole():
    picture = Image.effect_noise((64, 48), 50).convert("RGB")
    message = pack_event(Preview(picture))
    assert isinstance(message, PreviewMessage)
    assert Image.open(io.BytesIO(message.jpeg)).format == "JPEG"
    assert unpack_preview(message).image.size == (64, 48)
    output = Output("image", picture, 3)
    assert pack_event(output) == EventMessage(output)


def test_requests_travel_to_another_token():
    asked, other = CancelToken(), CancelToken()
    assert not Requests.of(asked).are_any
    asked.interrupt()
    asked.skip_batch()
    asked.watch()
    asked.want_unfinished()
    Requests.of(asked).pass_on(other)
    assert Requests.of(other) == Requests(True, True, True, True)


def test_each_device_gets_a_worker_and_its_share_of_the_processors():
    node = Node("1", "here", cpus=8, gpus=2)
    both = place_devices(RayOptions(("cpu", "cpu")), DeviceOptions(), node)
    assert [placement.name for placement, _ in both] == ["cpu 1", "cpu 2"]
    assert [(device.kind, device.threads) for _, device in both] == [("cpu", 4)] * 2
    cards = place_devices(RayOptions(("all",)), DeviceOptions(full_precision=True), node)
    assert [(p.name, d.kind, d.index) for p, d in cards] == [
        ("cuda:0", "cuda", 0),
        ("cuda:1", "cuda", 1),
    ]
    assert all(device.full_precision for _, device in cards)
    alone = place_devices(RayOptions(("all",)), DeviceOptions(), Node("1", "here", 8, 0))
    assert [(p.name, d.threads) for p, d in alone] == [("cpu", 8)]


def test_a_cluster_has_a_worker_for_each_card_or_so_many_processors():
    nodes = [Node("aaaaaaaa", "first", 8, 2), Node("bbbbbbbb", "second", 4, 0)]
    cards = place_on_nodes(RayOptions(address="auto"), DeviceOptions(), nodes)
    assert [(p.name, p.node, d.kind, d.index) for p, d in cards] == [
        ("first aaaaaa 1", "aaaaaaaa", "gpu", 0),
        ("first aaaaaa 2", "aaaaaaaa", "gpu", 0),
    ]
    options = RayOptions(address="auto", cpus_per_worker=3)
    counted = place_on_nodes(options, DeviceOptions(), nodes)
    assert [p.name for p, _ in counted] == ["first aaaaaa 1", "first aaaaaa 2", "second bbbbbb 1"]
    assert {(d.kind, d.threads) for _, d in counted} == {("cpu", 3)}
    whole = place_on_nodes(RayOptions(address="auto"), DeviceOptions(), nodes[1:])
    assert [(p.name, d.threads) for p, d in whole] == [("second bbbbbb 1", 4)]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "Ray at 127.0.0.1:1 does not answer: Connection refused"),
        (
            "nonsense",
            "'nonsense' is not the address of a Ray cluster; write it like 192.168.1.2:6379",
        ),
    ],
)
def test_an_address_that_nobody_answers_is_named(tmp_path: Path, address: str, sentence: str):
    executor = RayExecutor(RayOptions(address=address), DeviceOptions(), ROOT, tmp_path)
    told: list[str] = []
    is_told = threading.Event()

    def on_ready(info: DeviceInfo | None, failure: str) -> None:
        told.append(failure)
        is_told.set()

    executor.start(on_ready)
    assert is_told.wait(30)
    assert told == [f"{sentence}."]
    assert executor.workers() == []
    assert executor.stop(10)


def test_a_worker_says_why_its_device_cannot_be_opened(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        answer = DeviceWorker().open(WorkerOptions(DeviceOptions(kind="cuda", index=77)))
    assert "There is no device cuda:77 on " in str(unpack_error(answer))  # type: ignore[arg-type]
    assert "PyTorch finds " in str(unpack_error(answer))  # type: ignore[arg-type]
    assert caplog.records == []


def test_a_worker_makes_the_pictures_of_a_local_device(tmp_path: Path):
    folder = ROOT / "models" / "Stable-diffusion" / "demo"
    index = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", tmp_path)
    request = Txt2ImgRequest(prompt="a red circle", width=64, height=64, steps=2, n_iter=3, seed=7)
    plan = make_plan(request, index, index.find_checkpoint("demo"))
    device = DeviceOptions(kind="cpu", use_cpu=True, threads=1)
    made: list[Event] = []
    local = LocalExecutor(device, ClipTokenizer(ROOT / "configs/clip/bpe_simple_vocab_16e6.txt.gz"))
    local.start(lambda info, failure: None)
    local.submit(plan, made.append).result(100)
    worker = DeviceWorker()
    assert worker.open(WorkerOptions(device, server=machine_id(ROOT), cache_folder=tmp_path)) == (
        WorkerFacts(local.workers()[0].device, platform.node(), "", is_on_server=True)
    )
    for index_of_batch in (2, 0):
        one = dataclasses.replace(plan, batch_indices=(index_of_batch,))
        messages = [one for gathered in worker.run(1, pack_work(one)[0]) for one in gathered]
        assert messages[-1] == ResultMessage(None)
        assert any(isinstance(message, Memory) for message in messages)
        (image,) = [m.event for m in messages if isinstance(m, EventMessage) and is_image(m.event)]
        assert image == [event for event in made if is_image(event)][index_of_batch]
    broken = worker.run(2, b"no work")
    assert "UnpicklingError" in str(unpack_error(next(broken)[-1]))  # type: ignore[arg-type]
    assert local.stop(10)


def is_image(event: Event) -> bool:
    return isinstance(event, Output) and event.kind == "image"
