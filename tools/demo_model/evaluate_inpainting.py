"""Measures the inpainting model: the masked part has to follow the prompt, the rest has to stay.

A shape in the middle of a true picture is masked by a box, and the prompt asks for another shape of
another color there.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

import torch

from tools.demo_model.evaluate import plain_caption, scores, sheet, true_pictures
from tools.demo_model.judge import Judge
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
    side = arguments.size
    images = true_pictures([before for before, _ in pairs], (side, side))
    wanted = [after for _, after in pairs]
    masks = torch.zeros(len(pairs), 1, side, side)
    low, high = round(MASK_FROM * side / 8) * 8, round(MASK_TO * side / 8) * 8
    masks[:, :, low:high, low:high] = 1
    texts = [plain_caption(scene) for scene in wanted]
    beside = inpaint_channels(images, masks)
    pictures = parts.draw(texts, (side, side), arguments.cfg_scale, arguments.seed, beside)
    for name, share in scores(judge, pictures, wanted, "one shape").items():
        print(f"{name:14} {share:6.1%}")
    outside = ((pictures - images).abs() * (1 - masks)).sum() / (1 - masks).sum() / 3
    print(f"mean change outside the mask: {outside / 2:.2%} of the range")
    if arguments.sheet:
        sheet([images[:10], (images * (1 - masks))[:10], pictures[:10]], arguments.sheet)


def main() -> None:
    """Read the command line and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("file", type=Path)
    add("--work-dir", type=Path, default=Path("tools/demo_model/work"), help="holds judge.pt")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--count", type=int, default=40)
    add("--cfg-scale", type=float, default=5.0)
    add("--size", type=int, default=256)
    add("--seed", type=int, default=0)
    add("--sheet", type=Path)
    add("--threads", type=int, default=1)
    evaluate(parser.parse_args())


if __name__ == "__main__":
    main()
