"""How other libraries name and shape their weights, and what can be told from names and shapes.

Everything here takes a dict of name → tensor, from a file or from a model's state_dict().
"""

import math
import re

import torch
from torch import Tensor

from minivit.circuits import AttentionWeights, split_heads
from minivit.model import ViTConfig

# torchvision's names on the left, timm's, which are minivit's, on the right; {} is the layer. A
# name without an ending stands for its .weight and its .bias.
_LAYER = "encoder.layers.encoder_layer_{}."
TORCHVISION = {
    "class_token": "cls_token",
    "conv_proj": "patch_embed.proj",
    "encoder.pos_embedding": "pos_embed",
    f"{_LAYER}ln_1": "blocks.{}.norm1",
    f"{_LAYER}self_attention.in_proj_weight": "blocks.{}.attn.qkv.weight",
    f"{_LAYER}self_attention.in_proj_bias": "blocks.{}.attn.qkv.bias",
    f"{_LAYER}self_attention.out_proj": "blocks.{}.attn.proj",
    f"{_LAYER}ln_2": "blocks.{}.norm2",
    f"{_LAYER}mlp.0": "blocks.{}.mlp.fc1",
    f"{_LAYER}mlp.3": "blocks.{}.mlp.fc2",
    f"{_LAYER}mlp.linear_1": "blocks.{}.mlp.fc1",  # before torchvision 0.13
    f"{_LAYER}mlp.linear_2": "blocks.{}.mlp.fc2",
    "encoder.ln": "norm",
    "heads.head": "head",
}
# The matrix or matrices of query, key and value; the projection; the gain of the LayerNorm before.
# Matrices are (in, out), for x @ W.
_SPLIT = tuple(f"h.{{}}.att.{part}.w" for part in ("query", "key", "value"))
GPT2 = {
    "gpt2": (_SPLIT, "h.{}.att.proj.w", "h.{}.att.norm.w"),
    "gpt2, Hugging Face": (
        ("h.{}.attn.c_attn.weight",),
        "h.{}.attn.c_proj.weight",
        "h.{}.ln_1.weight",
    ),
}
# Each layout by a key that no other has.
SIGNS = {
    "timm": "blocks.0.attn.qkv.weight",
    "torchvision": f"{_LAYER}self_attention.in_proj_weight".format(0),
    **{layout: parts[0].format(0) for layout, (parts, _, _) in GPT2.items()},
}
# Heads leave no trace in shapes. The published ones: by (dim, depth) ViT-Tiny, Small and Base, by
# dim the four GPT-2; all are 64 wide.
VIT_HEADS = {(192, 12): 3, (384, 12): 6, (768, 12): 12}
GPT2_HEADS = {768: 12, 1024: 16, 1280: 20, 1600: 25}


def layout_of(tensors: dict[str, Tensor]) -> str:
    """Returns a key of SIGNS; ValueError where none fits."""
    for layout, sign in SIGNS.items():
        if sign in tensors:
            return layout
    raise ValueError(
        f"of no known layout ({'; '.join(SIGNS)}); its keys begin with {list(tensors)[:4]}"
    )


def convert(state_dict: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    """The same tensors under minivit's names, from "timm" (which has the same) or "torchvision".

    Raises ValueError for another layout or a key that torchvision's plain ViT does not have.
    """
    if layout not in ("timm", "torchvision"):
        raise ValueError(f"layout is {layout!r}; it must be 'timm' or 'torchvision'")
    if layout == "timm":
        return dict(state_dict)
    converted = {_renamed(key): tensor for key, tensor in state_dict.items()}
    if len(converted) < len(state_dict):
        raise ValueError("two keys stand for one parameter: mlp.0 and linear_1, or 3 and linear_2")
    return converted


def _renamed(key):
    layer = re.match(r"encoder\.layers\.encoder_layer_(\d+)\.", key)
    template = _LAYER + key[layer.end() :] if layer else key
    stem, _, ending = template.rpartition(".")
    if template in TORCHVISION:
        name = TORCHVISION[template]
    elif stem in TORCHVISION and ending in ("weight", "bias"):
        name = f"{TORCHVISION[stem]}.{ending}"
    else:
        raise ValueError(f"{key!r} is no parameter of torchvision's plain ViT")
    return name.format(layer and layer[1])


def config_from_shapes(weights: dict[str, Tensor], heads: int | None = None) -> ViTConfig:
    """The ViT that has these weights, named as minivit's.

    Shapes do not tell norm_eps, taken as 1e-6, nor heads, which must be given where dim and depth
    are not those of VIT_HEADS. Raises ValueError where heads is missing or shapes do not fit.
    """
    dim, channels, patch_size, _ = _shape(weights, "patch_embed.proj.weight", 4)
    tokens = _shape(weights, "pos_embed", 3)[1]
    has_class_token = "cls_token" in weights
    grid = math.isqrt(max(tokens - has_class_token, 0))
    if grid**2 + has_class_token != tokens:
        raise ValueError(f"pos_embed has {tokens} rows, which fit no square grid of patches")
    depth = _depth(weights, "blocks")
    return ViTConfig(
        image_size=grid * patch_size,
        patch_size=patch_size,
        channels=channels,
        classes=_shape(weights, "head.weight", 2)[0],
        dim=dim,
        depth=depth,
        heads=_heads(heads, VIT_HEADS.get((dim, depth)), dim),
        mlp_ratio=_shape(weights, "blocks.0.mlp.fc1.weight", 2)[0] / max(dim, 1),
        pool="cls" if has_class_token else "mean",
        qkv_bias="blocks.0.attn.qkv.bias" in weights,
    )


def gpt2_attention(tensors: dict[str, Tensor], heads: int | None = None) -> AttentionWeights:
    """Attention of a GPT-2 in either layout of GPT2; its other tensors are not looked at.

    heads must be given where dim is not one of GPT2_HEADS. Raises ValueError where heads or a
    tensor is missing or a shape does not fit.
    """
    parts, proj, gain = GPT2[layout_of(tensors)]
    dim = _shape(tensors, proj.format(0), 2)[0]
    heads = _heads(heads, GPT2_HEADS.get(dim), dim)
    shapes = dict.fromkeys(parts, (dim, 3 * dim // len(parts))) | {proj: (dim, dim), gain: (dim,)}
    split, gains = [], []
    for layer in range(_depth(tensors, "h")):
        for name, shape in shapes.items():
            found = _shape(tensors, name.format(layer), len(shape))
            if found != shape:
                raise ValueError(f"{name.format(layer)} has shape {found} instead of {shape}")
        qkv = torch.cat([tensors[part.format(layer)] for part in parts], dim=1)  # (dim, 3 · dim)
        split.append(split_heads(qkv.T, tensors[proj.format(layer)].T, heads))
        gains.append(tensors[gain.format(layer)].float())
    W_Q, W_K, W_V, W_O = (torch.stack(matrices) for matrices in zip(*split, strict=True))
    return AttentionWeights(W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O, norm_gain=torch.stack(gains))


def _shape(tensors, name, axes):
    if name not in tensors:
        raise ValueError(f"{name} is missing")
    shape = tuple(tensors[name].shape)
    if len(shape) != axes:
        raise ValueError(f"{name} has shape {shape}; it should have {axes} axes")
    return shape


def _depth(tensors, stem):
    found = (re.match(rf"{stem}\.(\d+)\.", name) for name in tensors)
    layers = sorted({int(match[1]) for match in found if match})
    if layers != list(range(len(layers))):
        raise ValueError(f"a layer is missing: of {stem} there are {layers}")
    return len(layers)


def _heads(given, published, dim):
    heads = published if given is None else given
    if heads is None:
        raise ValueError(
            f"the number of heads can't be seen (dim is {dim}); give heads=… or --heads"
        )
    if heads < 1 or dim % heads:
        raise ValueError(f"heads is {heads}, which does not divide dim {dim}")
    return heads
