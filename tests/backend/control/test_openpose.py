"""OpenPose's own networks against the published ones, and people of heatmaps in which they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.openpose.detector import (
    OpenPose,
    _bound,
    _box_of_face,
    _box_of_hand,
    _find_best,
)
from modules.backend.control.annotators.openpose.networks import (
    BodyNetwork,
    FaceNetwork,
    HandNetwork,
)
from modules.backend.control.annotators.openpose.people import _LIMBS, assemble_people
from modules.backend.control.preprocess import Preprocessors
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.images.preprocessors.poses import Points, Pose
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT

# A standing figure in cells of eight pixels: nose, neck, right and left arm, right and left leg, eyes, ears.
FIGURE = (
    (10, 4),
    (10, 7),
    (7, 7),
    (5, 11),
    (4, 14),
    (13, 7),
    (15, 11),
    (16, 14),
    (8, 14),
    (8, 18),
    (8, 21),
    (12, 14),
    (12, 18),
    (12, 21),
    (9, 3),
    (11, 3),
    (8, 4),
    (12, 4),
)
IMAGE = np.zeros((184, 320, 3), np.uint8)  # 184 pixels high, bodies are looked for at full size


def pixels() -> Tensor:
    return torch.from_numpy(noise(48, 64).transpose(2, 0, 1).copy())[None].float() / 256 - 0.5


def test_the_networks_have_the_published_names_and_shapes():
    with torch.device("meta"):
        networks = BodyNetwork(), HandNetwork(), FaceNetwork()
    body = {name: tuple(t.shape) for name, t in networks[0].state_dict().items()}
    assert body["conv1_1.weight"] == (64, 3, 3, 3)
    assert body["conv4_4_CPM.bias"] == (128,)
    assert body["conv5_4_CPM_L1.weight"] == (512, 128, 1, 1)
    assert body["conv5_5_CPM_L2.weight"] == (19, 512, 1, 1)
    assert body["Mconv1_stage2_L1.weight"] == (128, 185, 7, 7)
    assert body["Mconv7_stage6_L1.weight"] == (38, 128, 1, 1)
    assert len(body) == 2 * (12 + 2 * 5 + 5 * 2 * 7)
    for network, heatmaps in ((networks[1], 22), (networks[2], 71)):
        part = {name: tuple(t.shape) for name, t in network.state_dict().items()}
        assert part["conv4_4.weight"] == (512, 512, 3, 3)
        assert part["conv5_3_CPM.weight"] == (128, 512, 3, 3)
        assert part["conv6_2_CPM.weight"] == (heatmaps, 512, 1, 1)
        assert part["Mconv1_stage4.weight"] == (128, 128 + heatmaps, 7, 7)
        assert part["Mconv6_stage6.weight"] == (128, 128, 1, 1)
        assert len(part) == 2 * (16 - 1 + 2 + 5 * 7)


@torch.inference_mode()
def test_the_networks_compute_what_the_published_ones_do():
    # Expected: the PyTorch forms in controlnet_aux 0.0.10 with these weights and this image.
    fields, heatmaps = seed_weights(BodyNetwork())(pixels())
    assert fields.shape == (38, 6, 8)
    assert fields[[0, 20, 37], 2, 3].tolist() == pytest.approx(
        [0.550802, -0.122816, -0.369068], abs=1e-4
    )
    assert heatmaps[[0, 9, 18], 2, 3].tolist() == pytest.approx([0.0, 0.187931, 0.0], abs=1e-4)
    hand = seed_weights(HandNetwork())(pixels())
    assert hand[[0, 10, 21], 2, 3].tolist() == pytest.approx(
        [-0.074827, -0.114697, 0.479601], abs=1e-4
    )


def figures(*people: dict[int, tuple[int, int] | None], shift: int = 17) -> tuple[Tensor, Tensor]:
    """Return fields and heatmaps, a cell for eight pixels, of figures beside each other, with some points changed."""
    fields, heatmaps = np.zeros((38, 23, 40), np.float32), np.zeros((19, 23, 40), np.float32)
    rows, columns = np.mgrid[:23, :40]
    for number, changes in enumerate(people):
        points = dict(enumerate(FIGURE)) | changes
        seen = {point: place for point, place in points.items() if place}
        moved = {point: (x + shift * number, y) for point, (x, y) in seen.items()}
        for point, (x, y) in moved.items():
            # Not in the very middle of its cell: two pixels of the same height would both be peaks.
            spot = np.exp(-((columns - x - 0.1) ** 2 + (rows - y - 0.1) ** 2) / 2)
            heatmaps[point] = np.maximum(heatmaps[point], spot)
        for start, end, channel in _LIMBS:
            if start not in moved or end not in moved:
                continue
            first, last = np.array(moved[start], float), np.array(moved[end], float)
            length = np.linalg.norm(last - first)
            across, down = (last - first) / length
            along = (columns - first[0]) * across + (rows - first[1]) * down
            beside = np.abs((columns - first[0]) * down - (rows - first[1]) * across)
            is_on = (along >= -1) & (along <= length + 1) & (beside <= 1.5)
            fields[channel][is_on], fields[channel + 1][is_on] = across, down
    return torch.from_numpy(fields), torch.from_numpy(heatmaps)


class Finder(nn.Module):
    """A network of bodies that has always seen the same."""

    def __init__(self, maps: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.maps = maps
        self.device = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(tuple(x.shape))
        return self.maps


def expected(
    changes: dict[int, tuple[int, int] | None], number: int = 0, cell: float = 8
) -> Points:
    """Return where the points of a figure are, in pixels: in the middle of their cells."""
    points = [changes.get(point, place) for point, place in enumerate(FIGURE)]
    return tuple(
        place and ((place[0] + 17 * number + 0.5) * cell, (place[1] + 0.5) * cell)
        for place in points
    )


def distance(found: Points, wanted: Points) -> float:
    assert [place is None for place in found] == [place is None for place in wanted]
    pairs = zip(found, wanted, strict=True)
    return max(float(np.hypot(a[0] - b[0], a[1] - b[1])) for a, b in pairs if a and b)


@torch.inference_mode()
def test_a_known_skeleton_gives_its_points():
    bent = {4: (2, 8), 7: None, 15: None}  # the right hand is lifted; left hand and eye are hidden
    network = Finder(figures({}, bent))
    pose = OpenPose(network, None, None).find(IMAGE)
    assert network.seen == [(1, 3, 184, 320)]
    assert (pose.width, pose.height, len(pose.people)) == (320, 184, 2)
    first, second = sorted(pose.people, key=lambda person: person.body[0])
    assert distance(first.body, expected({})) < 2.5
    # No limb leads to the ear behind the hidden eye but the one from the shoulder, which does not begin a person.
    assert distance(second.body, expected(bent, 1)) < 2.5
    assert first.left_hand == first.face == ()
    without = OpenPose(network, None, None).find(IMAGE, with_body=False)
    assert [person.body for person in without.people] == [(), ()]


@torch.inference_mode()
def test_points_are_in_pixels_of_the_image_whatever_its_size():
    network = Finder(figures({}))
    pose = OpenPose(network, None, None).find(np.zeros((368, 640, 3), np.uint8))
    assert network.seen == [(1, 3, 184, 320)]
    assert distance(pose.people[0].body, expected({}, cell=16)) < 4.5
    OpenPose(network, None, None).find(np.zeros((128, 192, 3), np.uint8))
    assert network.seen[-1] == (1, 3, 184, 280)  # 276, filled up


def enlarge(maps: Tensor) -> np.ndarray:
    return functional.interpolate(maps[None], scale_factor=8, mode="bilinear")[0].numpy()


def test_few_points_are_no_person_and_halves_are_joined():
    nobody = {point: None for point in range(18) if point not in (1, 2, 5)}
    fields, heatmaps = (enlarge(maps) for maps in figures(nobody))
    assert assemble_people(fields, heatmaps) == []
    someone = {point: None for point in range(18) if point not in (1, 2, 5, 8)}
    assert len(assemble_people(*(enlarge(maps) for maps in figures(someone)))) == 1
    # Without a neck nothing joins the arms; shoulders lead to ears, and those by the nose to each other.
    headless = {1: None, 8: None, 9: None, 10: None, 11: None, 12: None, 13: None}
    found = assemble_people(*(enlarge(maps) for maps in figures(headless)))
    assert sum(person[3] is not None for person in found) == 1
    assert len(found) == 1
    assert found[0][6] is not None
    assert (
        assemble_people(np.zeros((38, 64, 64), np.float32), np.zeros((19, 64, 64), np.float32))
        == []
    )


def test_a_field_that_points_the_other_way_joins_nothing():
    fields, heatmaps = (enlarge(maps) for maps in figures({}))
    assert assemble_people(-fields, heatmaps) == []


def body(**points: tuple[float, float]) -> Points:
    named = {int(name[1:]): place for name, place in points.items()}
    return tuple(named.get(number) for number in range(18))


def test_a_hand_lies_beyond_its_wrist_and_keeps_inside():
    image = np.zeros((400, 600, 3), np.uint8)
    arm = body(p2=(300.0, 100.0), p3=(300.0, 200.0), p4=(400.0, 200.0))
    box = _box_of_hand(image, arm, (2, 3, 4))
    assert box == (358, 125, 150)  # 33 pixels beyond the wrist, one and a half times the forearm
    assert _box_of_hand(image, arm, (5, 6, 7)) is None
    near = body(p2=(500.0, 100.0), p3=(500.0, 200.0), p4=(590.0, 200.0))
    assert _box_of_hand(image, near, (2, 3, 4)).side == 47  # from 552.3 to the border
    tiny = body(p2=(300.0, 100.0), p3=(300.0, 110.0), p4=(308.0, 110.0))
    assert _box_of_hand(image, tiny, (2, 3, 4)) is None


def test_a_face_is_around_the_nose_as_wide_as_eyes_and_ears_say():
    image = np.zeros((400, 600, 3), np.uint8)
    assert _box_of_face(image, body(p0=(300.0, 200.0), p14=(280.0, 190.0))) == (240, 140, 120)
    wide = body(p0=(300.0, 200.0), p14=(280.0, 190.0), p17=(360.0, 200.0))
    assert _box_of_face(image, wide) == (210, 110, 180)
    assert _box_of_face(image, body(p0=(300.0, 200.0))) is None
    assert _box_of_face(image, body(p14=(300.0, 200.0))) is None
    assert _bound(image, np.array((-10.0, -20.0)), 50.0, 50.0) == (0, 0, 50)


class Spots(nn.Module):
    """A network of hands or faces that sees each point at its own place, and the last one nowhere."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2] // 8, x.shape[3] // 8
        maps = torch.zeros(self.count, rows, columns)
        for number in range(self.count - 1):
            maps[number, rows // 2, (number + 2) * columns // (self.count + 3)] = 1
        return maps


@torch.inference_mode()
def test_hands_and_faces_are_found_where_the_body_has_them():
    pose = OpenPose(Finder(figures({7: None})), Spots(22), Spots(71)).find(IMAGE)
    (person,) = pose.people
    assert person.left_hand == ()  # without its wrist
    box = _box_of_hand(IMAGE, person.body, (2, 3, 4))
    assert len(person.right_hand) == 21
    xs = [place[0] for place in person.right_hand]
    assert xs == sorted(xs)
    assert all(abs(place[1] - box.top - box.side / 2) < 4 for place in person.right_hand)
    assert box.left < xs[0] < xs[-1] < box.left + box.side
    assert (len(person.face), person.face[70]) == (71, None)
    again = Pose.from_json(pose.to_json()).people[0]
    assert distance(again.face, person.face) < 0.01
    assert pose.draw().any()


def test_of_several_spots_the_largest_one_is_the_point():
    heatmap = np.zeros((128, 128), np.float32)
    heatmap[20:30, 20:30] = 0.5
    heatmap[25, 26] = 0.7
    heatmap[80:83, 80:83] = 1
    assert _find_best(heatmap) == (26, 25)
    assert _find_best(np.zeros((128, 128), np.float32)) == (0, 0)


def test_openpose_comes_before_mediapipe_when_all_of_its_files_are_there(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    with pytest.raises(Unsupported, match=r"needs the networks of MediaPipe, pose_d") as error:
        plan_preprocessing(models, "openpose_hand")
    assert "Or put OpenPose's own, body_pose_model.pth and hand_pose_model.pth, from" in str(
        error.value.hint
    )
    for name in ("pose_detection", "pose_landmark_full"):
        (folder / f"{name}.tflite").write_bytes(b"")
    assert plan_preprocessing(models, "openpose").files[0].stem == "pose_detection"
    torch.save({"conv1_1.weight": torch.zeros(64, 3, 3, 3)}, folder / "body_pose_model.pth")
    planned = plan_preprocessing(models, "openpose")
    assert [file.stem for file in planned.files] == ["body_pose_model"]
    with pytest.raises(
        BadFile, match=r"'body_pose_model.pth' holds another network than its name says: Missing"
    ):
        Preprocessors(torch.device("cpu")).make(planned, Image.new("RGB", (64, 64)))
    with pytest.raises(
        Unsupported,
        match=r"'openpose_full' needs the files hand_pose_model.pth and facenet.pth. Put them from "
        r"huggingface.co/lllyasviel/Annotators into models/ControlNet/annotators.",
    ):
        plan_preprocessing(models, "openpose_full")
    with pytest.raises(Unsupported, match=r"'dw_openpose_full' needs the networks of MediaPipe"):
        plan_preprocessing(models, "dw_openpose_full")
