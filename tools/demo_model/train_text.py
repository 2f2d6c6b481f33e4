"""Teaches the text encoder what captions mean, before any picture is drawn.

A linear reading of the state at the end token (and at a random padding token after it) has to
name every attribute of the scene. It takes minutes, and afterwards the UNet meets conditioning
that already holds colors, shapes and places apart, instead of having to find the words itself.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from tools.demo_model.attributes import ATTRIBUTES, UNTOLD, class_numbers
from tools.demo_model.captions import caption
from tools.demo_model.commands import training_parser
from tools.demo_model.resume import Resume
from tools.demo_model.scenes import Scene, sample_scene
from tools.demo_model.text_encoder import HIDDEN, make_text_encoder, text_states
from tools.demo_model.tokens import (
    COMPACT_EOS,
    CONTEXT_LENGTH,
    UNKNOWN,
    CompactVocabulary,
)


class AttributeReader(nn.Module):
    """One linear classifier per attribute on a text state."""

    def __init__(self, width: int = HIDDEN) -> None:
        """Make a head for every row of `ATTRIBUTES`."""
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, len(c)) for c in ATTRIBUTES.values())

    def loss(self, states: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy over all attributes that mean something."""
        losses = [
            functional.cross_entropy(
                head(states), classes[:, k], ignore_index=UNTOLD, reduction="sum"
            )
            for k, head in enumerate(self.heads)
        ]
        return sum(losses) / (classes != UNTOLD).sum()

    @torch.no_grad()
    def accuracy(self, states: torch.Tensor, classes: torch.Tensor) -> dict[str, float]:
        """Return the share of right answers per attribute."""
        result = {}
        for k, (name, head) in enumerate(zip(ATTRIBUTES, self.heads, strict=True)):
            is_named = classes[:, k] != UNTOLD
            right = head(states[is_named]).argmax(1) == classes[is_named, k]
            result[name] = right.float().mean().item()
        return result


def _summary_states(states: torch.Tensor, ids: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Return the states at the end token and at one random padding token, [2 * batch, hidden]."""
    first = (ids == COMPACT_EOS).int().argmax(1)
    later = torch.tensor([rng.randint(int(k), CONTEXT_LENGTH - 1) for k in first])
    rows = torch.arange(len(ids))
    return torch.cat([states[rows, first], states[rows, later]])


def train(arguments: argparse.Namespace) -> None:
    """Train and save the text encoder."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    vocabulary = CompactVocabulary.collect()
    model = make_text_encoder(len(vocabulary)).to(arguments.device)
    reader = AttributeReader().to(arguments.device)
    parameters = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, arguments.steps, pct_start=0.1)

    def batch(count: int) -> tuple[list[Scene], torch.Tensor, torch.Tensor]:
        scenes = [sample_scene(rng) for _ in range(count)]
        ids = vocabulary.batch([caption(scene, rng) for scene in scenes], distract=rng)
        classes = torch.tensor([class_numbers(scene) for scene in scenes])
        return scenes, ids.to(arguments.device), classes.to(arguments.device)

    resume = Resume(arguments.work_dir / "text-training.pt", model, reader, optimizer, schedule)
    first = resume.begin()
    rng = random.Random(arguments.seed + first)
    bar = tqdm(range(first, arguments.steps), desc="text encoder", mininterval=10)
    for step in bar:
        resume.keep(step)
        _, ids, classes = batch(arguments.batch_size)
        states = _summary_states(text_states(model, ids), ids, rng)
        loss = reader.loss(states, classes.repeat(2, 1))
        optimizer.zero_grad()
        loss.backward()
        model.get_input_embeddings().weight.grad[UNKNOWN] = 0
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.get_input_embeddings().weight[UNKNOWN] = 0
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
    _, ids, classes = batch(2000)
    with torch.no_grad():
        states = _summary_states(text_states(model, ids), ids, rng)
    for name, share in reader.accuracy(states, classes.repeat(2, 1)).items():
        tqdm.write(f"{name:14} {share:6.1%}")
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    resume.done()
    state = {"text_encoder": model.state_dict(), "reader": reader.state_dict()}
    torch.save({**state, "clip_ids": vocabulary.clip_ids}, arguments.work_dir / "text.pt")


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=3000)
    parser.add_argument("--batch-size", type=int, default=128)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
