"""Trains the depth estimator on the generator's true depth.

Resumable: the work folder keeps weights and optimizer state. Training sleeps while a file named
PAUSE lies there.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from torch.nn import functional
from tqdm import tqdm

from tools.demo_model.commands import training_parser
from tools.demo_model.depth_estimator import SIDE, make_estimator
from tools.demo_model.judge import degrade
from tools.demo_model.latents import latents_of
from tools.demo_model.optimizer import Trainer
from tools.demo_model.resume import save, wait_while_paused
from tools.demo_model.train_unet import Size, batch_of_scenes, learning_rate
from tools.demo_model.vae import make_vae

SIZES = (Size(SIDE, SIDE, 0.7), Size(128, 128, 0.1), Size(256, 192, 0.1), Size(192, 256, 0.1))
MOST_NOISE = (
    0.35  # in latents, whose deviation is 1: drawn pictures are about so far from true ones
)
CHECKED = 100  # new pictures that the error is measured on


def depth_loss(found: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Return absolute error, and the error of the differences between neighbors."""
    loss = (found - depth).abs().mean()
    for axis in (-1, -2):
        loss = loss + (found.diff(dim=axis) - depth.diff(dim=axis)).abs().mean()
    return loss


def relative_error(found: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of each picture in parts of its own range of depth.

    The estimate is shifted and scaled to fit first, as for MiDaS (Ranftl et al. 2022, eq. 2): its
    unit means nothing, for the UNet sees it stretched.

    Args:
        found: Estimated depth, [batch, 1, h, w].
        depth: True depth, same shape.
    """
    x, y = found.flatten(1), depth.flatten(1)
    x, middle = x - x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    scale = (x * (y - middle)).sum(1, keepdim=True) / (x**2).sum(1, keepdim=True).clamp(min=1e-8)
    spread = (y.amax(1) - y.amin(1)).clamp(min=1e-3)
    return (scale * x + middle - y).abs().mean(1) / spread


@torch.no_grad()
def report(model: torch.nn.Module, seed: int) -> str:
    """Return the error on pictures that training did not show, in words."""
    rng, errors = random.Random(seed), []
    for _ in range(CHECKED // 10):
        images, depth, _ = batch_of_scenes(10, SIZES[0], rng)
        errors.append(relative_error(model(images).predicted_depth[:, None], depth))
    error = torch.cat(errors)
    return f"mean error {error.mean():.1%} of the range, worst picture {error.max():.1%}"


class Softener:
    """Makes true pictures look as if the model had drawn them.

    Args:
        file: What `train_vae.py` saved.
        share: How many of the batches.
        device: Where the pictures are.
        seed: Of the noise.
    """

    def __init__(self, file: Path, share: float, device: str, seed: int) -> None:
        self._share, self._generator = share, torch.Generator().manual_seed(seed)
        if share:
            self._vae = make_vae().to(device).eval()
            self._vae.load_state_dict(torch.load(file, map_location=device)["vae"])

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, rng: random.Random) -> torch.Tensor:
        """Return the pictures [batch, 3, h, w] a little noisy and soft, or through noisy latents."""
        if rng.random() >= self._share:
            return degrade(images, rng)
        z = latents_of(images)
        noise = torch.randn(z.shape, generator=self._generator).to(z.device)
        z = z + rng.random() * MOST_NOISE * noise
        return self._vae.decode(z).sample.clamp(-1, 1)


def train(arguments: argparse.Namespace) -> None:
    """Train, save every few minutes, and print the error."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device, file = arguments.device, arguments.work_dir / "depth-estimator.pt"
    model, average = make_estimator().to(device), make_estimator().to(device)
    trainer = Trainer(model, average, 0.01, 2e-3, 0.995)
    if file.exists():
        trainer.restore(torch.load(file, map_location=device))
    seed = arguments.seed + trainer.step_count
    rng = random.Random(seed)
    softened = Softener(arguments.work_dir / "vae.pt", arguments.decoded_share, device, seed)

    saved = time.monotonic()
    steps = range(trainer.step_count, arguments.steps)
    for step in (bar := tqdm(steps, desc="depth estimator", mininterval=10)):
        wait_while_paused(arguments.work_dir)
        size = rng.choices(SIZES, [s.share for s in SIZES])[0]
        images, depth, _ = batch_of_scenes(arguments.batch_size, size, rng)
        images = softened(images.to(device), rng)
        wanted = functional.interpolate(depth, (SIDE, SIDE), mode="bilinear").to(device)
        squares = functional.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        loss = depth_loss(model(squares).predicted_depth[:, None], wanted)
        loss.backward()
        trainer.step(learning_rate(step / arguments.steps, step, 0.7))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", cpu=int(time.process_time()))
        if time.monotonic() - saved > 120:
            save(trainer.state(), file)
            saved = time.monotonic()
    save(trainer.state(), file)
    print(report(average.cpu().eval(), arguments.seed + 1))


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=1000)
    parser.add_argument("--decoded-share", type=float, default=0, help="batches through the VAE")
    parser.add_argument("--batch-size", type=int, default=8)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
