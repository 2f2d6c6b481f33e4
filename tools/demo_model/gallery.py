"""Saves a contact sheet of a checkpoint's pictures, prompts in reading order."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from tools.demo_model.commands import drawing_parser
from tools.demo_model.parts import Parts

PROMPTS = (
    *("a red circle on a blue background", "masterpiece, a photo of a yellow star"),
    *("a small green heart on the left on a white background", "a large pink square on black"),
    *(
        "a blue triangle on an orange background",
        "a purple diamond at the top on a cyan background",
    ),
    *("two red hearts on a yellow background", "three white stars on a black background"),
    *("a green circle and an orange square on a gray background", "a big golden star on violet"),
    *("a house with a red roof on hills under a blue sky", "mountains at sunset"),
    *("a boat on the sea at night with the moon", "a tree in a desert at dusk"),
    *("a house with a blue roof in the snow under a cloudy sky", "mountains at night with stars"),
    *(
        "trees in a meadow on a sunny day with the sun",
        "a red boat on the sea at sunrise with the sun",
    ),
    *(
        "a house with a purple roof on the right in the desert at sunset",
        "trees in the snow at night",
    ),
)


def main() -> None:
    """Read the command line, make the pictures and save the sheet."""
    parser = drawing_parser(__doc__, count=len(PROMPTS))
    add = parser.add_argument
    add("sheet", type=Path, help="the picture to write")
    add("--columns", type=int, default=5)
    add("--tile", type=int, default=160, help="width of a picture on the sheet")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = (arguments.width, arguments.height)
    prompts = list(PROMPTS[:: len(PROMPTS) // arguments.count])
    parts = Parts.load(arguments.file, arguments.device)
    pictures = parts.draw(prompts, size, arguments.cfg_scale, arguments.seed)
    pixels = ((pictures + 1) * 127.5).permute(0, 2, 3, 1).round().byte().numpy()
    wide, high = arguments.tile, arguments.tile * size[1] // size[0]
    rows = -(-len(prompts) // arguments.columns)
    sheet = Image.new("RGB", (arguments.columns * (wide + 2), rows * (high + 2)))
    for k, picture in enumerate(pixels):
        place = (k % arguments.columns * (wide + 2), k // arguments.columns * (high + 2))
        sheet.paste(Image.fromarray(picture).resize((wide, high), Image.Resampling.LANCZOS), place)
    sheet.save(arguments.sheet)


if __name__ == "__main__":
    main()
