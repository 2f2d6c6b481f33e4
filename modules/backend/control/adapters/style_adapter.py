"""T2I-Adapter's style adapter (Mou et al., 2023): the output of an image encoder becomes tokens after those of the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from modules.backend.control.adapters.clip_vision import EncodedImage
from modules.backend.control.adapters.encoded_images import EncodedImages
from modules.backend.control.adapters.weights import open_adapter, without_weights
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.core.errors import BadFile
from modules.models.control.style_adapter import StyleAdapterFacts, read_facts
from modules.models.files.scan import ModelFile

_HEADS = 8
_NOUN = "T2I style adapter"


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))  # CLIP's quick GELU


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        normalized = self.ln_1(x)
        x = x + self.attn(normalized, normalized, normalized, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class StyleAdapter(nn.Module):
    """The network of t2iadapter_style_sd14v1.pth.

    Args:
        facts: Its sizes.
    """

    def __init__(self, facts: StyleAdapterFacts) -> None:
        super().__init__()
        width = facts.image_width
        blocks = (_Block(width) for _ in range(facts.layer_count))
        self.transformer_layes = nn.Sequential(*blocks)
        self.style_embedding = nn.Parameter(torch.zeros(1, facts.token_count, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, facts.context_width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return tokens, [images, tokens, context width].

        Args:
            hidden: [images, tokens of the image, image width], after the encoder's last layer.
        """
        own = self.style_embedding.expand(len(hidden), -1, -1)
        x = self.transformer_layes(self.ln_pre(torch.cat((hidden, own), 1)))
        return self.ln_post(x[:, -own.shape[1] :]) @ self.proj


class ImageStyles(EncodedImages):
    """The tokens that a style adapter made of the latest images, [1, tokens, context width].

    Args:
        adapter: The network.
    """

    def __init__(self, adapter: StyleAdapter) -> None:
        super().__init__(self._make_tokens)
        self._adapter = adapter

    def _make_tokens(self, encoded: EncodedImage) -> Tensor:
        return self._adapter(encoded.last_hidden[:1].to(self._adapter.proj.dtype))


def load_style_adapter(file: ModelFile, dtype: torch.dtype, device: torch.device) -> StyleAdapter:
    """Return the style adapter of a file.

    Args:
        file: The file.
        dtype: To compute in.
        device: Likewise.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged, incomplete, or of another kind.
    """
    opened = open_adapter(file, _NOUN)
    facts = read_facts(opened.header.tensors)
    if isinstance(facts, str):
        raise BadFile(f"'{opened.name}' {facts}", "Get it from another source.")
    with without_weights():
        adapter = StyleAdapter(facts)
    return opened.load_into(adapter, str, dtype, device)


class StyleExtension(StepExtension):
    """Puts tokens behind the text of the prompt, and as many zeros behind that of the negative one.

    Args:
        tokens: [1, tokens, context width], already weighed.
        is_active: Whether it takes part in an evaluation, by its index.
    """

    def __init__(self, tokens: Tensor, is_active: Callable[[int], bool]) -> None:
        self._tokens = tokens
        self._is_active = is_active

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the call with a longer text."""
        if not self._is_active(call.index):
            return call
        text = call.encoder_hidden_states
        prompts = call.is_uncond or (False,)
        batch = len(text) // len(prompts)
        tokens = self._tokens.to(text).expand(batch, -1, -1)
        added = [torch.zeros_like(tokens) if is_uncond else tokens for is_uncond in prompts]
        longer = torch.cat((text, torch.cat(added)), 1)
        return replace(call, encoder_hidden_states=longer)
