"""RUNNERS: by the names of ANNOTATORS, how a network is loaded from its files and makes a control image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from modules.backend.control.annotators import (
    depth,
    depth_anything,
    leres,
    line_art,
    normal_bae,
    soft_edges,
    straight_lines,
    teed,
    zoe_depth,
)
from modules.backend.control.annotators.mediapipe import PoseFiles, PoseNetworks
from modules.backend.control.annotators.openpose.detector import OpenPose
from modules.backend.control.annotators.openpose.dwpose import DwPose, read_network
from modules.backend.control.annotators.openpose.networks import (
    BodyNetwork,
    FaceNetwork,
    HandNetwork,
)
from modules.backend.control.annotators.segments import mobile_sam, oneformer, uniformer
from modules.backend.control.annotators.weights import load_network
from modules.images.preprocessors.normals import to_depth_image, to_normals
from modules.images.preprocessors.poses import Pose
from modules.images.preprocessors.regions import Regions
from modules.images.preprocessors.sizes import Pixels
from modules.models.annotators import (
    BODY_MODEL,
    FACE_MODEL,
    FACE_POINTS,
    HAND_MODEL,
    HAND_POINTS,
    PEOPLE_MODEL,
    WHOLE_BODY_MODEL,
)
from modules.models.files.scan import ModelFile

# Any: the network that the same row loads.
Load = Callable[[Sequence[ModelFile], torch.device], Any]
Draw = Callable[[Any, Pixels, float, float], "Pixels | Pose | Regions"]


@dataclass(frozen=True)
class Runner:
    """One row of the table.

    Args:
        load: Returns the network of the files; rows with the same function share it.
        draw: Makes the control image, of a network, an image whose sides are multiples of 64, and both thresholds.
        finish: Changes the control image when what was added to the sides is cut off again.
    """

    load: Load
    draw: Draw
    finish: Callable[[Pixels], Pixels] = lambda image: image


def _load_hed(files: Sequence[ModelFile], device: torch.device) -> soft_edges.Hed:
    return load_network(soft_edges.Hed, files[0], device)


def _load_pidinet(files: Sequence[ModelFile], device: torch.device) -> soft_edges.PiDiNet:
    return load_network(soft_edges.PiDiNet, files[0], device, prefix="module.")


def _load_line_art(files: Sequence[ModelFile], device: torch.device) -> line_art.LineArtGenerator:
    return load_network(line_art.LineArtGenerator, files[0], device)


def _load_anime(files: Sequence[ModelFile], device: torch.device) -> line_art.AnimeGenerator:
    return load_network(line_art.AnimeGenerator, files[0], device, prefix="module.")


def _load_depth(files: Sequence[ModelFile], device: torch.device) -> Any:
    return depth.load_estimator(files[0], device)


def _load_depth_anything(files: Sequence[ModelFile], device: torch.device, *, version: int) -> Any:
    return depth_anything.load_estimator(files[0], device, version)


def _load_leres(files: Sequence[ModelFile], device: torch.device) -> leres.Leres:
    file, unused = files[0], leres.UNUSED
    return load_network(leres.Leres, file, device, unused=unused, rename=leres.rename_key)


def _load_zoe_depth(files: Sequence[ModelFile], device: torch.device) -> Any:
    return zoe_depth.load_estimator(files[0], device)


def _load_mlsd(files: Sequence[ModelFile], device: torch.device) -> straight_lines.Mlsd:
    return load_network(straight_lines.Mlsd, files[0], device)


def _load_teed(files: Sequence[ModelFile], device: torch.device) -> teed.Teed:
    return load_network(teed.Teed, files[0], device)


def _load_segmenter(files: Sequence[ModelFile], device: torch.device) -> uniformer.Segmenter:
    unused = ("auxiliary_head.",)
    return load_network(uniformer.Segmenter, files[0], device, unused=unused)


def _load_oneformer(files: Sequence[ModelFile], device: torch.device) -> Any:
    return oneformer.load_network(files[0], device)


def _load_mobile_sam(files: Sequence[ModelFile], device: torch.device) -> mobile_sam.MobileSam:
    file, unused = files[0], mobile_sam.UNUSED
    return load_network(
        mobile_sam.MobileSam, file, device, unused=unused, rename=mobile_sam.rename_key
    )


def _load_normal_bae(files: Sequence[ModelFile], device: torch.device) -> normal_bae.NormalBae:
    file, unused = files[0], normal_bae.UNUSED
    return load_network(
        normal_bae.NormalBae, file, device, unused=unused, rename=normal_bae.rename_key
    )


def _load_poses(
    files: Sequence[ModelFile], device: torch.device
) -> DwPose | OpenPose | PoseNetworks:
    by_name = {file.stem.casefold(): file for file in files}
    if body := by_name.get(BODY_MODEL):
        hand, face = by_name.get(HAND_MODEL), by_name.get(FACE_MODEL)
        return OpenPose(
            load_network(BodyNetwork, body, device),
            load_network(HandNetwork, hand, device) if hand else None,
            load_network(FaceNetwork, face, device) if face else None,
        )
    if detector := by_name.get(PEOPLE_MODEL):
        return DwPose(read_network(detector), read_network(by_name[WHOLE_BODY_MODEL]))
    detector, points = (file.path for file in files[:2])
    hand, face = (by_name.get(name) for name in (HAND_POINTS, FACE_POINTS))
    paths = PoseFiles(detector, points, hand and hand.path, face and face.path)
    return PoseNetworks(paths, device)


def _draw_depth(network: Any, image: Pixels, *_: float) -> Pixels:
    return to_depth_image(depth.estimate_depth(network, image))


def _draw_depth_anything(network: Any, image: Pixels, *_: float) -> Pixels:
    return to_depth_image(depth_anything.estimate_depth(network, image))


def _draw_leres(network: Any, image: Pixels, near: float, background: float) -> Pixels:
    return leres.draw_depth(leres.estimate_depth(network, image), near, background)


def _draw_zoe_depth(network: Any, image: Pixels, *_: float) -> Pixels:
    return zoe_depth.draw_depth(zoe_depth.estimate_depth(network, image))


def _draw_normals(network: Any, image: Pixels, background: float, _b: float) -> Pixels:
    return to_normals(depth.estimate_depth(network, image), background)


def _draw_normals_bae(network: Any, image: Pixels, *_: float) -> Pixels:
    return normal_bae.draw_normals(network, image)


def _draw_hed(network: Any, image: Pixels, *_: float, is_safe: bool = False) -> Pixels:
    return soft_edges.find_hed_edges(network, image, is_safe=is_safe)


def _draw_pidinet(
    network: Any, image: Pixels, *_: float, is_safe: bool = False, is_sketch: bool = False
) -> Pixels:
    return soft_edges.find_pidinet_edges(network, image, is_safe=is_safe, is_sketch=is_sketch)


def _draw_line_art(network: Any, image: Pixels, *_: float) -> Pixels:
    return line_art.draw_line_art(network, image)


def _draw_anime(network: Any, image: Pixels, *_: float) -> Pixels:
    return line_art.draw_anime_lines(network, image)


def _draw_straight_lines(network: Any, image: Pixels, score: float, length: float) -> Pixels:
    return straight_lines.draw_straight_lines(network, image, score, length)


def _draw_teed(network: Any, image: Pixels, steps: float, _b: float) -> Pixels:
    return teed.find_teed_edges(network, image, int(steps))


def _draw_anyline(network: Any, image: Pixels, steps: float, _b: float) -> Pixels:
    return teed.find_anyline_edges(network, image, int(steps))


def _draw_segments(network: Any, image: Pixels, *_: float) -> Pixels:
    return uniformer.find_segments(network, image)


def _draw_classes(network: Any, image: Pixels, *_: float, classes: oneformer.Classes) -> Pixels:
    return oneformer.find_segments(network, image, classes)


def _find_regions(network: Any, image: Pixels, *_: float) -> Regions:
    return mobile_sam.find_regions(network, image)


def _find_pose(
    network: DwPose | OpenPose | PoseNetworks, image: Pixels, *_: float, with_body: bool = True
) -> Pose:
    return network.find(image, with_body=with_body)


_POSE = Runner(_load_poses, _find_pose)
RUNNERS: Mapping[str, Runner] = {
    "depth": Runner(_load_depth, _draw_depth),
    "normal": Runner(_load_depth, _draw_normals),
    "normal_bae": Runner(_load_normal_bae, _draw_normals_bae),
    "depth_anything": Runner(partial(_load_depth_anything, version=1), _draw_depth_anything),
    "depth_anything_v2": Runner(partial(_load_depth_anything, version=2), _draw_depth_anything),
    "depth_leres": Runner(_load_leres, _draw_leres),
    "depth_zoe": Runner(_load_zoe_depth, _draw_zoe_depth),
    "hed": Runner(_load_hed, _draw_hed),
    "hed_safe": Runner(_load_hed, partial(_draw_hed, is_safe=True)),
    "scribble_hed": Runner(_load_hed, _draw_hed, soft_edges.to_scribble),
    "pidinet": Runner(_load_pidinet, _draw_pidinet),
    "pidinet_safe": Runner(_load_pidinet, partial(_draw_pidinet, is_safe=True)),
    "pidinet_sketch": Runner(_load_pidinet, partial(_draw_pidinet, is_sketch=True)),
    "scribble_pidinet": Runner(_load_pidinet, _draw_pidinet, soft_edges.to_scribble),
    "lineart": Runner(_load_line_art, _draw_line_art),
    "lineart_coarse": Runner(_load_line_art, _draw_line_art),
    "lineart_anime": Runner(_load_anime, _draw_anime),
    "teed": Runner(_load_teed, _draw_teed),
    "anyline": Runner(_load_teed, _draw_anyline),
    "mlsd": Runner(_load_mlsd, _draw_straight_lines),
    "seg_ufade20k": Runner(_load_segmenter, _draw_segments),
    "seg_ofade20k": Runner(_load_oneformer, partial(_draw_classes, classes=oneformer.OF_ADE20K)),
    "seg_ofcoco": Runner(_load_oneformer, partial(_draw_classes, classes=oneformer.OF_COCO)),
    "mobile_sam": Runner(_load_mobile_sam, _find_regions),
    "openpose": _POSE,
    "openpose_hand": _POSE,
    "openpose_face": _POSE,
    "openpose_faceonly": Runner(_load_poses, partial(_find_pose, with_body=False)),
    "openpose_full": _POSE,
    "dw_openpose_full": _POSE,
}


def to_pixels(image: Any) -> Pixels:
    """Return a Pillow image as uint8 [height, width, 3]."""
    return np.asarray(image.convert("RGB"), np.uint8)
