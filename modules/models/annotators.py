"""ANNOTATORS: the networks that make control images, which files serve each, and where they are published.

Holds names and files only; backend/control/annotators runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
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
BODY_MODEL, HAND_MODEL, FACE_MODEL = "body_pose_model", "hand_pose_model", "facenet"
PEOPLE_MODEL, WHOLE_BODY_MODEL = "yolox_l", "dw-ll_ucoco_384"
DEPTH_FILE = "dpt_hybrid-midas-501f0c75"
_LLLYASVIEL = "huggingface.co/lllyasviel/Annotators"
_TEED = "huggingface.co/bdsqlsz/qinglong_controlnet-lllite (Annotators)"
_ANYLINE = "huggingface.co/TheMistoAI/MistoLine (Anyline)"
_DWPOSE = "huggingface.co/yzd-v/DWPose"
_MOBILE_SAM = "huggingface.co/dhkim2810/MobileSAM"
_DEPTH_ANYTHING = "huggingface.co/spaces/LiheYoung/Depth-Anything"
_DEPTH_ANYTHING_2 = "huggingface.co/depth-anything/Depth-Anything-V2"
_DEPTH_HINT = (
    f"Put {DEPTH_FILE}.pt from github.com/isl-org/DPT into {ANNOTATOR_FOLDER}, or a depth checkpoint such as "
    "512-depth-ema.safetensors into models/Stable-diffusion."
)


@dataclass(frozen=True)
class FileSet:
    """Files that serve together.

    Args:
        stems: Their names, without endings.
        source: Where they are published; "" for the networks of MediaPipe, which the Models tab gets.
        ending: Of the published files.
        owner: Whose they are, where those of MediaPipe serve, too.
    """

    stems: tuple[str, ...]
    source: str = _LLLYASVIEL
    ending: str = ".pth"
    owner: str = ""


@dataclass(frozen=True)
class Annotator:
    """One row of the table.

    Args:
        name: Identity; rows of PREPROCESSORS have it as their `annotator`.
        sets: Of the files that serve, the best ones first; the last one, which is easy to get, is named where there is none.
        takes_checkpoint: Whether the depth estimator of a checkpoint serves, too.
    """

    name: str
    sets: tuple[FileSet, ...]
    takes_checkpoint: bool = False


def _of_file(stem: str, *names: str) -> tuple[Annotator, ...]:
    return tuple(Annotator(name, (FileSet((stem,)),)) for name in names)


def _of_poses(name: str, *, hand: bool = False, face: bool = False) -> Annotator:
    """Return a row that OpenPose's own networks serve, or else those of MediaPipe."""
    models = (BODY_MODEL, *((HAND_MODEL,) if hand else ()), *((FACE_MODEL,) if face else ()))
    return Annotator(name, (FileSet(models, owner="OpenPose"), _of_mediapipe(hand=hand, face=face)))


def _of_mediapipe(*, hand: bool, face: bool) -> FileSet:
    points = (*((HAND_POINTS,) if hand else ()), *((FACE_POINTS,) if face else ()))
    return FileSet((POSE_DETECTOR, POSE_POINTS, *points), "", ".tflite")


ANNOTATORS: Registry[Annotator] = Registry(
    "annotator",
    (
        *(
            Annotator(name, (FileSet((DEPTH_FILE,)),), takes_checkpoint=True)
            for name in ("depth", "normal")
        ),
        *_of_file("ControlNetHED", "hed", "hed_safe", "scribble_hed"),
        *_of_file(
            "table5_pidinet", "pidinet", "pidinet_safe", "scribble_pidinet", "pidinet_sketch"
        ),
        *_of_file("sk_model", "lineart"),
        *_of_file("sk_model2", "lineart_coarse"),
        *_of_file("netG", "lineart_anime"),
        *_of_file("mlsd_large_512_fp32", "mlsd"),
        *_of_file("upernet_global_small", "seg_ufade20k"),
        *_of_file("res101", "depth_leres"),
        Annotator("depth_zoe", (FileSet(("ZoeD_M12_N",), ending=".pt"),)),
        Annotator("normal_bae", (FileSet(("scannet",), ending=".pt"),)),
        *_of_file("250_16_swin_l_oneformer_ade20k_160k", "seg_ofade20k"),
        *_of_file("150_16_swin_l_oneformer_coco_100ep", "seg_ofcoco"),
        Annotator("mobile_sam", (FileSet(("mobile_sam",), _MOBILE_SAM, ".pt"),)),
        Annotator("teed", (FileSet(("7_model",), _TEED),)),
        Annotator("anyline", (FileSet(("MTEED",), _ANYLINE),)),
        Annotator(
            "depth_anything",
            tuple(
                FileSet((f"depth_anything_{size}14",), _DEPTH_ANYTHING)
                for size in ("vitl", "vitb", "vits")
            ),
        ),
        Annotator(
            "depth_anything_v2",
            tuple(
                FileSet((f"depth_anything_v2_{size}",), f"{_DEPTH_ANYTHING_2}-{name}")
                for size, name in (("vitl", "Large"), ("vitb", "Base"), ("vits", "Small"))
            ),
        ),
        _of_poses("openpose"),
        _of_poses("openpose_hand", hand=True),
        _of_poses("openpose_face", face=True),
        _of_poses("openpose_faceonly", face=True),
        _of_poses("openpose_full", hand=True, face=True),
        Annotator(
            "dw_openpose_full",
            (
                FileSet((PEOPLE_MODEL, WHOLE_BODY_MODEL), _DWPOSE, ".onnx", "DWPose"),
                _of_mediapipe(hand=True, face=True),
            ),
        ),
    ),
)


def find_annotator_files(
    models: ModelIndex, name: str, preprocessor: str, *, is_optional: bool = False
) -> tuple[ModelFile, ...]:
    """Return the files of an annotator, in the order of their set; of an estimator of depth perhaps a checkpoint.

    Args:
        models: Lists them.
        name: Of the row.
        preprocessor: The preprocessor that needs them, for messages.
        is_optional: Whether there is another way without them; then none are returned where one is not there.

    Raises:
        Unsupported: one is not there.
    """
    annotator = ANNOTATORS.get(name)
    found = _find_set(models, annotator.sets[0])
    if not found:
        models.refresh(ANNOTATOR)  # it may have been put there a moment ago
        found = next(filter(None, (_find_set(models, row) for row in annotator.sets)), ())
    if not found and annotator.takes_checkpoint:
        checkpoint = _find_depth_checkpoint(models)
        found = (checkpoint,) if checkpoint else ()
    if not found and not is_optional:
        raise _missing(annotator, _list_by_stem(models), preprocessor)
    return found


def _find_set(models: ModelIndex, files: FileSet) -> tuple[ModelFile, ...]:
    """Return the files of a set, or none where one is not there."""
    listed = _list_by_stem(models)
    found = [listed.get(stem.casefold()) for stem in files.stems]
    return () if None in found else tuple(file for file in found if file is not None)


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


def _missing(
    annotator: Annotator, listed: Mapping[str, ModelFile], preprocessor: str
) -> Unsupported:
    """Return what is missing of the set of which there is a part, otherwise of the last one."""

    def lacking(files: FileSet) -> list[str]:
        return [stem for stem in files.stems if stem.casefold() not in listed]

    begun = (row for row in annotator.sets if len(lacking(row)) < len(row.stems))
    files = next(begun, annotator.sets[-1])
    names = _join([stem + files.ending for stem in lacking(files)])
    if annotator.takes_checkpoint:
        message, hint = f"'{preprocessor}' has no estimator of depth.", _DEPTH_HINT
    elif not files.source:
        message = f"'{preprocessor}' needs the networks of MediaPipe, {names}."
        hint = "Get them in the Models tab: MediaPipe poses, hands and faces for OpenPose."
        for other in annotator.sets[:-1]:
            own = _join([stem + other.ending for stem in other.stems])
            hint += (
                f" Or put {other.owner}'s own, {own}, from {other.source} into {ANNOTATOR_FOLDER}."
            )
    else:
        is_one = len(lacking(files)) == 1
        message = f"'{preprocessor}' needs the {'file' if is_one else 'files'} {names}."
        hint = f"Put {'it' if is_one else 'them'} from {files.source} into {ANNOTATOR_FOLDER}."
    return Unsupported(message, hint)


def _join(names: list[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
