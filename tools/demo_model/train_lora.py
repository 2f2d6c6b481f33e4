"""Trains the LoRA in the box on the demo checkpoint: whatever ground a landscape's prompt names, it lies in snow.

The pictures are those of `train_unet.py` with snow for every ground, the captions still name the other ground. Shapes
stay as they are, so that the LoRA learns what to leave alone. It is written under kohya-ss's names, as Civitai has them.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tqdm import tqdm

from tools.demo_model.captions import caption
from tools.demo_model.checkpoint import read
from tools.demo_model.commands import training_parser
from tools.demo_model.diffusion import DiffusionProcess
from tools.demo_model.drawing import draw
from tools.demo_model.latents import latents_of, to_tensor
from tools.demo_model.objectives import OBJECTIVES
from tools.demo_model.scenes import Landscape, Scene, sample_scene
from tools.demo_model.train_unet import (
    EMPTY_SHARE,
    descend,
    learning_rate,
    loss_weights,
    weighted_loss,
)

CHECKPOINT = Path("models/Stable-diffusion/demo/demo.safetensors")
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
LANDSCAPE_SHARE = 0.8


def in_snow(scene: Scene) -> Scene:
    """Return a landscape with snow for its ground; a boat has no place there."""
    if not isinstance(scene, Landscape):
        return scene
    subject = "none" if scene.subject == "boat" else scene.subject
    return replace(scene, ground="snow", subject=subject)


def batch(
    count: int, side: int, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Return pictures [count, 3, side, side], their depth [count, 1, side, side] and the captions of other grounds."""
    scenes = [sample_scene(rng, LANDSCAPE_SHARE) for _ in range(count)]
    drawn = [draw(in_snow(scene), side, side) for scene in scenes]
    images = to_tensor(torch.from_numpy(np.stack([image for image, _ in drawn])))
    depth = torch.from_numpy(np.stack([depth for _, depth in drawn]))[:, None]
    texts = ["" if rng.random() < EMPTY_SHARE else caption(scene, rng) for scene in scenes]
    return images, depth, texts


def kohya_weights(unet: UNet2DConditionModel, alpha: float) -> dict[str, torch.Tensor]:
    """Return the adapter's weights in 16 bits, under the names of kohya-ss."""
    weights: dict[str, torch.Tensor] = {}
    for key, value in get_peft_model_state_dict(unet).items():
        path, _, part = key.partition(".lora_")
        layer = f"lora_unet_{path.replace('.', '_')}"
        name = {"A.weight": "lora_down.weight", "B.weight": "lora_up.weight"}[part]
        weights[f"{layer}.{name}"] = value.half().contiguous()
        weights[f"{layer}.alpha"] = torch.tensor(alpha).half()
    return weights


def train(arguments: argparse.Namespace) -> None:
    """Train and write the LoRA."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    parts = read(CHECKPOINT, arguments.device)
    unet = parts.unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=arguments.rank, lora_alpha=arguments.rank, target_modules=LAYERS))
    parameters = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.lr, weight_decay=0.01)
    process, objective = DiffusionProcess(arguments.device), OBJECTIVES["v"]
    rng = random.Random(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    start = time.monotonic()
    bar = tqdm(range(arguments.steps), desc="LoRA", mininterval=10)
    for step in bar:
        progress = max(step / arguments.steps, (time.monotonic() - start) / 60 / arguments.minutes)
        if progress >= 1:
            break
        side = rng.choice(arguments.sides)
        images, depth, texts = batch(max(4, arguments.batch_size * 64 * 64 // side**2), side, rng)
        x0 = latents_of(images.to(arguments.device))
        sample = process.noisy_sample(x0, generator, lateness=1.5)
        states = parts.text.states(texts, distract=rng)
        prediction = unet(sample.x, sample.t, states).sample
        weights = loss_weights(x0, depth.to(arguments.device), subject=1.0, outline=1.0)
        loss = weighted_loss(prediction, objective.target(process, sample), weights)
        rate = arguments.lr * learning_rate(progress, step, decay_share=0.5)
        descend(loss, optimizer, parameters, rate)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", cpu=int(time.process_time()))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "ss_base_model_version": "sd_v1",
        "ss_network_dim": str(arguments.rank),
        "ss_network_alpha": str(arguments.rank),
        "ss_network_module": "networks.lora",
        "ss_sd_model_name": CHECKPOINT.name,
        "ss_output_name": arguments.output.stem,
    }
    save_file(kohya_weights(unet, arguments.rank), arguments.output, metadata)


def main() -> None:
    """Read the command line and train."""
    parser = training_parser(__doc__, steps=600)
    add = parser.add_argument
    add("--output", type=Path, default=Path("models/Lora/demo-snow.safetensors"))
    add("--rank", type=int, default=8)
    add("--lr", type=float, default=3e-3)
    add("--batch-size", type=int, default=32, help="at 64x64; larger pictures get fewer")
    add("--sides", type=int, nargs="+", default=[64, 64, 128])
    add("--minutes", type=float, default=20, help="stop after so long, even if steps are left")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
