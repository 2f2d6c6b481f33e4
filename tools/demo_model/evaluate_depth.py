"""Measures the depth model: its pictures have to follow the given depth, and the prompt.

Given is the true depth of scenes that training never showed, so the prompt may ask for just what
stands there; and, as users do it, the depth that the model's own estimator finds in a true picture,
with a prompt that asks for other colors.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from modules.backend.conditioning import depth
from tools.demo_model.commands import evaluation_parser
from tools.demo_model.drawing import draw
from tools.demo_model.evaluate import held_out_scenes, plain_caption, scores, sheet, true_pictures
from tools.demo_model.judge import Judge
from tools.demo_model.parts import Parts
from tools.demo_model.scenes import COLORS, Scene, ShapeScene, Thing
from tools.demo_model.tasks import depth_channel
from tools.demo_model.train_depth import relative_error

if TYPE_CHECKING:
    from collections.abc import Sequence


def true_depth(scenes: Sequence[Scene], size: tuple[int, int]) -> torch.Tensor:
    """Return the depth of scenes, [count, 1, height, width] from 0 (far) to 1 (near)."""
    return torch.from_numpy(np.stack([draw(scene, *size)[1] for scene in scenes]))[:, None]


@torch.no_grad()
def estimated_depth(parts: Parts, images: torch.Tensor) -> torch.Tensor:
    """Return depth [count, 1, h, w] as the program estimates it in pictures [count, 3, h, w], -1 to 1."""
    estimator = parts.components.depth_estimator
    if estimator is None:
        raise SystemExit("The checkpoint carries no depth estimator.")
    pixels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    depths = [depth.estimate(estimator, Image.fromarray(picture)) for picture in pixels]
    return functional.interpolate(torch.stack(depths), images.shape[-2:], mode="bicubic").cpu()


def correlation(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return Pearson's correlation of two depths [batch, 1, h, w], one per picture."""
    x, y = (one.flatten(1) - one.flatten(1).mean(1, keepdim=True) for one in (found, expected))
    return (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp(min=1e-8)


def recolor(scenes: Sequence[ShapeScene], rng: random.Random) -> list[ShapeScene]:
    """Return the scenes with other colors of shape and background."""
    result = []
    for scene in scenes:
        taken = {scene.background, scene.things[0].color}
        background, color = rng.sample([c for c in COLORS if c not in taken], 2)
        things = (Thing(scene.things[0].shape, color),)
        result.append(replace(scene, background=background, things=things))
    return result


@torch.no_grad()
def evaluate(arguments: argparse.Namespace) -> None:
    """Print the figures and save a sheet: depth given, picture, its depth."""
    torch.set_num_threads(arguments.threads)
    parts, judge = (
        Parts.load(arguments.file, arguments.device),
        Judge.load(arguments.work_dir / "judge.pt"),
    )
    size = (arguments.width, arguments.height)
    groups, rows = held_out_scenes(arguments.count, arguments.seed), []
    for group, scenes in groups.items():
        truth, images = true_depth(scenes, size), true_pictures(scenes, size)
        error = relative_error(estimated_depth(parts, images), truth)
        texts = [plain_caption(scene) for scene in scenes]
        pictures = parts.draw(
            texts, size, arguments.cfg_scale, arguments.seed, depth_channel(truth)
        )
        found = estimated_depth(parts, pictures)
        print(f"{group} (n={len(scenes)})")
        print(f"  estimator's error on true pictures {error.mean():.1%} of the range")
        print(
            f"  correlation of the picture's depth with the given {correlation(found, truth).mean():.3f}"
        )
        for name, share in scores(judge, pictures, scenes, group).items():
            print(f"  {name:14} {share:6.1%}")
        rows += [_gray(truth[:8]), pictures[:8], _gray(found[:8])]
    shapes = [scene for scene in groups["one shape"] if isinstance(scene, ShapeScene)]
    wanted = recolor(shapes, random.Random(arguments.seed))
    estimated = estimated_depth(parts, true_pictures(shapes, size))
    texts = [plain_caption(scene) for scene in wanted]
    pictures = parts.draw(
        texts, size, arguments.cfg_scale, arguments.seed, depth_channel(estimated)
    )
    print(f"other colors over the estimated depth of a true picture (n={len(wanted)})")
    print(f"  correlation {correlation(estimated_depth(parts, pictures), estimated).mean():.3f}")
    for name, share in scores(judge, pictures, wanted, "one shape").items():
        print(f"  {name:14} {share:6.1%}")
    if arguments.sheet:
        sheet([*rows, true_pictures(shapes[:8], size), pictures[:8]], arguments.sheet)


def _gray(depths: torch.Tensor) -> torch.Tensor:
    """Return depths [count, 1, h, w] as pictures from -1 to 1."""
    return (depths.clamp(0, 1) * 2 - 1).expand(-1, 3, -1, -1)


def main() -> None:
    """Read the command line and evaluate."""
    evaluate(evaluation_parser(__doc__).parse_args())


if __name__ == "__main__":
    main()
