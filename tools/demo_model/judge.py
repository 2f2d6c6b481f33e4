"""A small classifier that names what a picture shows; trained on true pictures only."""

from __future__ import annotations

import argparse
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from tools.demo_model.attributes import ATTRIBUTES, class_numbers
from tools.demo_model.commands import training_parser
from tools.demo_model.drawing import draw
from tools.demo_model.latents import to_tensor
from tools.demo_model.resume import Resume
from tools.demo_model.scenes import Scene, sample_landscape, sample_shapes
from tools.demo_model.train_text import AttributeReader

SIDE = 64
SIZES = ((128, 128), (128, 128), (160, 128), (128, 160), (256, 256))


class Judge(nn.Module):
    """Reads the attributes of a scene off its picture."""

    def __init__(self) -> None:
        """Make an untrained judge."""
        super().__init__()
        widths, layers = (3, 24, 48, 96, 96), []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, 192), nn.ReLU())
        self.reader = AttributeReader(192)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features [batch, 192] of images [batch, 3, h, w] of any size, from -1 to 1."""
        size = (SIDE, SIDE)
        return self.body(functional.interpolate(images, size, mode="bilinear", antialias=True))

    @torch.no_grad()
    def attributes(self, images: torch.Tensor) -> list[dict[str, object]]:
        """Return what each picture shows, by attribute name."""
        features = self(images)
        found: list[dict[str, object]] = [{} for _ in images]
        for (name, classes), head in zip(ATTRIBUTES.items(), self.reader.heads, strict=True):
            for facts, k in zip(found, head(features).argmax(1).tolist(), strict=True):
                facts[name] = classes[k]
        return found

    @classmethod
    def load(cls, file: Path) -> Judge:
        """Read a trained judge."""
        judge = cls()
        judge.load_state_dict(torch.load(file, map_location="cpu"))
        return judge.eval()


def random_scene(rng: random.Random) -> Scene:
    """Return any scene, held out or not: the judge has to know them all."""
    return sample_landscape(rng) if rng.random() < 0.45 else sample_shapes(rng)


def degrade(images: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Return the pictures a little noisy or soft, as decoded latents are."""
    if rng.random() < 0.4:
        small = functional.interpolate(images, scale_factor=0.5, mode="area")
        images = functional.interpolate(small, images.shape[-2:], mode="bilinear")
    return images + rng.random() * 0.08 * torch.randn(images.shape, device=images.device)


def train(arguments: argparse.Namespace) -> None:
    """Train the judge and print its accuracy on new pictures."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device = arguments.device
    judge = Judge().to(device)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, arguments.steps, pct_start=0.1)

    resume = Resume(arguments.work_dir / "judge-training.pt", judge, optimizer, schedule)
    first = resume.begin()
    rng = random.Random(arguments.seed + first)

    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        scenes, (width, height) = [random_scene(rng) for _ in range(count)], rng.choice(SIZES)
        pictures = np.stack([draw(scene, width, height)[0] for scene in scenes])
        classes = torch.tensor([class_numbers(scene) for scene in scenes])
        return to_tensor(torch.from_numpy(pictures)).to(device), classes.to(device)

    for step in (bar := tqdm(range(first, arguments.steps), desc="judge", mininterval=10)):
        resume.keep(step)
        images, classes = batch(64)
        loss = judge.reader.loss(judge(degrade(images, rng)), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
    judge.eval()
    images, classes = zip(*(batch(50) for _ in range(20)), strict=True)
    with torch.no_grad():
        features = torch.cat([judge(part) for part in images])
    for name, share in judge.reader.accuracy(features, torch.cat(classes)).items():
        print(f"{name:14} {share:6.1%} of true pictures")
    resume.done()
    torch.save(judge.state_dict(), arguments.work_dir / "judge.pt")


def main() -> None:
    """Read the command line and train."""
    train(training_parser(__doc__, steps=2500, seed=5).parse_args())


if __name__ == "__main__":
    main()
