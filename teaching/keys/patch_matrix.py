"""Key of patch-matrix."""

import numpy as np
import torch
import torch.nn.functional as F

from minivit.checks.questions.patch_matrix import QUESTION, case
from teaching.keys.key import Key, Mutant


def patch_matrix(kernel):
    return kernel.permute(2, 3, 1, 0).flatten(0, 2)


# Correct, and different.


def by_loops(kernel):
    dim, channels, height, width = kernel.shape
    E = torch.zeros(height * width * channels, dim)
    for row in range(height):
        for col in range(width):
            for channel in range(channels):
                E[(row * width + col) * channels + channel] = kernel[:, channel, row, col]
    return E


def by_probes(kernel):
    """Sends every patch with one pixel of ink through the convolution."""
    _, channels, height, width = kernel.shape
    pixels = torch.eye(height * width * channels).reshape(-1, height, width, channels)
    return F.conv2d(pixels.permute(0, 3, 1, 2), kernel, stride=(height, width))[:, :, 0, 0]


def by_numpy(kernel):
    moved = np.moveaxis(kernel.numpy().astype(np.float64), 1, -1)  # dim, row, col, channel
    return moved.reshape(len(moved), -1).T


# Wrong.


def reshaped(kernel):
    return kernel.reshape(-1, len(kernel))


def channel_first(kernel):
    return kernel.flatten(1).T


def columns_first(kernel):
    return kernel.permute(3, 2, 1, 0).reshape(-1, len(kernel))


def dim_not_moved(kernel):
    return kernel.permute(0, 2, 3, 1).reshape(-1, len(kernel))


def row_channel_col(kernel):
    return kernel.permute(2, 1, 3, 0).flatten(0, 2)


def channel_col_row(kernel):
    return kernel.permute(1, 3, 2, 0).flatten(0, 2)


def cut_anew(kernel):
    return kernel.permute(2, 3, 1, 0).reshape(len(kernel), -1).T


def turned_round(kernel):
    return patch_matrix(kernel.flip(2, 3))


def as_stored(kernel):
    return kernel.permute(0, 2, 3, 1).flatten(1)


def not_merged(kernel):
    return kernel.permute(2, 3, 1, 0)


def one_channel(kernel):
    return patch_matrix(kernel[:, :1])


def normalised(kernel):
    return patch_matrix(kernel) / kernel[0].numel()


def hidden(rng):
    """Patches that are not square, several channels."""
    cases = []
    for _ in range(QUESTION.hidden):
        height, width = rng.choice([2, 3, 4, 5], size=2, replace=False)
        dim, channels = int(rng.integers(5, 30)), int(rng.integers(2, 5))
        dim += dim == height * width * channels  # a square E would have the shape of Eᵀ
        title = f"{channels} channels, patches of {height} × {width}, dim {dim}"
        seed = int(rng.integers(2**32))
        cases.append(case(title, dim, channels, int(height), int(width), seed))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=patch_matrix,
    hidden=hidden,
    alternatives={"loops": by_loops, "probes": by_probes, "numpy, float64": by_numpy},
    mutants=(
        Mutant("reshape alone", reshaped, "reshaped"),
        Mutant("channel, row, col", channel_first, "channel-first"),
        Mutant("col, row, channel", columns_first, "columns-first"),
        Mutant("row, channel, col", row_channel_col, "rows-reordered"),
        Mutant("channel, col, row", channel_col_row, "rows-reordered"),
        Mutant("merged, then cut into dim rows", cut_anew, "scattered"),
        Mutant("merged with dim in front", dim_not_moved, "dim-not-moved"),
        Mutant("kernel turned round", turned_round, "turned-round"),
        Mutant("Eᵀ, as nn.Linear stores it", as_stored, "shape"),
        Mutant("axes not merged", not_merged, "shape"),
        Mutant("the first channel alone", one_channel, "shape"),
        Mutant("a mean over the patch", normalised, "E"),
    ),
)
