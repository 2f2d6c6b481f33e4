"""Rows of PREPROCESSORS whose control image takes a network: depth, edges, line art, poses and segments.

Their `annotator` names a row of ANNOTATORS (`models/annotators`), which lists the files, and a function of the backend.
"""

from __future__ import annotations

from dataclasses import replace

from modules.images.preprocessors.row import RESOLUTION, Preprocessor, Slider

_REMOVE_NEAR = Slider("Remove Near %", 0, 0, 100, 0.1)
_REMOVE_BACKGROUND = Slider("Remove Background %", 0, 0, 100, 0.1)
_SAFE_STEPS = Slider("Safe Steps", 2, 0, 10, 1)
_WHOLE_BODY_NETWORKS = "by MediaPipe, or by DWPose"
_POSE_NETWORKS = "by MediaPipe, or by OpenPose"
_SOFT_EDGE = ("SoftEdge",)
_SCRIBBLE = ("Scribble", "SparseCtrl")


def unavailable(
    name: str,
    control_types: tuple[str, ...],
    instead: str,
    *,
    key: str = "",
    resolution: Slider | None = None,
    a: Slider | None = None,
    b: Slider | None = None,
) -> Preprocessor:
    """Return the row of a preprocessor that this version cannot run.

    Args:
        name: Of the row.
        control_types: Likewise.
        instead: A sentence that says what to use.
        key: Of the row, as the others.
        resolution: Likewise.
        a: Likewise.
        b: Likewise.
    """
    return Preprocessor(
        name,
        control_types,
        key,
        resolution=resolution,
        a=a,
        b=b,
        unavailable=f"This version cannot run the preprocessor '{name}'. {instead}",
    )


def _network(
    name: str,
    control_types: tuple[str, ...],
    key: str,
    annotator: str,
    priority: int = 0,
    note: str = "",
) -> Preprocessor:
    """Return a row without thresholds whose key in the API is its annotator's, unless another one is named."""
    return Preprocessor(
        name,
        control_types,
        key,
        annotator=annotator,
        resolution=RESOLUTION,
        priority=priority,
        note=note,
    )


_DEPTH = (
    Preprocessor(
        "depth_midas",
        ("Depth",),
        "depth",
        annotator="depth",
        resolution=RESOLUTION,
        priority=100,
    ),
    Preprocessor(
        "normal_midas",
        ("NormalMap",),
        "normal_map",
        annotator="normal",
        resolution=RESOLUTION,
        a=Slider("Normal Background Threshold", 0.4, 0.0, 1.0, 0.01),
    ),
    replace(
        _network("depth_leres", ("Depth",), "", "depth_leres"),
        a=_REMOVE_NEAR,
        b=_REMOVE_BACKGROUND,
    ),
    _network("normal_bae", ("NormalMap",), "", "normal_bae", 100),
    *(
        _network(name, ("Depth",), "", name)
        for name in ("depth_anything", "depth_anything_v2", "depth_zoe")
    ),
)

_EDGES = (
    _network("softedge_hed", _SOFT_EDGE, "hed", "hed"),
    _network("softedge_hedsafe", _SOFT_EDGE, "hed_safe", "hed_safe"),
    _network("softedge_pidinet", _SOFT_EDGE, "pidinet", "pidinet", 100),
    _network("softedge_pidisafe", _SOFT_EDGE, "pidinet_safe", "pidinet_safe"),
    _network("scribble_hed", _SCRIBBLE, "", "scribble_hed"),
    _network("scribble_pidinet", _SCRIBBLE, "pidinet_scribble", "scribble_pidinet", 100),
    _network("t2ia_sketch_pidi", ("T2I-Adapter",), "pidinet_sketch", "pidinet_sketch"),
    _network("lineart_realistic", ("Lineart",), "lineart", "lineart"),
    _network("lineart_coarse", ("Lineart",), "", "lineart_coarse"),
    _network("lineart_anime", ("Lineart",), "", "lineart_anime"),
    replace(_network("softedge_teed", _SOFT_EDGE, "te_hed", "teed"), a=_SAFE_STEPS),
    Preprocessor(
        "softedge_anyline",
        _SOFT_EDGE,
        annotator="anyline",
        resolution=Slider("Resolution", 1280, 64, 2048, 8),
        a=_SAFE_STEPS,
    ),
)

_POSES = (
    *(
        _network(name, ("OpenPose",), "", name, priority, _POSE_NETWORKS)
        for name, priority in (
            ("openpose", 0),
            ("openpose_hand", 0),
            ("openpose_face", 0),
            ("openpose_faceonly", 0),
            ("openpose_full", 100),
        )
    ),
    _network("dw_openpose_full", ("OpenPose",), "", "dw_openpose_full", 0, _WHOLE_BODY_NETWORKS),
    *(
        unavailable(name, ("OpenPose",), "Use openpose_full.", key=key, resolution=RESOLUTION)
        for name, key in (
            ("animal_openpose", ""),
            ("densepose (pruple bg & purple torso)", "densepose"),
            ("densepose_parula (black bg & blue torso)", "densepose_parula"),
        )
    ),
    unavailable(
        "mediapipe_face",
        (),
        "Use openpose_faceonly.",
        resolution=RESOLUTION,
        a=Slider("Max Faces", 1, 1, 10, 1),
        b=Slider("Min Face Confidence", 0.5, 0.01, 1.0, 0.01),
    ),
)

_UNAVAILABLE_DEPTH = (
    unavailable("depth_hand_refiner", ("Depth",), "Use depth_midas.", resolution=RESOLUTION),
    unavailable(
        "depth_leres++",
        ("Depth",),
        "Use depth_leres.",
        resolution=RESOLUTION,
        a=_REMOVE_NEAR,
        b=_REMOVE_BACKGROUND,
    ),
    unavailable(
        "normal_dsine",
        ("NormalMap",),
        "Use normal_midas.",
        resolution=RESOLUTION,
        a=Slider("Fov", 60, 0, 360, 0.1),
        b=Slider("Iterations", 5, 1, 20, 1),
    ),
)

_UNAVAILABLE_LINES = (
    unavailable(
        "lineart_anime_denoise", ("Lineart",), "Use lineart_standard.", resolution=RESOLUTION
    ),
)

_SEGMENTS = (
    _network("seg_ofade20k", ("Segmentation",), "oneformer_ade20k", "seg_ofade20k", 100),
    _network("seg_ofcoco", ("Segmentation",), "oneformer_coco", "seg_ofcoco"),
    _network("seg_ufade20k", ("Segmentation",), "segmentation", "seg_ufade20k"),
    _network("mobile_sam", ("Segmentation",), "", "mobile_sam"),
    unavailable(
        "seg_anime_face",
        ("Segmentation",),
        "Use seg_ufade20k, or paint the segments yourself, and use the module none.",
        key="anime_face_segment",
        resolution=RESOLUTION,
    ),
)

NETWORK_ROWS: tuple[Preprocessor, ...] = (
    *_DEPTH,
    *_EDGES,
    *_POSES,
    *_SEGMENTS,
    *_UNAVAILABLE_DEPTH,
    *_UNAVAILABLE_LINES,
)
