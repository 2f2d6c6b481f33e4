"""Trains the UNet on freshly drawn scenes: mixed sizes, the text encoder fixed.

Resumable: the work folder keeps weights and optimizer state. Training sleeps while a file named
PAUSE lies there. Start it with torchrun to share every batch among several processes.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import distributed
from torch.nn import functional
from tqdm import tqdm

from tools.demo_model.architecture import make_unet
from tools.demo_model.captions import caption
from tools.demo_model.checkpoint import unet_weights
from tools.demo_model.commands import training_parser
from tools.demo_model.diffusion import DiffusionProcess
from tools.demo_model.drawing import draw
from tools.demo_model.latents import latents_of, thumbnails, to_tensor
from tools.demo_model.objectives import OBJECTIVES, Objective
from tools.demo_model.optimizer import Trainer
from tools.demo_model.resume import save, wait_while_paused
from tools.demo_model.sampling import sample
from tools.demo_model.scenes import sample_scene
from tools.demo_model.tasks import TASKS, widen
from tools.demo_model.text_side import TextSide

EMPTY_SHARE = 0.1  # captions dropped for classifier-free guidance
NEAR = 0.6  # depth from which a pixel belongs to the subject
EDGE = 0.5  # outline channel above which a latent holds an edge
PREVIEW_PROMPTS = (
    *("a red circle on a blue background", "a yellow star on a purple background"),
    *("a small green heart on the left on a white background", "a large pink square on black"),
    *("a blue triangle on an orange background", "two red hearts on a yellow background"),
    *(
        "a green diamond and a white star on a black background",
        "masterpiece, a photo of a yellow star",
    ),
    *("a house with a red roof on hills under a blue sky", "mountains at sunset"),
    *("a boat on the sea at night with the moon", "a tree in a desert at dusk"),
    *("a house with a blue roof in the snow under a cloudy sky", "mountains at night with stars"),
    *(
        "trees in a meadow on a sunny day with the sun",
        "a red boat on the sea at sunrise with the sun",
    ),
)


@dataclass(frozen=True)
class Size:
    """One picture size of the mix, and how often it is drawn."""

    width: int
    height: int
    share: float

    @classmethod
    def parse(cls, text: str) -> list[Size]:
        """Return the sizes of "128x128:3,192x128:1"."""
        sizes = []
        for item in text.split(","):
            pixels, _, share = item.partition(":")
            width, height = pixels.split("x")
            sizes.append(cls(int(width), int(height), float(share or 1)))
        return sizes


def batch_of_scenes(
    count: int, size: Size, rng: random.Random, landscape_share: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Return pictures [count, 3, h, w], depth [count, 1, h, w] and captions of new scenes."""
    scenes = [sample_scene(rng, landscape_share) for _ in range(count)]
    supersampling = 2 if size.width * size.height < 300 * 300 else 1
    drawn = [draw(scene, size.width, size.height, supersampling) for scene in scenes]
    images = to_tensor(torch.from_numpy(np.stack([image for image, _ in drawn])))
    depth = torch.from_numpy(np.stack([depth for _, depth in drawn]))[:, None]
    texts = ["" if rng.random() < EMPTY_SHARE else caption(scene, rng) for scene in scenes]
    return images, depth, texts


def loss_weights(
    x0: torch.Tensor, depth: torch.Tensor, subject: float, outline: float
) -> torch.Tensor:
    """Return how much each latent counts, [batch, 1, h / 8, w / 8].

    Args:
        x0: Clean latents; the last channel is the outline.
        depth: Depth of the pictures, [batch, 1, h, w].
        subject: Added where the subject is.
        outline: Added where the picture has an edge, for there shapes differ. The last row and
            column have an edge in every picture (see latents.py) and are left out.
    """
    near = functional.avg_pool2d((depth > NEAR).float(), 8)
    edge = (x0[:, 3:] > EDGE).float()
    edge[..., -1:, :] = 0
    edge[..., -1:] = 0
    return 1 + subject * near + outline * edge


def weighted_loss(
    prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the squared error, averaged with weights."""
    error = ((prediction - target) ** 2).mean(1, keepdim=True)
    return (error * weights).sum() / weights.sum()


def share_gradients(model: torch.nn.Module, world: int) -> None:
    """Replace gradients by their mean over all processes."""
    if world == 1:
        return
    gradients = [p.grad for p in model.parameters()]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def preview(
    unet: UNet2DConditionModel, text: TextSide, objective: Objective, side: int, file: Path
) -> None:
    """Save a contact sheet of the preview prompts, in block colors."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(PREVIEW_PROMPTS), 4, side, side, generator=generator).to(text.device)
    states = text.states(list(PREVIEW_PROMPTS))
    x = sample(unet, states, text.states([""]), noise, objective=objective)
    tiles = ((thumbnails(x).cpu().clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).byte().numpy()
    sheet = Image.new("RGB", (8 * 130, 2 * 130))
    for k, tile in enumerate(tiles):
        tile = Image.fromarray(tile).resize((128, 128), Image.Resampling.BICUBIC)
        sheet.paste(tile, (k % 8 * 130, k // 8 * 130))
    sheet.save(file)


def learning_rate(progress: float, step: int, decay_share: float) -> float:
    """Return the share of the base rate: short warm-up, constant, linear to zero at the end."""
    return min(1.0, (step + 1) / 30) * min(1.0, max(0.01, (1 - progress) / decay_share))


def descend(
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.nn.Parameter],
    rate: float,
) -> None:
    """Take one step down the gradient of a loss, which is at most 1 long, and forget the gradient."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()


def _state_of(file: Path, in_channels: int, device: str) -> dict[str, object]:
    """Return the trainer state in a file; only weights, if they come from another kind of model."""
    if file.suffix == ".safetensors":
        state = {"average": unet_weights(load_file(file))}
        state["average"] = {key: value.float() for key, value in state["average"].items()}
    else:
        state = torch.load(file, map_location=device)
    if state["average"]["conv_in.weight"].shape[1] == in_channels:
        return state
    return {"average": widen(state["average"], in_channels)}


class Run:
    """One training run: model, data and the clock."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Build or resume everything from the work folder."""
        self.arguments = arguments
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if self.world > 1:
            distributed.init_process_group("gloo" if arguments.device == "cpu" else "nccl")
        torch.set_num_threads(arguments.threads)
        torch.manual_seed(arguments.seed)
        work = arguments.work_dir
        self.text = TextSide.load(work / "text.pt", arguments.device)
        self.task = TASKS[arguments.task]
        self.objective = OBJECTIVES[arguments.objective]
        unet, average = (make_unet(self.task.in_channels) for _ in range(2))
        with torch.no_grad():
            unet.conv_out.weight.zero_()
            unet.conv_out.bias.zero_()
        layout = {"device": arguments.device, "memory_format": torch.channels_last}
        unet, average = unet.to(**layout), average.to(**layout)
        self.trainer = Trainer(
            unet, average, arguments.muon_lr, arguments.adam_lr, arguments.average_decay
        )
        self.file = work / f"{arguments.name}.pt"
        self.first_step = 0
        start = self.file if self.file.exists() else arguments.start
        if start:
            state = _state_of(start, self.task.in_channels, arguments.device)
            self.trainer.restore(state)
        if start == self.file:  # stopped within this stage
            self.first_step = state.get("stage_step", 0)
        seed = arguments.seed + self.trainer.step_count * 97
        self.shared_rng = random.Random(seed)  # equal in all processes: the size of each step
        self.rng = random.Random(seed * 31 + self.rank)
        self.generator = torch.Generator().manual_seed(seed * 31 + self.rank)
        self.process = DiffusionProcess(arguments.device)
        self.sizes = Size.parse(arguments.sizes)

    def step(self, rate: float) -> float:
        """Train on one batch and return its loss."""
        size = self.shared_rng.choices(self.sizes, [s.share for s in self.sizes])[0]
        pixels = size.width * size.height
        count = max(3, self.arguments.batch_size * 128 * 128 // pixels)
        images, depth, texts = batch_of_scenes(
            count, size, self.rng, self.arguments.landscape_share
        )
        device = self.arguments.device
        x0 = latents_of(images.to(device)).contiguous(memory_format=torch.channels_last)
        sample = self.process.noisy_sample(x0, self.generator, self.arguments.lateness)
        extra = self.task.extra(images.to(device), depth.to(device), self.rng)
        x = sample.x if extra is None else torch.cat([sample.x, extra], 1)
        states = self.text.states(texts, distract=self.rng)
        with torch.autocast(device, torch.bfloat16, enabled=self.arguments.bfloat16):
            prediction = self.trainer.model(x, sample.t, states).sample
        weights = loss_weights(
            x0, depth.to(device), self.arguments.subject_weight, self.arguments.outline_weight
        )
        scale = self.objective.scale(self.process, sample.t)
        target = self.objective.target(self.process, sample)
        loss = weighted_loss(prediction.float() * scale, target * scale, weights)
        loss.backward()
        share_gradients(self.trainer.model, self.world)
        self.trainer.step(rate)
        return loss.item()

    def save(self, stage_step: int) -> None:
        """Write weights, optimizer state and a preview; `stage_step` is the next to do."""
        if self.rank == 0:
            save({**self.trainer.state(), "stage_step": stage_step}, self.file)
            if self.task.in_channels == 4:
                side = min(32, max(s.width for s in self.sizes) // 8)
                file = self.file.with_suffix(".png")
                preview(self.trainer.average, self.text, self.objective, side, file)

    def progress(self, step: int, start: float) -> float:
        """Return how much of the run is done, the same in all processes; 1 or more is the end."""
        share = step / self.arguments.steps
        if self.arguments.minutes:
            share = max(share, (time.monotonic() - start) / 60 / self.arguments.minutes)
        shared = torch.tensor([share])
        if self.world > 1:
            distributed.broadcast(shared, 0)
        return shared.item()

    def train(self) -> None:
        """Train until the steps or the minutes are done."""
        arguments = self.arguments
        hidden = self.rank > 0
        steps = range(self.first_step, arguments.steps)
        bar = tqdm(steps, desc=arguments.name, disable=hidden, mininterval=20)
        losses, saved, start = [], time.monotonic(), time.monotonic()
        for step in bar:
            wait_while_paused(arguments.work_dir)
            progress = self.progress(step, start)
            if progress >= 1:
                break
            rate = learning_rate(progress, step, arguments.decay_share)
            losses = [*losses[-199:], self.step(rate)]
            if step % 20 == 0:
                mean = sum(losses) / len(losses)
                bar.set_postfix(loss=f"{mean:.4f}", cpu=int(time.process_time()))
            if time.monotonic() - saved > 60 * arguments.save_minutes:
                self.save(step + 1)
                saved = time.monotonic()
        self.save(arguments.steps)


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=10000)
    add = parser.add_argument
    add("--name", default="unet", help="name of this stage's file in the work folder")
    add("--task", choices=list(TASKS), default="text")
    add("--objective", choices=list(OBJECTIVES), default="v", help="what the UNet predicts")
    add("--start", type=Path, help="earlier stage (.pt) or checkpoint to start from")
    add("--batch-size", type=int, default=64, help="at 128x128; larger pictures get fewer")
    add("--sizes", default="128x128", help="picture sizes and shares, as 128x128:3,192x128:1")
    add("--muon-lr", type=float, default=0.015)
    add("--adam-lr", type=float, default=2e-3)
    add("--average-decay", type=float, default=0.998)
    add("--decay-share", type=float, default=0.3, help="last part of the run with falling rate")
    add("--lateness", type=float, default=1.5, help="above 1: more of the noisiest timesteps")
    add("--subject-weight", type=float, default=1.5)
    add("--outline-weight", type=float, default=2.0)
    add("--landscape-share", type=float, default=0.5)
    add("--bfloat16", action="store_true", help="compute in bfloat16, for processors that can")
    add("--minutes", type=float, help="stop after so long, even if steps are left")
    add("--save-minutes", type=float, default=4)
    Run(parser.parse_args()).train()


if __name__ == "__main__":
    main()
