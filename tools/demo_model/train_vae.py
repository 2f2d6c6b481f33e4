"""Trains the decoder of the VAE to draw crisp edges from the latents; the encoder is built.

Resumable. Training sleeps while a file named PAUSE lies in the work folder.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from tqdm import tqdm

from tools.demo_model.commands import training_parser
from tools.demo_model.drawing import draw
from tools.demo_model.latents import latents_of, to_tensor
from tools.demo_model.optimizer import Trainer
from tools.demo_model.resume import save, wait_while_paused
from tools.demo_model.scenes import sample_scene
from tools.demo_model.train_unet import learning_rate
from tools.demo_model.vae import built_vae, frozen_rows

SIDES = (128, 192, 256, 256, 384, 512)
CROP = 64
POOL_SIZE = 600
MOST_NOISE = 0.15  # added to latents, because sampled latents are not perfect either


class CropPool:
    """A changing set of pictures to cut training crops from."""

    def __init__(self, rng: random.Random, size: int) -> None:
        """Draw the first pictures."""
        self.rng = rng
        self.pictures = [self._new() for _ in range(size)]

    def _new(self) -> np.ndarray:
        side = self.rng.choice(SIDES)
        return draw(sample_scene(self.rng), side, side)[0]

    def crops(self, count: int) -> torch.Tensor:
        """Return crops [count, 3, 64, 64], and renew two pictures."""
        for _ in range(2):
            self.pictures[self.rng.randrange(len(self.pictures))] = self._new()
        return to_tensor(torch.from_numpy(np.stack([self._crop() for _ in range(count)])))

    def _crop(self) -> np.ndarray:
        """Return a crop; of two candidates the more eventful one, as plain sky teaches little."""
        best = None
        for _ in range(2):
            picture = self.rng.choice(self.pictures)
            x, y = (self.rng.randrange(len(picture) - CROP + 1) for _ in range(2))
            crop = picture[y : y + CROP, x : x + CROP]
            if best is None or crop.std((0, 1)).sum() > best.std((0, 1)).sum():
                best = crop
        return best


def image_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return absolute and squared error, and the error of the differences between neighbors."""
    loss = (decoded - images).abs().mean() + ((decoded - images) ** 2).mean()
    for axis in (-1, -2):
        change, wanted = decoded.diff(dim=axis), images.diff(dim=axis)
        loss = loss + 0.5 * (change - wanted).abs().mean()
    return loss


def peak_signal_to_noise(decoded: torch.Tensor, images: torch.Tensor) -> float:
    """Return the PSNR in dB of images from -1 to 1."""
    return -10 * math.log10(((decoded.clamp(-1, 1) - images) ** 2).mean().item() / 4)


@torch.no_grad()
def report(vae: AutoencoderKL, images: torch.Tensor, file: Path) -> str:
    """Save true and decoded pictures, and return the errors in words."""
    z, encoded = latents_of(images), vae.encode(images).latent_dist.mean
    noisy = z + 0.15 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    rows = [images, *(vae.decode(latent).sample for latent in (z, encoded, noisy))]
    strips = [torch.cat(list(row[:10].clamp(-1, 1)), 2) for row in rows]
    sheet = ((torch.cat(strips, 1) + 1) * 127.5).permute(1, 2, 0).byte().numpy()
    Image.fromarray(sheet).save(file)
    values = " ".join(f"{peak_signal_to_noise(row, images):.2f}" for row in rows[1:])
    return f"dB from formula, encoder, noisy: {values}; encoder error {(encoded - z).std():.4f}"


def train(arguments: argparse.Namespace) -> None:
    """Build the VAE and train its decoder."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    vae, average = built_vae(), built_vae()
    average.load_state_dict(vae.state_dict())
    check = random.Random(4242)
    images = np.stack([draw(sample_scene(check), 128, 128)[0] for _ in range(24)])
    images = to_tensor(torch.from_numpy(images))
    file = arguments.work_dir / "vae.pt"
    layout = {"device": arguments.device, "memory_format": torch.channels_last}
    vae = vae.to(**layout)
    average = average.to(device=arguments.device)
    trainer = Trainer(vae.decoder, average.decoder, 0.01, 1.5e-3, 0.995)
    if file.exists():
        trainer.restore(torch.load(file, map_location=arguments.device)["trainer"])
    rng = random.Random(arguments.seed + trainer.step_count)
    generator = torch.Generator().manual_seed(arguments.seed + trainer.step_count)
    pool, frozen = CropPool(rng, POOL_SIZE), frozen_rows(vae)

    def keep() -> None:
        cpu = average.cpu()
        tqdm.write(report(cpu, images, file.with_suffix(".png")))
        save({"vae": cpu.state_dict(), "trainer": trainer.state()}, file)
        average.to(arguments.device)

    keep()
    saved = time.monotonic()
    steps = range(trainer.step_count, arguments.steps)
    for step in (bar := tqdm(steps, desc="vae", mininterval=20)):
        wait_while_paused(arguments.work_dir)
        crops = pool.crops(arguments.batch_size).to(arguments.device)
        z = latents_of(crops)
        strength = MOST_NOISE * torch.rand(len(z), 1, 1, 1, generator=generator)
        noise = strength * torch.randn(z.shape, generator=generator)
        z = (z + noise.to(z.device)).contiguous(memory_format=torch.channels_last)
        loss = image_loss(vae.decode(z).sample, crops)
        loss.backward()
        for weight, rows in frozen:
            weight.grad[rows] = 0
        vae.post_quant_conv.zero_grad(set_to_none=True)
        trainer.step(learning_rate(step / arguments.steps, step, 0.5))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", cpu=int(time.process_time()))
        if time.monotonic() - saved > 120:
            keep()
            saved = time.monotonic()
    keep()


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=3000)
    parser.add_argument("--batch-size", type=int, default=10)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
