"""Trains the tiny decoder that shows previews of the demo models: TAESD's layout, a quarter of its width.

It learns from the same pictures as the VAE (`train_vae.py`), and from blurred ones: what a UNet predicts in the first
steps is blurred. Resumable; training sleeps while a file named PAUSE lies in the work folder.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from diffusers.models.autoencoders.vae import DecoderTiny
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from tools.demo_model.commands import training_parser
from tools.demo_model.latents import latents_of
from tools.demo_model.optimizer import Trainer
from tools.demo_model.resume import save, wait_while_paused
from tools.demo_model.train_unet import learning_rate
from tools.demo_model.train_vae import (
    MOST_NOISE,
    CropPool,
    image_loss,
    peak_signal_to_noise,
)

FILE = Path(__file__).parents[2] / "models/VAE-approx/taesd-demo_decoder.safetensors"
WIDTH = 16  # 64 in TAESD, which costs eleven times as much
BLOCKS = (3, 3, 3, 1)
ENDS = ("layers.0.", f"layers.{len(BLOCKS) * 2 + sum(BLOCKS)}.")
POOL_SIZE = 300
BLURS = (2, 4, 8)  # pixels that become one


def make_decoder() -> DecoderTiny:
    """Return an untrained decoder: latents [batch, 4, h, w] to images [batch, 3, 8 h, 8 w] from -1 to 1."""
    return DecoderTiny(4, 3, BLOCKS, (WIDTH,) * len(BLOCKS), 2, "relu", "nearest")


def blur_some(images: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Return images of which a quarter is blurred."""
    blurred = images.clone()
    for row in range(len(images)):
        if rng.random() < 0.25:
            small = functional.avg_pool2d(images[row : row + 1], rng.choice(BLURS))
            blurred[row] = functional.interpolate(small, images.shape[2:], mode="bilinear")[0]
    return blurred


def in_original_layout(decoder: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights in half precision under TAESD's names, in which layer 0 is the clamp."""
    weights: dict[str, torch.Tensor] = {}
    for name, weight in decoder.state_dict().items():
        _, number, rest = name.split(".", 2)
        weights[f"{int(number) + 1}.{rest}"] = weight.half().contiguous()
    return weights


def train(arguments: argparse.Namespace) -> None:
    """Train the decoder and write its file."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    decoder, average = make_decoder(), make_decoder()
    layout = {"device": arguments.device, "memory_format": torch.channels_last}
    decoder, average = decoder.to(**layout), average.to(device=arguments.device)
    trainer = Trainer(decoder, average, 0.01, 2e-3, 0.995, ENDS)
    file = arguments.work_dir / "preview.pt"
    if file.exists():
        trainer.restore(torch.load(file, map_location=arguments.device)["trainer"])
    check = CropPool(random.Random(4242), 40).crops(32)
    rng = random.Random(arguments.seed + trainer.step_count)
    generator = torch.Generator().manual_seed(arguments.seed + trainer.step_count)
    pool, saved = CropPool(rng, POOL_SIZE), time.monotonic()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    steps = range(trainer.step_count, arguments.steps)
    for step in (bar := tqdm(steps, desc="preview", mininterval=20)):
        wait_while_paused(arguments.work_dir)
        crops = blur_some(pool.crops(arguments.batch_size), rng)
        z = latents_of(crops)
        strength = MOST_NOISE * torch.rand(len(z), 1, 1, 1, generator=generator)
        z = z + strength * torch.randn(z.shape, generator=generator)
        loss = image_loss(decoder(z.to(arguments.device)), crops.to(arguments.device))
        loss.backward()
        trainer.step(learning_rate(step / arguments.steps, step, 0.5))
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", cpu=int(time.process_time()))
        if time.monotonic() - saved > 60:
            save({"trainer": trainer.state()}, file)
            saved = time.monotonic()
    with torch.no_grad():
        decoded = average.cpu()(latents_of(check))
    tqdm.write(f"{peak_signal_to_noise(decoded, check):.2f} dB, {time.process_time():.0f} s of CPU")
    save({"trainer": trainer.state()}, file)
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    save_file(in_original_layout(average), arguments.file, {"format": "pt"})


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=2200)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--file", type=Path, default=FILE)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
