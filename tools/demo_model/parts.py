"""A demo checkpoint as its users get it: read by the program's own loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modules.backend.components import Components, Precision
from modules.backend.conditioning import text
from modules.backend.loading.loader import LoadOptions, load_components
from modules.prompt.chunks import Chunker
from modules.prompt.tokens import ClipTokenizer
from tools.demo_model.objectives import OBJECTIVES, Objective
from tools.demo_model.sampling import sample
from tools.demo_model.tokens import clip_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

FULL = Precision(torch.float32, torch.float32, torch.float32)
PREDICTS = {"epsilon": "eps", "v_prediction": "v"}
AT_ONCE = 10  # pictures


@dataclass(frozen=True)
class Parts:
    """The loaded networks and what is needed to draw with them.

    Attributes:
        components: UNet, VAE, text encoder, and depth estimator if there is one.
        tokenizer: Splits prompts.
        device: Where the networks compute.
    """

    components: Components
    tokenizer: ClipTokenizer
    device: str

    @classmethod
    def load(cls, file: Path, device: str = "cpu") -> Parts:
        """Read a checkpoint with the .yaml next to it, in 32-bit floats."""
        choices = LoadOptions(device=torch.device(device))
        components = load_components(file, file.with_suffix(".yaml"), FULL, choices)
        return cls(components, clip_tokenizer(), device)

    @property
    def objective(self) -> Objective:
        """Return what the UNet predicts."""
        return OBJECTIVES[PREDICTS[self.components.prediction_type]]

    @torch.no_grad()
    def states(self, texts: list[str]) -> torch.Tensor:
        """Return text states [batch, 77, hidden]."""
        (text_encoder,) = self.components.text_encoders
        chunker = Chunker(self.tokenizer, pad_token_id=text_encoder.pad_token_id)
        return torch.cat(text.encode_texts(text_encoder, chunker, texts).hidden)

    @torch.no_grad()
    def draw(
        self,
        texts: list[str],
        size: tuple[int, int],
        cfg_scale: float,
        seed: int,
        extra: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return pictures [count, 3, height, width] from -1 to 1.

        Args:
            texts: One prompt a picture.
            size: Width and height.
            cfg_scale: Weight of the prompt.
            seed: Of the noise.
            extra: What the UNet gets in addition to the latents, [count, channels, height / 8, width / 8].
        """
        generator = torch.Generator().manual_seed(seed)
        width, height = size
        vae, empty, pictures = self.components.vae, self.states([""]), []
        for start in range(0, len(texts), AT_ONCE):
            states = self.states(texts[start : start + AT_ONCE])
            shape = (len(states), 4, height // 8, width // 8)
            noise = torch.randn(shape, generator=generator).to(self.device)
            channels = None if extra is None else extra[start : start + AT_ONCE].to(self.device)
            z = sample(
                self.components.unet, states, empty, noise, cfg_scale, channels, self.objective
            )
            pictures.append(vae.decode(z / vae.config["scaling_factor"]).sample.clamp(-1, 1).cpu())
        return torch.cat(pictures)
