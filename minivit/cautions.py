"""What stands around attention in a model and keeps mimetic weights from helping there."""

import os
import sys
import warnings
from pathlib import Path

import jaxtyping
import torch
from torch.nn.parallel import DistributedDataParallel

from minivit.layers import branch_scale, norms_after
from minivit.schedule import POSITION_TABLES

# This package, and the decorators that may stand around its functions.
NOT_THE_CALLER = tuple(
    f"{Path(each).parent}{os.sep}" for each in (__file__, torch.__file__, jaxtyping.__file__)
)
SMALL_SCALE = 0.1  # of a LayerScale
SMALL_POSITIONS = 0.1  # standard deviation; the sin-cos table has 0.7, timm's positions 0.02


def warn_of_surroundings(model, layers, generator):
    """Warns of post-norm blocks, of a LayerScale near 0, of positions that start small, of ranks.

    The warnings point at the line outside of this package that called into it.
    """
    said = [*_of_norms(model, layers), *_of_layer_scale(model, layers), *_of_positions(model)]
    said += _of_ranks(model) if generator is None else []
    # Python 3.12 has skip_file_prefixes for this.
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_code.co_filename.startswith(NOT_THE_CALLER):
        frame, level = frame.f_back, level + 1
    for text in said:
        warnings.warn(text, stacklevel=level)


def _of_norms(model, layers):
    if any(norms_after(model, layer.name) for layer in layers):
        yield (
            "this model normalises after attention (post-norm; nn.TransformerEncoderLayer does "
            "unless norm_first=True); mimetic initialization was tried on pre-norm blocks here"
        )


def _of_layer_scale(model, layers):
    scale = min(branch_scale(model, layer) for layer in layers)
    if scale < SMALL_SCALE:
        yield (
            f"a LayerScale of {scale:g} multiplies what attention gives, the −I of OV too: of what "
            "is written here the model sees next to nothing until it has grown"
        )


def _of_ranks(model):
    if isinstance(model, DistributedDataParallel):
        yield (
            "each process of a DistributedDataParallel draws from a generator of its own, and its "
            "weights part: give all a generator of one seed, or initialize before wrapping"
        )


def _of_positions(model):
    for name, table in model.named_parameters():
        if name.rpartition(".")[2] not in POSITION_TABLES or table.is_meta or table.numel() < 2:
            continue
        spread = table.detach().float().std().item()
        if spread < SMALL_POSITIONS:
            yield (
                f"positions ({name}) start with a standard deviation of {spread:.2g}; in our runs "
                "with small ones mimetic ended below plain (benchmarks/FINDINGS.md). Give them "
                "minivit.sincos_positions first"
            )
