"""PREPROCESSORS: every module name of sd-webui-controlnet, one row each, with its sliders and control types.

Facts are those of its version 1.1.455.
"""

from __future__ import annotations

from modules.core.registry import Registry
from modules.images.preprocessors import colours, lines
from modules.images.preprocessors.network_rows import NETWORK_ROWS, unavailable
from modules.images.preprocessors.row import RESOLUTION, Preprocessor, Slider

_GAMMA = Slider("Gamma Correction", 1.0, 0.1, 2.0, 0.001)
_FIDELITY = Slider("Style Fidelity (only for Balanced mode)", 0.5, 0.0, 1.0, 0.01)
_VARIATION = Slider("Variation", 8.0, 3.0, 32.0, 1.0)
_NOISE = Slider("Noise Augmentation", 0.0, 0.0, 1.0, 0.01)

_SCRIBBLE = ("Scribble", "SparseCtrl")
_TILE = ("Tile",)


_PLAIN = (
    Preprocessor("none", ("InstructP2P",), compute=colours.keep, priority=10),
    Preprocessor(
        "invert (from white bg & black line)",
        ("Canny", "Lineart", "Scribble", "MLSD"),
        "invert",
        compute=lines.invert,
        priority=20,
    ),
    Preprocessor(
        "canny",
        ("Canny",),
        compute=lines.find_canny,
        resolution=RESOLUTION,
        a=Slider("Low Threshold", 100, 1, 255),
        b=Slider("High Threshold", 200, 1, 255),
        priority=100,
    ),
    Preprocessor(
        "scribble_xdog",
        _SCRIBBLE,
        compute=lines.draw_xdog,
        resolution=RESOLUTION,
        a=Slider("XDoG Threshold", 32, 1, 64),
    ),
    Preprocessor(
        "threshold",
        compute=lines.apply_threshold,
        resolution=RESOLUTION,
        a=Slider("Binarization Threshold", 127, 0, 255),
    ),
    Preprocessor(
        "lineart_standard (from white bg & black line)",
        ("Lineart",),
        "lineart_standard",
        compute=lines.draw_line_art,
        resolution=RESOLUTION,
        priority=100,
    ),
    Preprocessor(
        "mlsd",
        ("MLSD",),
        compute=lines.draw_straight_lines,
        annotator="mlsd",
        resolution=RESOLUTION,
        a=Slider("MLSD Value Threshold", 0.1, 0.01, 2.0, 0.01),
        b=Slider("MLSD Distance Threshold", 0.1, 0.01, 20.0, 0.01),
        priority=100,
        note="lines by OpenCV, or by M-LSD",
    ),
    Preprocessor(
        "tile_resample",
        _TILE,
        compute=colours.resample_tile,
        a=Slider("Down Sampling Rate", 1.0, 1.0, 8.0, 0.01),
        priority=100,
    ),
    Preprocessor("tile_colorfix", _TILE, compute=colours.keep, a=_VARIATION),
    Preprocessor(
        "tile_colorfix+sharp",
        _TILE,
        compute=colours.keep,
        a=_VARIATION,
        b=Slider("Sharpness", 1.0, 0.0, 2.0, 0.01),
    ),
    Preprocessor(
        "blur_gaussian",
        _TILE,
        compute=colours.blur,
        resolution=RESOLUTION,
        a=Slider("Sigma", 9.0, 0.01, 64.0, 0.01),
    ),
    Preprocessor(
        "recolor_luminance", ("Recolor",), compute=colours.take_luminance, a=_GAMMA, priority=100
    ),
    Preprocessor("recolor_intensity", ("Recolor",), compute=colours.take_intensity, a=_GAMMA),
    Preprocessor("shuffle", ("Shuffle",), compute=colours.shuffle, priority=100),
    Preprocessor(
        "t2ia_color_grid",
        ("T2I-Adapter",),
        "color",
        compute=colours.make_colour_grid,
        resolution=RESOLUTION,
    ),
)

_REFERENCE = tuple(
    Preprocessor(
        name,
        ("Reference",),
        a=_FIDELITY,
        priority=100 if name == "reference_only" else 0,
        needs_model=False,
    )
    for name in ("reference_only", "reference_adain", "reference_adain+attn")
)

_INPAINT = (
    Preprocessor("inpaint_only", ("Inpaint",), priority=100, needs_mask=True),
    Preprocessor("inpaint_only+lama", ("Inpaint",), needs_mask=True),
    Preprocessor("inpaint_global_harmonious", ("Inpaint",), "inpaint", needs_mask=True),
)

_IMAGE_PROMPTS = (
    Preprocessor("ip-adapter-auto", ("IP-Adapter",), priority=1000),
    Preprocessor(
        "ip-adapter_clip_h",
        ("IP-Adapter",),
        "ip-adapter_clip_sd15",
        priority=100,
        more_aliases=("CLIP-ViT-H (IPAdapter)",),
    ),
    Preprocessor(
        "ip-adapter_clip_g",
        ("IP-Adapter",),
        "ip-adapter_clip_sdxl",
        more_aliases=("CLIP-ViT-bigG (IPAdapter)",),
    ),
    Preprocessor("ip-adapter_clip_sdxl_plus_vith", ("IP-Adapter",)),
    unavailable(
        "ip-adapter_face_id", ("IP-Adapter",), "Use an IP-Adapter that is not a FaceID one."
    ),
    unavailable(
        "ip-adapter_face_id_plus", ("IP-Adapter",), "Use an IP-Adapter that is not a FaceID one."
    ),
    unavailable("ip-adapter_pulid", ("IP-Adapter",), "Use an IP-Adapter."),
    unavailable("instant_id_face_embedding", ("Instant-ID",), "Use an IP-Adapter."),
    unavailable("instant_id_face_keypoints", ("Instant-ID",), "Use an IP-Adapter."),
    Preprocessor("revision_clipvision", ("Revision",), a=_NOISE, priority=100, needs_model=False),
    Preprocessor("revision_ignore_prompt", ("Revision",), a=_NOISE, needs_model=False),
    Preprocessor("t2ia_style_clipvision", ("T2I-Adapter",), "clip_vision"),
    unavailable("facexlib", (), "Use openpose_faceonly."),
)

PREPROCESSORS: Registry[Preprocessor] = Registry(
    "preprocessor",
    (
        *_PLAIN,
        *NETWORK_ROWS,
        *_REFERENCE,
        *_INPAINT,
        *_IMAGE_PROMPTS,
    ),
)


def list_preprocessors(control_type: str = "All") -> list[Preprocessor]:
    """Return the rows of a control type as sd-webui-controlnet lists them: none first, then by priority, then backwards.

    Args:
        control_type: One of `control_types`, or All.
    """
    none, *others = PREPROCESSORS
    if control_type != "All":
        others = [row for row in others if control_type in row.control_types]
    return [none, *sorted(others, key=lambda row: f"{row.priority:08}{row.name}", reverse=True)]


def control_types() -> list[str]:
    """Return the control types: All, then the others in order."""
    return ["All", *sorted({name for row in PREPROCESSORS for name in row.control_types})]


def default_preprocessor(control_type: str) -> Preprocessor:
    """Return the row that a control type begins with: the first one that this version can use, else none."""
    rows = list_preprocessors(control_type)
    if control_type == "All":
        return rows[0]
    return next((row for row in rows[1:] if not row.unavailable), rows[0])
