"""Takes a part of W_Q W_Kᵀ out of a model that runs, to see whether its answers need that part.

A pattern that is small beside the whole matrix may still decide what attention does, and one that
is large may do nothing. Looking at weights does not tell; taking the pattern out does.
"""

import math
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from minivit.layers import attention_layers


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
        module.register_forward_hook(
            lambda _, inputs, __, layer=layer, part=part: _attend(layer, part, inputs[0])
        )
        for module, layer, part in zip(modules, layers, taken, strict=True)
    ]
    try:
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _attend(layer, taken, tokens):
    qkv = F.linear(tokens, layer.qkv, layer.qkv_bias).unflatten(2, (3, layer.heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, head, token, head_dim)
    x = tokens[:, None]  # (batch, 1, token, dim)
    logits = query @ key.mT - x @ taken.to(x) @ x.mT
    mixed = (logits / math.sqrt(query.shape[-1])).softmax(-1) @ value
    return F.linear(mixed.transpose(1, 2).flatten(2), layer.proj, layer.proj_bias)


@torch.no_grad()
def answers(
    model, images: Float[Tensor, "image channel height width"], taken=None, *, batch=32
) -> Int[Tensor, " image"]:
    """The class that the model gives each image, with `taken` out of its products if given."""
    if taken is not None:
        with taken_out(model, taken):
            return answers(model, images, batch=batch)
    return torch.cat([model(part).argmax(-1) for part in images.split(batch)])
