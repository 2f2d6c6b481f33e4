"""Fits the text encoder to what SD 2.x does, so that its layout can carry it.

SD 1.x computes the quick GELU and repeats the end token up to 77; SD 2.x computes the exact GELU
and fills up with token 0. The copy learns to give the same text states as the original, so that a
UNet trained on those serves both layouts.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from tqdm import tqdm

from tools.demo_model.captions import caption
from tools.demo_model.resume import Resume
from tools.demo_model.scenes import sample_scene
from tools.demo_model.text_encoder import make_text_encoder, text_states
from tools.demo_model.text_side import TextSide
from tools.demo_model.tokens import COMPACT_EOS, UNKNOWN


def padded_with_zeros(ids: torch.Tensor) -> torch.Tensor:
    """Return token rows [batch, 77] with token 0, an unknown word's, after the first end token."""
    has_ended = (ids == COMPACT_EOS).int().cumsum(1) > 1
    return ids.masked_fill(has_ended, UNKNOWN)


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
    bar = tqdm(range(first, arguments.steps), desc="text encoder, SD 2.x", mininterval=10)
    for step in bar:
        resume.keep(step)
        texts = [caption(sample_scene(rng), rng) for _ in range(31)]
        ids = original.vocabulary.batch([*texts, ""], distract=rng).to(device)
        with torch.no_grad():
            wanted = text_states(original.encoder, ids)
        loss = ((text_states(copy, padded_with_zeros(ids)) - wanted) ** 2).mean()
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path("tools/demo_model/work"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=3)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
