"""The toy example of the lessons: a postcard of six patches, printed with two inks.

4 × 6 pixels in patches of 2 × 2: six tokens of 2 · 2 · 2 = 8 numbers. Both skies are the same
patch; the seas are alike, and not the same.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

NAMES = ("sky L", "sun", "sky R", "sea L", "boat", "sea R")  # patches row by row
PATCH_SIZE = 2
# How much ink a pixel got, from 0 to 1.
_BLUE = [
    [0.4, 0.4, 0.0, 0.2, 0.4, 0.4],
    [0.4, 0.4, 0.2, 0.0, 0.4, 0.4],
    [0.9, 0.7, 0.2, 0.2, 0.7, 0.9],
    [0.7, 0.9, 0.7, 0.9, 0.9, 0.7],
]
_ORANGE = [
    [0.0, 0.0, 0.8, 0.6, 0.0, 0.0],
    [0.0, 0.0, 0.6, 0.8, 0.0, 0.0],
    [0.0, 0.0, 0.7, 0.9, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
]
POSTCARD = torch.tensor([_BLUE, _ORANGE])  # (ink, row, col)
# What full ink leaves of white light: blue and orange of Okabe and Ito, told apart by everybody.
_INKS = torch.tensor([[0x00, 0x72, 0xB2], [0xE6, 0x9F, 0x00]]) / 255  # (ink, rgb)


def in_colour(image: Float[Tensor, "2 height width"]) -> UInt8[Tensor, "3 height width"]:
    """The print seen on white paper: each ink takes its part of the light away."""
    left = 1 - image[:, None] * (1 - _INKS)[:, :, None, None]  # (ink, rgb, height, width)
    return (255 * left.prod(0)).round().clamp(0, 255).to(torch.uint8)


def assemble(patches: Float[Tensor, "6 8"]) -> Float[Tensor, "2 4 6"]:
    """The postcard that has these patches, each as (ink, row, col), in the order of NAMES."""
    grid = patches.unflatten(1, (2, 2, 2)).unflatten(0, (2, 3))  # (row, col, ink, p, p)
    return grid.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
