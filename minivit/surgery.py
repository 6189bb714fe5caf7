"""Takes a part of W_Q W_Kᵀ out of a model that runs, to see whether its answers need that part.

A pattern that is small beside the whole matrix may still decide what attention does, and one that
is large may do nothing. Looking at weights does not tell; taking the pattern out does.
"""

import math
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minivit.layers import attention_layers, listening, own_tokens


@contextmanager
def taken_out(model, taken: Float[Tensor, "layer head dim dim"]):
    """Inside the block every attention layer computes with W_Q W_Kᵀ − taken.

    model: minivit's or timm's ViT. The weights are not touched: the rank of W_Q W_Kᵀ − taken may be
    too high for the factors to hold. Raises ValueError for `taken` of another shape than the
    model's products, and for nn.MultiheadAttention, which computes elsewhere.
    """
    layers = attention_layers(model)
    modules = [model.get_submodule(layer.name) for layer in layers]
    shape = (len(layers), layers[0].heads, *layers[0].proj.shape)
    if tuple(taken.shape) != shape:
        raise ValueError(f"taken has shape {tuple(taken.shape)}; this model's products {shape}")
    if not all(hasattr(module, "qkv") for module in modules):
        raise ValueError("the model's attention is nn.MultiheadAttention; minivit's or timm's ViT")
    hooks = [
        (partial(module.register_forward_hook, with_kwargs=True), partial(_attend, layer, part))
        for module, layer, part in zip(modules, layers, taken, strict=True)
    ]
    with listening(model, hooks):
        yield model


def _attend(layer, taken, module, arguments, keywords, output):
    tokens = own_tokens(layer, module, arguments, keywords)
    x = tokens[:, None]  # (batch, 1, token, dim)
    away = x @ taken.to(x) @ x.mT / math.sqrt(x.shape[-1] // layer.heads)
    return layer.mix(layer.logits(tokens) - away, tokens)


@torch.no_grad()
def answers(
    model, images: Float[Tensor, "image channel height width"], taken=None, *, batch=32
) -> Int[Tensor, " image"]:
    """The class that the model gives each image, with `taken` out of its products if given."""
    if taken is not None:
        with taken_out(model, taken):
            return answers(model, images, batch=batch)
    return torch.cat([model(part).argmax(-1) for part in images.split(batch)])
