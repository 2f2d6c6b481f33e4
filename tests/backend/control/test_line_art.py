"""The networks of line art, with files in the published layout."""

from __future__ import annotations

import numpy as np
import torch

from modules.backend.control.annotators.line_art import (
    AnimeGenerator,
    LineArtGenerator,
    draw_anime_lines,
    draw_line_art,
)


def test_the_generator_of_photos_has_the_published_names_and_shapes():
    shapes = {name: tuple(t.shape) for name, t in LineArtGenerator().state_dict().items()}
    assert shapes == {
        "model0.1.weight": (64, 3, 7, 7),
        "model0.1.bias": (64,),
        "model1.0.weight": (128, 64, 3, 3),
        "model1.0.bias": (128,),
        "model1.3.weight": (256, 128, 3, 3),
        "model1.3.bias": (256,),
        **{
            f"model2.{block}.conv_block.{layer}.{leaf}": (256, 256, 3, 3)[
                : 4 if leaf == "weight" else 1
            ]
            for block in range(3)
            for layer in (1, 5)
            for leaf in ("weight", "bias")
        },
        "model3.0.weight": (256, 128, 3, 3),
        "model3.0.bias": (128,),
        "model3.3.weight": (128, 64, 3, 3),
        "model3.3.bias": (64,),
        "model4.1.weight": (1, 64, 7, 7),
        "model4.1.bias": (1,),
    }


def test_the_generator_of_anime_has_the_published_names_and_shapes():
    shapes = {name: tuple(t.shape) for name, t in AnimeGenerator().state_dict().items()}
    assert shapes["model.model.0.weight"] == (64, 3, 4, 4)
    assert shapes["model.model.3.weight"] == (128, 1, 4, 4)
    inner = "model" + ".model.1" + ".model.3" * 6
    assert shapes[f"{inner}.model.1.weight"] == (512, 512, 4, 4)
    assert shapes[f"{inner}.model.3.weight"] == (512, 512, 4, 4)
    assert shapes["model.model.1.model.5.weight"] == (256, 64, 4, 4)
    assert len(shapes) == 8 * 4  # weights and biases down and up; instance norms have none


@torch.inference_mode()
def test_drawings_are_white_on_black_at_the_size_of_the_image():
    image = np.random.RandomState(0).randint(0, 256, (64, 128, 3)).astype(np.uint8)
    photo = LineArtGenerator().eval()
    photo.model4[1].weight.data.zero_()
    photo.model4[1].bias.data.fill_(2.0)  # sigmoid 0.88: nearly white paper
    drawing = draw_line_art(photo, image)
    assert drawing.shape == (64, 128, 3)
    assert set(np.unique(drawing)) == {255 - int(255 * torch.tensor(2.0).sigmoid())}
    anime = AnimeGenerator().eval()
    anime.model.model[3].weight.data.zero_()
    anime.model.model[3].bias.data.fill_(0.5)
    lines = draw_anime_lines(anime, image)
    assert lines.shape == (64, 128, 3)
    assert abs(int(lines[30, 60, 0]) - (255 - (np.tanh(0.5) * 127.5 + 127.5))) <= 1
