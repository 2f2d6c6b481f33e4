"""Measures the inpainting model: the masked part has to follow the prompt, the rest has to stay.

A shape in the middle of a true picture is masked by a box, and the prompt asks for another shape of
another color there.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace

import torch

from tools.demo_model.commands import evaluation_parser
from tools.demo_model.evaluate import plain_caption, scores, sheet, true_pictures
from tools.demo_model.judge import Judge
from tools.demo_model.latents import BLOCK
from tools.demo_model.parts import Parts
from tools.demo_model.scenes import COLORS, SHAPES, ShapeScene, Thing, sample_shapes
from tools.demo_model.tasks import inpaint_channels

MASK_FROM, MASK_TO = 0.19, 0.81  # of width and height


def pairs_of_scenes(count: int, seed: int) -> list[tuple[ShapeScene, ShapeScene]]:
    """Return scenes and what they shall become: another shape and color in the middle."""
    rng, pairs = random.Random(seed), []
    while len(pairs) < count:
        scene = replace(sample_shapes(rng), size="medium", position="center")
        old = scene.things[0]
        shapes = [shape for shape in SHAPES if shape != old.shape]
        colors = [color for color in COLORS if color not in (old.color, scene.background)]
        if scene.is_single:
            thing = Thing(rng.choice(shapes), rng.choice(colors))
            pairs.append((scene, replace(scene, things=(thing,))))
    return pairs


def evaluate(arguments: argparse.Namespace) -> None:
    """Print how often the prompt is followed and how much the rest moved."""
    torch.set_num_threads(arguments.threads)
    parts, judge = (
        Parts.load(arguments.file, arguments.device),
        Judge.load(arguments.work_dir / "judge.pt"),
    )
    pairs = pairs_of_scenes(arguments.count, arguments.seed)
    size = width, height = arguments.width, arguments.height
    images = true_pictures([before for before, _ in pairs], size)
    wanted = [after for _, after in pairs]
    masks = torch.zeros(len(pairs), 1, height, width)
    left, right, top, bottom = (
        round(share * side / BLOCK) * BLOCK for side in size for share in (MASK_FROM, MASK_TO)
    )
    masks[:, :, top:bottom, left:right] = 1
    texts = [plain_caption(scene) for scene in wanted]
    channels = inpaint_channels(images, masks)
    pictures = parts.draw(texts, size, arguments.cfg_scale, arguments.seed, channels)
    for name, share in scores(judge, pictures, wanted, "one shape").items():
        print(f"{name:14} {share:6.1%}")
    outside = ((pictures - images).abs() * (1 - masks)).sum() / (1 - masks).sum() / 3
    print(f"mean change outside the mask: {outside / 2:.2%} of the range")
    if arguments.sheet:
        sheet([images[:10], (images * (1 - masks))[:10], pictures[:10]], arguments.sheet)


def main() -> None:
    """Read the command line and evaluate."""
    evaluate(evaluation_parser(__doc__).parse_args())


if __name__ == "__main__":
    main()
