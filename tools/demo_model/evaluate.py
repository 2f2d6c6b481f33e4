"""Measures how well pictures follow prompts, on combinations that training never showed.

A small classifier that has only seen true pictures (`judge.py`) names what each picture shows.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tools.demo_model.attributes import attributes_of
from tools.demo_model.captions import GROUND_PREPOSITIONS, GROUND_WORDS, TIME_PHRASES, with_article
from tools.demo_model.commands import evaluation_parser
from tools.demo_model.drawing import draw
from tools.demo_model.judge import Judge
from tools.demo_model.latents import to_tensor
from tools.demo_model.parts import Parts
from tools.demo_model.scenes import (
    Landscape,
    Scene,
    ShapeScene,
    is_held_out,
    sample_landscape,
    sample_shapes,
)

GROUPS = {
    "one shape": ("background", "color", "shape", "position", "size"),
    "two or three equal shapes": ("background", "color", "shape", "count"),
    "two different shapes": ("background", "color", "shape", "second_color", "second_shape"),
    "landscape": ("time", "ground", "subject", "subject_color", "side", "has_body", "has_stars"),
}
TILE = 128  # width of a picture on a sheet
PLACES = {
    "center": "",
    "left": " on the left",
    "right": " on the right",
    "top": " at the top",
    "bottom": " at the bottom",
}


def plain_caption(scene: Scene) -> str:
    """Return the plainest caption that names everything that is judged."""
    if isinstance(scene, Landscape):
        return _plain_landscape(scene)
    first = scene.things[0]
    size = "" if scene.size == "medium" else scene.size + " "
    if scene.is_single:
        words = f"{with_article(f'{size}{first.color} {first.shape}')}{PLACES[scene.position]}"
    elif scene.is_pair:
        second = scene.things[1]
        words = f"{with_article(f'{first.color} {first.shape}')} and "
        words += with_article(f"{second.color} {second.shape}")
    else:
        words = f"{({2: 'two', 3: 'three'})[len(scene.things)]} {first.color} {first.shape}s"
    return f"{words} on {with_article(scene.background)} background"


def _plain_landscape(scene: Landscape) -> str:
    color = with_article(scene.subject_color)
    subject = {
        "none": "",
        "house": f"a house with {color} roof",
        "tree": "a tree",
        "trees": "trees",
        "boat": f"{color} boat",
    }[scene.subject]
    ground = GROUND_WORDS[scene.ground][0]
    if subject:
        ground = f"{subject}{PLACES[scene.side]} {GROUND_PREPOSITIONS[scene.ground][0]} {ground}"
    text = f"{ground} {TIME_PHRASES[scene.time][0]}"
    extras = [("the moon" if scene.time == "night" else "the sun")] if scene.has_body else []
    extras += ["stars"] if scene.has_stars else []
    return f"{text} with {' and '.join(extras)}" if extras else text


def held_out_scenes(count: int, seed: int) -> dict[str, list[Scene]]:
    """Return scenes per group.

    Single shapes and landscapes with a subject are combinations held out of training; a quarter of
    the landscapes is empty. Several shapes are not held out, but there are too many to meet twice.
    """
    rng = random.Random(seed)
    groups: dict[str, list[Scene]] = {name: [] for name in GROUPS}
    while any(len(scenes) < count for scenes in groups.values()):
        scene = sample_landscape(rng) if rng.random() < 0.5 else sample_shapes(rng)
        chosen = groups[_group_of(scene)]
        if len(chosen) < count and (is_held_out(scene) or _has_no_rule(scene, chosen, count)):
            chosen.append(scene)
    return groups


def _has_no_rule(scene: Scene, chosen: list[Scene], count: int) -> bool:
    """Return whether the scene may be judged though nothing like it is held out."""
    if isinstance(scene, ShapeScene):
        return not scene.is_single
    empty = sum(other.subject == "none" for other in chosen)
    return scene.subject == "none" and empty < count // 4


def _group_of(scene: Scene) -> str:
    if isinstance(scene, Landscape):
        return "landscape"
    if scene.is_single:
        return "one shape"
    return "two different shapes" if scene.is_pair else "two or three equal shapes"


def scores(judge: Judge, pictures: torch.Tensor, scenes: list[Scene], group: str) -> dict:
    """Return the share of pictures per attribute on which the judge finds what the prompt names."""
    right: dict[str, list[bool]] = {name: [] for name in (*GROUPS[group], "all of these")}
    for found, scene in zip(judge.attributes(pictures), scenes, strict=True):
        wanted = attributes_of(scene)
        hits = {name: found[name] == wanted[name] for name in GROUPS[group] if name in wanted}
        if scene_is_interchangeable(scene, found):
            hits = dict.fromkeys(hits, True)
        for name, hit in hits.items():
            right[name].append(hit)
        right["all of these"].append(all(hits.values()))
    return {name: float(np.mean(values)) for name, values in right.items() if values}


def scene_is_interchangeable(scene: Scene, found: dict[str, object]) -> bool:
    """Return whether a pair is right but for the order of its two shapes ("a and b")."""
    if not (isinstance(scene, ShapeScene) and scene.is_pair):
        return False
    swapped = ShapeScene(scene.seed, scene.background, scene.things[::-1])
    wanted = attributes_of(swapped)
    return all(found[name] == wanted[name] for name in GROUPS["two different shapes"])


def sheet(rows: list[torch.Tensor], file: Path) -> None:
    """Save rows of pictures [count, 3, h, w] from -1 to 1 as one contact sheet, each 128 pixels wide."""
    strips = [torch.cat(list(row), 2) for row in rows]
    pixels = ((torch.cat(strips, 1) + 1) * 127.5).permute(1, 2, 0).round().byte().numpy()
    scale = TILE / rows[0].shape[-1]
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(file, quality=88)


def true_pictures(scenes: list[Scene], size: tuple[int, int]) -> torch.Tensor:
    """Return the pictures as the generator paints them."""
    return to_tensor(torch.from_numpy(np.stack([draw(scene, *size)[0] for scene in scenes])))


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the scores of a checkpoint next to the judge's scores on true pictures."""
    torch.set_num_threads(arguments.threads)
    parts = Parts.load(arguments.file, arguments.device)
    judge = Judge.load(arguments.work_dir / "judge.pt")
    size = (arguments.width, arguments.height)
    rows = []
    print(
        f"{arguments.file.name} at {size[0]}x{size[1]}, CFG {arguments.cfg_scale}, 20 Euler steps"
    )
    for group, scenes in held_out_scenes(arguments.count, arguments.seed).items():
        texts = [plain_caption(scene) for scene in scenes]
        start = time.process_time()
        pictures = parts.draw(texts, size, arguments.cfg_scale, arguments.seed)
        spent = (time.process_time() - start) / len(texts)
        truth = true_pictures(scenes, size)
        real, got = (scores(judge, p, scenes, group) for p in (truth, pictures))
        print(f"{group} (n={len(scenes)}, {spent:.2f} cpu s each)")
        for name, share in got.items():
            print(f"  {name:14} {share:6.1%}   true pictures {real[name]:6.1%}")
        rows += [pictures[:8], truth[:8]]
    if arguments.sheet:
        sheet(rows, arguments.sheet)


def main() -> None:
    """Read the command line and evaluate."""
    evaluate(evaluation_parser(__doc__).parse_args())


if __name__ == "__main__":
    main()
