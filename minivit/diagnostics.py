"""What to look at when a layer may be ill: its tokens, how alike they are, where attention goes.

Everything here needs a network and a batch of images, and no labels. LayerNorm takes each token's
mean over its numbers away before attention or an MLP reads it; so tokens are centred here, too.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minivit.circuits import attention_maps, locality, patch_grid
from minivit.layers import attention_layers, block_around, listening
from minivit.runtime import in_eval_mode


class Diagnosis(NamedTuple):
    """Five numbers of each layer, every entry of shape (layer,).

    std, mean_share: of the tokens that enter the layer. itself, near, entropy: of its attention,
    as in `circuits.Locality`, the mean over images and heads.
    """

    std: Tensor
    mean_share: Tensor
    itself: Tensor
    near: Tensor
    entropy: Tensor


def diagnose(
    model: nn.Module, images: Float[Tensor, "batch c height width"], grid=None
) -> Diagnosis:
    """Measures every layer of a ViT without class token, on normalised images.

    grid: the (rows, columns) of patches, where the model does not say them; of square images it is
    then taken for square. Raises ValueError where `layers.attention_layers`, `circuits.patch_grid`
    or `circuits.locality` does, and for other images in an unknown grid.
    """
    height, width = images.shape[2:]
    grid = patch_grid(model, grid, (height, width))
    if grid is None and height != width:
        raise ValueError(
            f"images are {height} × {width}, and the model does not say in which grid its patches "
            "stand; give grid=(rows, columns)"
        )
    tokens = residual_stream(model, images)[:-1].cpu()
    where = locality(attention_maps(model, images), grid)  # entries: (layer, batch, head)
    return Diagnosis(token_std(tokens), mean_share(tokens), *(part.mean((1, 2)) for part in where))


def residual_stream(model: nn.Module, images) -> Float[Tensor, "state batch token dim"]:
    """The tokens that enter each block, in order, and then those that leave the last one.

    A block is the module that holds an attention layer. The model is in eval mode meanwhile.
    ValueError as in `attention_layers`.
    """
    blocks = [block_around(model, layer.name) for layer in attention_layers(model)]
    states = []
    hooks = [
        (block.register_forward_pre_hook, lambda _, inputs: states.append(inputs[0]))
        for block in blocks
    ]
    leaving = blocks[-1].register_forward_hook
    hooks.append((leaving, lambda _, inputs, output: states.append(output)))
    with listening(model, hooks), in_eval_mode(model), torch.no_grad():
        model(images)
    return torch.stack(states)


def token_std(tokens: Float[Tensor, "*lead batch token dim"]) -> Float[Tensor, "*lead"]:
    """The standard deviation of a token's numbers about their mean: what LayerNorm divides by.

    The root of its mean square over tokens and images.
    """
    return _centred(tokens).square().mean((-3, -2, -1)).sqrt()


def mean_share(tokens: Float[Tensor, "*lead batch token dim"]) -> Float[Tensor, "*lead"]:
    """How alike the tokens of an image are: the part of Σ|x|² that lies in their mean, 0 to 1.

    1: all tokens of an image are the same. Tokens without anything in common have about 1 / token.
    """
    x = _centred(tokens)
    shared = x.mean(-2).square().sum((-2, -1)) * x.shape[-2]
    return shared / x.square().sum((-3, -2, -1))


def _centred(tokens):
    return tokens - tokens.mean(-1, keepdim=True)
