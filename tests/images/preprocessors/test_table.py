"""Tests of PREPROCESSORS: the facts that clients and infotexts rely on."""

import numpy as np
import pytest

from modules.core.errors import NotFound
from modules.images.preprocessors.sizes import (
    pad_edges,
    pixel_perfect_resolution,
    resize_to_resolution,
)
from modules.images.preprocessors.table import (
    PREPROCESSORS,
    control_types,
    default_preprocessor,
    list_preprocessors,
)

# Names of the HTTP API of sd-webui-controlnet 1.1.455, as its module_list has them.
API_NAMES = """none animal_openpose blur_gaussian canny densepose densepose_parula depth_anything depth_hand_refiner
depth_leres depth_leres++ depth depth_zoe dw_openpose_full inpaint inpaint_only inpaint_only+lama
instant_id_face_embedding instant_id_face_keypoints ip-adapter_clip_sd15 ip-adapter_clip_sdxl
ip-adapter_clip_sdxl_plus_vith ip-adapter_face_id ip-adapter_face_id_plus lineart_anime lineart_anime_denoise
lineart_coarse lineart lineart_standard mediapipe_face mlsd normal_bae normal_map openpose openpose_face
openpose_faceonly openpose_full openpose_hand recolor_intensity recolor_luminance reference_adain
reference_adain+attn reference_only revision_clipvision revision_ignore_prompt scribble_hed pidinet_scribble
scribble_xdog anime_face_segment oneformer_ade20k oneformer_coco segmentation shuffle hed hed_safe pidinet
pidinet_safe te_hed color pidinet_sketch clip_vision threshold tile_colorfix tile_colorfix+sharp tile_resample
invert normal_dsine ip-adapter-auto ip-adapter_pulid facexlib softedge_anyline mobile_sam"""


def test_every_module_of_the_extension_is_known_by_its_api_name():
    assert set(API_NAMES.split()) - {row.api_name for row in PREPROCESSORS} == set()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("depth", "depth_midas"),
        ("depth_midas", "depth_midas"),
        ("invert", "invert (from white bg & black line)"),
        ("hed", "softedge_hed"),
        ("color", "t2ia_color_grid"),
        ("CANNY", "canny"),
    ],
)
def test_names_of_the_page_and_of_the_api_find_a_row(name: str, found: str):
    assert PREPROCESSORS.get(name).name == found


def test_an_unknown_name_is_an_error_that_names_similar_ones():
    with pytest.raises(NotFound, match=r"no preprocessor named 'cany'. Did you mean 'canny'"):
        PREPROCESSORS.get("cany")


def test_numbers_out_of_range_become_the_defaults():
    canny = PREPROCESSORS.get("canny")
    assert canny.numbers(-1, -1, -1) == (512, 100, 200)
    assert canny.numbers(768, 50, 300) == (768, 50, 200)
    assert PREPROCESSORS.get("invert").numbers(-1, 3, 3) == (512, 0, 0)


def test_each_row_makes_an_image_acts_by_itself_or_says_what_to_use_instead():
    acting = {row.name for row in PREPROCESSORS if not row.makes_image and not row.unavailable}
    assert acting == {
        "reference_only",
        "reference_adain",
        "reference_adain+attn",
        "inpaint_only",
        "inpaint_only+lama",
        "inpaint_global_harmonious",
        "ip-adapter-auto",
        "ip-adapter_clip_h",
        "ip-adapter_clip_g",
        "ip-adapter_clip_sdxl_plus_vith",
        "revision_clipvision",
        "revision_ignore_prompt",
        "t2ia_style_clipvision",
    }
    for row in PREPROCESSORS:
        assert not (row.unavailable and row.makes_image)
        assert not row.unavailable or row.name in row.unavailable


def test_control_types_list_their_rows_by_priority_after_none():
    assert [row.name for row in list_preprocessors("Canny")] == [
        "none",
        "canny",
        "invert (from white bg & black line)",
    ]
    assert len(list_preprocessors()) == len(PREPROCESSORS)
    assert control_types()[:3] == ["All", "Canny", "Depth"]
    defaults = {name: default_preprocessor(name).name for name in control_types()}
    assert defaults["Depth"] == "depth_midas"
    assert defaults["Tile"] == "tile_resample"
    assert defaults["Segmentation"] == "seg_ofade20k"
    assert defaults["All"] == "none"


def test_every_pure_row_runs_with_its_defaults_and_returns_rgb():
    image = np.random.RandomState(0).randint(0, 256, (48, 72, 3)).astype(np.uint8)
    for row in PREPROCESSORS:
        if row.compute:
            result = row.compute(image, *row.numbers(64, -1, -1), np.random.RandomState(1))
            assert result.dtype == np.uint8, row.name
            assert result.shape == ((64, 96, 3) if row.resolution else result.shape), row.name
            assert result.shape[2] == 3


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("Crop and Resize", 512), ("Just Resize", 512), ("Resize and Fill", 384)],
)
def test_pixel_perfect_has_one_pixel_for_each_of_the_result(mode, expected: int):
    assert pixel_perfect_resolution((400, 300), (512, 512), mode) == expected


def test_an_image_is_resized_by_its_shorter_side_and_padded_by_its_edge():
    image = np.arange(50 * 70 * 3, dtype=np.uint64).reshape(50, 70, 3).astype(np.uint8)
    assert resize_to_resolution(image, 25).shape == (25, 35, 3)
    padded = pad_edges(image)
    assert padded.shape == (64, 128, 3)
    assert (padded[60, :70] == image[49]).all()
    assert (padded[:50, 100] == image[:, 69]).all()
