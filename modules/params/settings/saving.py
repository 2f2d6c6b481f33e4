"""Options of saving images and grids, named as in A1111."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from modules.params.param import param


def _check_hex_color(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(f"'{text}' is not a colour; write it like #ffffff.")
    return text


HexColor = Annotated[str, AfterValidator(_check_hex_color)]
ImageFormat = Literal["png", "jpg", "webp"]


class SavingSettings(BaseModel):
    """How images are saved. Only the lossy formats change pixels."""

    samples_save: bool = param(
        True,
        "Always save all generated images",
        help="Off keeps them only in the folder tmp, for a day.",
        section="saving",
    )
    save_incomplete_images: bool = param(
        False,
        "Save incomplete images",
        help="Saves the unfinished picture of a job that is interrupted or skipped before its first picture.",
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
        help="Such as [seed]-[prompt_spaces]; empty means [seed]. docs/settings.md lists all tokens.",
        section="saving",
    )
    save_images_add_number: bool = param(
        True,
        "Add number to filename when saving",
        help="Starts the name with a number that counts up in its folder.",
        section="saving",
    )
    use_original_name_batch: bool = param(
        True,
        "Use original name for output filename during batch process in extras tab",
        help="Off numbers the results of a batch like all others.",
        section="saving",
    )
    use_upscaler_name_as_suffix: bool = param(
        False,
        "Use upscaler name as filename suffix in the extras tab",
        help="Adds the name of the first upscaler to the name of the file.",
        section="saving",
    )
    save_to_dirs: bool = param(
        True,
        "Save images to a subdirectory",
        help="Sorts pictures into folders by the pattern below.",
        section="saving",
    )
    directories_filename_pattern: str = param(
        "[date]",
        "Directory name pattern",
        help="Such as [date] or [model_name]/[date]; a slash starts a subfolder.",
        section="saving",
    )
    directories_max_prompt_words: int = param(
        8,
        "Max prompt words for [prompt_words] pattern",
        help="How many words of the prompt a name contains.",
        ge=1,
        le=20,
        slider=(1, 20, 1),
        section="saving",
    )
    jpeg_quality: int = param(
        80,
        "Quality for saved jpeg and webp images",
        help="Higher values give larger files that are closer to the picture.",
        ge=1,
        le=100,
        slider=(1, 100, 1),
        section="saving",
    )
    webp_lossless: bool = param(
        False,
        "Use lossless compression for webp images",
        help="Keeps every pixel exactly, as png does.",
        section="saving",
    )
    enable_pnginfo: bool = param(
        True,
        "Write infotext to metadata of the generated image",
        help="Off saves the file without the parameters that reproduce the picture.",
        section="saving",
    )
    save_txt: bool = param(
        False,
        "Create a text file with infotext next to every generated image",
        help="The file has the name of the picture and ends in .txt.",
        section="saving",
    )


class GridSettings(BaseModel):
    """Grids: all images of a job in one file."""

    grid_save: bool = param(
        True,
        "Always save all generated image grids",
        help="Saves all pictures of a job in one file, in addition to the single ones.",
        section="grids",
    )
    return_grid: bool = param(
        True,
        "Show grid in results for web",
        help="Shows the grid after the pictures; the API returns it before them when images are saved.",
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
        help="Adds seed and prompt to the name of a grid.",
        section="grids",
    )
    grid_only_if_multiple: bool = param(
        True,
        "Do not save grids consisting of one picture",
        help="Off saves a grid of a single picture, too.",
        section="grids",
    )
    grid_prevent_empty_spots: bool = param(
        False,
        "Prevent empty spots in grid (when set to autodetect)",
        help="Chooses the number of rows so that every cell is filled, even if that is a single row.",
        section="grids",
    )
    n_rows: int = param(
        -1,
        "Grid row count",
        help="-1 makes the grid as square as possible; 0 makes as many rows as the batch size.",
        ge=-1,
        le=16,
        slider=(-1, 16, 1),
        section="grids",
    )
    grid_background_color: HexColor = param(
        "#ffffff",
        "Background color for image grids",
        help="Fills empty cells; a colour such as #ffffff.",
        section="grids",
    )
    font: str = param(
        "",
        "Font for image grids that have text",
        help="Path of a .ttf or .otf file, for letters that the font in the box lacks; empty uses that one.",
        section="grids",
    )
    grid_text_active_color: HexColor = param(
        "#000000",
        "Text color for image grids",
        help="Colour of captions; a colour such as #000000.",
        section="grids",
    )
    grid_text_inactive_color: HexColor = param(
        "#999999",
        "Inactive text color for image grids",
        help="Colour of captions that are crossed out; a colour such as #999999.",
        section="grids",
    )
