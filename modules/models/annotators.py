"""ANNOTATORS: the networks that make control images, which files each needs, and where they are published.

Holds names and files only; backend/control/annotators runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.errors import Unsupported
from modules.core.registry import Registry
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import ANNOTATOR
from modules.models.ldm.depth import DEPTH_CLASS_TOKEN

ANNOTATOR_FOLDER = "models/ControlNet/annotators"
POSE_DETECTOR, POSE_POINTS = "pose_detection", "pose_landmark_full"
HAND_POINTS, FACE_POINTS = "hand_landmark_full", "face_landmark"
DEPTH_FILE = "dpt_hybrid-midas-501f0c75"
_LLLYASVIEL = "huggingface.co/lllyasviel/Annotators"
_DEPTH_HINT = (
    f"Put {DEPTH_FILE}.pt from github.com/isl-org/DPT into {ANNOTATOR_FOLDER}, or a depth checkpoint such as "
    "512-depth-ema.safetensors into models/Stable-diffusion."
)


@dataclass(frozen=True)
class Annotator:
    """One row of the table.

    Args:
        name: Identity; rows of PREPROCESSORS have it as their `annotator`.
        files: Names of the files that it needs, without their endings.
        source: Where they are published.
        ending: Of the published files.
        takes_checkpoint: Whether the depth estimator of a checkpoint serves, too.
    """

    name: str
    files: tuple[str, ...]
    source: str = _LLLYASVIEL
    ending: str = ".pth"
    takes_checkpoint: bool = False


def _of_poses(name: str, *files: str) -> Annotator:
    return Annotator(name, files, "", ".tflite")


ANNOTATORS: Registry[Annotator] = Registry(
    "annotator",
    (
        Annotator("depth", (DEPTH_FILE,), takes_checkpoint=True),
        Annotator("normal", (DEPTH_FILE,), takes_checkpoint=True),
        *(Annotator(name, ("ControlNetHED",)) for name in ("hed", "hed_safe", "scribble_hed")),
        *(
            Annotator(name, ("table5_pidinet",))
            for name in ("pidinet", "pidinet_safe", "scribble_pidinet", "pidinet_sketch")
        ),
        Annotator("lineart", ("sk_model",)),
        Annotator("lineart_coarse", ("sk_model2",)),
        Annotator("lineart_anime", ("netG",)),
        _of_poses("openpose", POSE_DETECTOR, POSE_POINTS),
        _of_poses("openpose_hand", POSE_DETECTOR, POSE_POINTS, HAND_POINTS),
        _of_poses("openpose_face", POSE_DETECTOR, POSE_POINTS, FACE_POINTS),
        _of_poses("openpose_faceonly", POSE_DETECTOR, POSE_POINTS, FACE_POINTS),
        _of_poses("openpose_full", POSE_DETECTOR, POSE_POINTS, HAND_POINTS, FACE_POINTS),
    ),
)


def find_annotator_files(models: ModelIndex, name: str, preprocessor: str) -> tuple[ModelFile, ...]:
    """Return the files of an annotator, in the order of its row; of an estimator of depth perhaps a checkpoint.

    Args:
        models: Lists them.
        name: Of the row.
        preprocessor: The preprocessor that needs them, for messages.

    Raises:
        Unsupported: one is not there.
    """
    annotator = ANNOTATORS.get(name)
    listed = _list_by_stem(models)
    if any(stem.casefold() not in listed for stem in annotator.files):
        models.refresh(ANNOTATOR)  # it may have been put there a moment ago
        listed = _list_by_stem(models)
    found = [listed.get(stem.casefold()) for stem in annotator.files]
    if annotator.takes_checkpoint and None in found:
        found = [_find_depth_checkpoint(models)]
    if None in found:
        missing = [stem for stem, file in zip(annotator.files, found, strict=True) if file is None]
        raise _missing(annotator, missing, preprocessor)
    return tuple(file for file in found if file is not None)


def _list_by_stem(models: ModelIndex) -> dict[str, ModelFile]:
    return {file.stem.casefold(): file for file in models.files(ANNOTATOR)}


def _find_depth_checkpoint(models: ModelIndex) -> ModelFile | None:
    """Return the largest checkpoint with a depth estimator: the demo's own is a small one."""
    found = [
        checkpoint
        for checkpoint in models.checkpoints()
        if checkpoint.family == "SD 2.x depth"
        and DEPTH_CLASS_TOKEN in read_header(checkpoint.path).tensors
    ]
    return max(found, key=lambda checkpoint: checkpoint.size_bytes, default=None)


def _missing(annotator: Annotator, stems: list[str], preprocessor: str) -> Unsupported:
    *rest, last = (stem + annotator.ending for stem in stems)
    names = f"{', '.join(rest)} and {last}" if rest else last
    if annotator.takes_checkpoint:
        message, hint = f"'{preprocessor}' has no estimator of depth.", _DEPTH_HINT
    elif not annotator.source:
        message = f"'{preprocessor}' needs the networks of MediaPipe, {names}."
        hint = "Get them in the Models tab: MediaPipe poses, hands and faces for OpenPose."
    else:
        message = f"'{preprocessor}' needs the file {names}."
        hint = f"Put it from {annotator.source} into {ANNOTATOR_FOLDER}."
    return Unsupported(message, hint)
