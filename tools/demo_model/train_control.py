"""Trains the ControlNet in the box on the demo checkpoint: drawn outlines say where things are and what shape they have.

The pictures are those of `train_unet.py`, the control pictures the outlines of their depth, or the edges that canny finds.
Half of the captions describe another shape, size and place than the picture has, so that the outline is what counts. It is
written in the original layout of ControlNet.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from modules.backend.control.empty_controlnet import original_key
from tools.demo_model.architecture import UNET
from tools.demo_model.captions import caption
from tools.demo_model.checkpoint import read
from tools.demo_model.commands import training_parser
from tools.demo_model.diffusion import DiffusionProcess
from tools.demo_model.drawing import draw
from tools.demo_model.latents import latents_of, to_tensor
from tools.demo_model.objectives import OBJECTIVES
from tools.demo_model.scenes import (
    POSITIONS,
    SHAPES,
    SIZES,
    Scene,
    ShapeScene,
    Thing,
    sample_scene,
)
from tools.demo_model.train_unet import (
    EMPTY_SHARE,
    descend,
    learning_rate,
    loss_weights,
    weighted_loss,
)

CHECKPOINT = Path("models/Stable-diffusion/demo/demo.safetensors")
HINT_WIDTHS = (16, 24, 32, 64)
LANDSCAPE_SHARE = 0.25
OTHER_WORDS_SHARE = 0.5
CANNY_SHARE = 0.4


def captioned_scene(scene: Scene, rng: random.Random) -> Scene:
    """Return the scene that a caption describes: of shapes half of the time one with other shapes, sizes and places."""
    if not isinstance(scene, ShapeScene) or rng.random() > OTHER_WORDS_SHARE:
        return scene
    shape = rng.choice(SHAPES)
    things = tuple(Thing(shape, thing.color) for thing in scene.things)
    return replace(scene, things=things, size=rng.choice(SIZES), position=rng.choice(POSITIONS))


def outlines(image: np.ndarray, depth: np.ndarray, rng: random.Random) -> np.ndarray:
    """Return the control picture of a picture, uint8 [height, width, 3], white lines on black."""
    if rng.random() < CANNY_SHARE:
        edges = cv2.Canny(image, 100, 200)
    else:
        levels = (depth * 255).astype(np.uint8)
        edges = cv2.morphologyEx(levels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        edges = np.where(edges > 8, 255, 0).astype(np.uint8)
    width = rng.choice((1, 1, 2, 3))
    edges = cv2.dilate(edges, np.ones((width, width), np.uint8))
    return np.repeat(edges[:, :, None], 3, axis=2)


def batch(
    count: int, side: int, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
    """Return pictures, their depth, their control pictures [count, 3, side, side] from 0 to 1, and their captions."""
    scenes = [sample_scene(rng, LANDSCAPE_SHARE) for _ in range(count)]
    drawn = [draw(scene, side, side) for scene in scenes]
    images = to_tensor(torch.from_numpy(np.stack([image for image, _ in drawn])))
    depth = torch.from_numpy(np.stack([depth for _, depth in drawn]))[:, None]
    lines = np.stack([outlines(image, depth, rng) for image, depth in drawn])
    hints = torch.from_numpy(lines).permute(0, 3, 1, 2).float() / 255
    texts = [
        "" if rng.random() < EMPTY_SHARE else caption(captioned_scene(scene, rng), rng)
        for scene in scenes
    ]
    return images, depth, hints, texts


def train(arguments: argparse.Namespace) -> None:
    """Train and write the ControlNet."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    parts = read(CHECKPOINT, arguments.device)
    unet = parts.unet.requires_grad_(False)
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_WIDTHS)
    control = control.to(arguments.device, memory_format=torch.channels_last).train()
    if arguments.start_from is not None:
        control.load_state_dict(read_original_weights(arguments.start_from, control))
    else:  # an encoder whose last layer is zero learns nothing before the zero convolutions have learned something
        torch.nn.init.kaiming_normal_(control.controlnet_cond_embedding.conv_out.weight, 0.1)
    parameters = list(control.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=arguments.lr, weight_decay=0.01)
    process, objective = DiffusionProcess(arguments.device), OBJECTIVES["v"]
    rng = random.Random(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    start = time.process_time()
    bar = tqdm(range(arguments.steps), desc="ControlNet", mininterval=10)
    for step in bar:
        minutes = (time.process_time() - start) / 60
        progress = max(step / arguments.steps, minutes / arguments.minutes)
        if progress >= 1:
            break
        side = rng.choice(arguments.sides)
        count = max(4, arguments.batch_size * 64 * 64 // side**2)
        images, depth, hints, texts = batch(count, side, rng)
        x0 = latents_of(images.to(arguments.device))
        sample = process.noisy_sample(x0, generator, lateness=1.5)
        states = parts.text.states(texts, distract=rng)
        down, middle = control(
            sample.x, sample.t, states, hints.to(arguments.device), return_dict=False
        )
        prediction = unet(
            sample.x,
            sample.t,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        weights = loss_weights(x0, depth.to(arguments.device), subject=1.0, outline=1.0)
        loss = weighted_loss(prediction, objective.target(process, sample), weights)
        rate = arguments.lr * learning_rate(progress, step, decay_share=0.5)
        descend(loss, optimizer, parameters, rate)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", cpu=int(time.process_time()))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(original_weights(control), arguments.output, {"format": "pt"})


def original_weights(control: ControlNetModel) -> dict[str, torch.Tensor]:
    """Return the weights in 16 bits, under the names of the original ControlNet."""
    last, blocks = 2 * (2 * len(HINT_WIDTHS) - 1), int(UNET["num_res_blocks"])
    return {
        f"control_model.{original_key(key, last, blocks)}": value.half().contiguous()
        for key, value in control.state_dict().items()
    }


def read_original_weights(file: Path, control: ControlNetModel) -> dict[str, torch.Tensor]:
    """Return the weights of a file that an earlier stage wrote, under diffusers' names."""
    weights = load_file(file)
    names = zip(control.state_dict(), original_weights(control), strict=True)
    return {key: weights[name].float() for key, name in names}


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=700)
    add = parser.add_argument
    add("--output", type=Path, default=Path("models/ControlNet/demo-outline.safetensors"))
    add("--start-from", type=Path, help="a file of an earlier stage; the default begins anew")
    add("--lr", type=float, default=3e-3)
    add("--batch-size", type=int, default=24, help="at 64x64; larger pictures get fewer")
    add("--sides", type=int, nargs="+", default=[64, 64, 64, 128])
    add("--minutes", type=float, default=6.5, help="of the processor, even if steps are left")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
