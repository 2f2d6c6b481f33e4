"""Fits the text encoder to OpenCLIP's GELU, so that SD 2.x layouts can carry it.

SD 1.x computes the quick GELU, SD 2.x the exact one. The copy learns to give the same text states
as the original, so that a UNet trained on those serves both layouts.
"""

from __future__ import annotations

import argparse
import random

import torch
from tqdm import tqdm

from tools.demo_model.captions import caption
from tools.demo_model.commands import training_parser
from tools.demo_model.resume import Resume
from tools.demo_model.scenes import sample_scene
from tools.demo_model.text_encoder import make_text_encoder, text_states
from tools.demo_model.text_side import TextSide
from tools.demo_model.tokens import UNKNOWN


def train(arguments: argparse.Namespace) -> None:
    """Fit the copy and save it as text-gelu.pt."""
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    saved = torch.load(arguments.work_dir / "text.pt", map_location=device)
    original = TextSide.build(saved, device)
    copy = make_text_encoder(len(original.vocabulary), activation="gelu").to(device)
    copy.load_state_dict(saved["text_encoder"])
    optimizer = torch.optim.AdamW(copy.parameters(), 5e-4, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, arguments.steps, pct_start=0.1)
    resume = Resume(arguments.work_dir / "text-gelu-training.pt", copy, optimizer, schedule)
    first = resume.begin()
    rng = random.Random(arguments.seed + first)
    bar = tqdm(range(first, arguments.steps), desc="text encoder, GELU", mininterval=10)
    for step in bar:
        resume.keep(step)
        texts = [caption(sample_scene(rng), rng) for _ in range(31)]
        ids = original.vocabulary.batch([*texts, ""], distract=rng).to(device)
        with torch.no_grad():
            wanted = text_states(original.encoder, ids)
        loss = ((text_states(copy, ids) - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        copy.get_input_embeddings().weight.grad[UNKNOWN] = 0
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(error=f"{loss.item() ** 0.5:.4f}")
    print(f"mean error of a text state: {loss.item() ** 0.5:.4f} (states have deviation 1)")
    resume.done()
    state = {"text_encoder": copy.state_dict(), "clip_ids": original.vocabulary.clip_ids}
    torch.save(state, arguments.work_dir / "text-gelu.pt")


def main() -> None:
    """Read the command line and fit."""
    train(training_parser(__doc__, steps=1200, seed=3).parse_args())


if __name__ == "__main__":
    main()
