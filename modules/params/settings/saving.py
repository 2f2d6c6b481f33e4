"""The options of how pictures are saved, under A1111's names."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from modules.params.param import param


def _colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(f"'{text}' is no colour; write it like #ffffff.")
    return text


HexColor = Annotated[str, AfterValidator(_colour)]
ImageFormat = Literal["png", "jpg", "webp"]


class SavingSettings(BaseModel):
    """What becomes of a finished picture on the disk. None of it changes a pixel but the lossy formats."""

    samples_save: bool = param(
        True,
        "Always save all generated images",
        help="Off keeps them for a day in the folder tmp alone.",
        section="saving",
    )
    samples_format: ImageFormat = param(
        "png",
        "File format for images",
        help="png keeps every pixel; jpg and webp are smaller.",
        section="saving",
    )
    samples_filename_pattern: str = param(
        "",
        "Images filename pattern",
        help="Such as [seed]-[prompt_spaces]; empty is [seed]. The README lists what may stand in brackets.",
        section="saving",
    )
    save_images_add_number: bool = param(
        True,
        "Add number to filename when saving",
        help="Begins the name with a number that counts up in its folder.",
        section="saving",
    )
    save_to_dirs: bool = param(
        True,
        "Save images to a subdirectory",
        help="Sorts pictures into folders as the pattern below says.",
        section="saving",
    )
    directories_filename_pattern: str = param(
        "[date]",
        "Directory name pattern",
        help="Such as [date] or [model_name]/[date]; a slash begins a folder within.",
        section="saving",
    )
    directories_max_prompt_words: int = param(
        8,
        "Max prompt words for [prompt_words] pattern",
        help="How many words of the prompt go into a name.",
        ge=1,
        le=20,
        slider=(1, 20, 1),
        section="saving",
    )
    jpeg_quality: int = param(
        80,
        "Quality for saved jpeg and webp images",
        help="More is larger and nearer to the picture.",
        ge=1,
        le=100,
        slider=(1, 100, 1),
        section="saving",
    )
    webp_lossless: bool = param(
        False,
        "Use lossless compression for webp images",
        help="Keeps every pixel, as png does.",
        section="saving",
    )
    enable_pnginfo: bool = param(
        True,
        "Write infotext to metadata of the generated image",
        help="Off leaves the file without what brings the picture back.",
        section="saving",
    )
    save_txt: bool = param(
        False,
        "Create a text file with infotext next to every generated image",
        help="The file has the picture's name and ends in .txt.",
        section="saving",
    )


class GridSettings(BaseModel):
    """All pictures of a job in one."""

    grid_save: bool = param(
        True,
        "Always save all generated image grids",
        help="Saves all pictures of a job in one, beside the single ones.",
        section="grids",
    )
    return_grid: bool = param(
        True,
        "Show grid in results for web",
        help="Shows the grid behind the pictures; the API puts it before them when it saves.",
        section="grids",
    )
    grid_format: ImageFormat = param(
        "png",
        "File format for grids",
        help="png keeps every pixel; jpg and webp are smaller.",
        section="grids",
    )
    grid_extended_filename: bool = param(
        False,
        "Add extended info (seed, prompt) to filename when saving grid",
        help="Names a grid after seed and prompt, too.",
        section="grids",
    )
    grid_only_if_multiple: bool = param(
        True,
        "Do not save grids consisting of one picture",
        help="Off makes a grid of a single picture, too.",
        section="grids",
    )
    grid_prevent_empty_spots: bool = param(
        False,
        "Prevent empty spots in grid (when set to autodetect)",
        help="Chooses the rows so that every place is taken, even if all stand in one row.",
        section="grids",
    )
    n_rows: int = param(
        -1,
        "Grid row count",
        help="-1 makes the grid as square as it can be; 0 makes a row for each picture of a batch.",
        ge=-1,
        le=16,
        slider=(-1, 16, 1),
        section="grids",
    )
    grid_background_color: HexColor = param(
        "#ffffff",
        "Background color for image grids",
        help="Fills the places that are left over; a colour such as #ffffff.",
        section="grids",
    )
