"""Attention weights read as the two bilinear forms that they compute.

With tokens as rows, x @ W, one head's logits are x (W_Q W_Kᵀ) xᵀ and its contribution to the output
is A x (W_V W_O), A the attention map. The factors are arbitrary up to an invertible matrix between
them, the products are not: so everything here looks at products (the QK and OV circuits of Elhage
et al., A Mathematical Framework for Transformer Circuits, 2021).
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minivit.layers import attention_layers, block_around, listening, norms_after, own_tokens
from minivit.model import ViTConfig
from minivit.runtime import in_eval_mode, is_pair


@dataclass(frozen=True, kw_only=True, eq=False)  # == of tensors has no one answer
class AttentionWeights:
    """Copies of all attention weights of one model, in float32 on the CPU, for `x @ W`.

    norm_gain is the gain of the LayerNorm before each attention, where there is one: what the
    products act on is the normalised token times this gain.
    """

    W_Q: Float[Tensor, "layer head dim head_dim"]
    W_K: Float[Tensor, "layer head dim head_dim"]
    W_V: Float[Tensor, "layer head dim head_dim"]
    W_O: Float[Tensor, "layer head head_dim dim"]
    norm_gain: Float[Tensor, "layer dim"] | None = None

    @classmethod
    def of(cls, model: nn.Module) -> "AttentionWeights":
        """Reads a model; ValueError as in `attention_layers`."""
        layers = attention_layers(model)
        _check_alike([(layer.heads, len(layer.proj)) for layer in layers], "heads and dim")
        split = [split_heads(layer.qkv, layer.proj, layer.heads) for layer in layers]
        W_Q, W_K, W_V, W_O = (torch.stack(parts) for parts in zip(*split, strict=True))
        gains = [_norm_before(model, layer.name) for layer in layers]
        norm_gain = None if any(gain is None for gain in gains) else torch.stack(gains)
        return cls(W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O, norm_gain=norm_gain)

    @classmethod
    def load(cls, name_or_path, *, heads=None) -> "AttentionWeights":
        """Reads a checkpoint of `pretrained.CATALOG` or a file; also GPT-2's, which is no ViT.

        heads and ValueErrors as in `pretrained.load_pretrained`.
        """
        from minivit.pretrained import read_attention

        return read_attention(name_or_path, heads=heads)

    @property
    def head_dim(self):
        return self.W_Q.shape[-1]

    def folded(self) -> "AttentionWeights":
        """The same maps, but of the token before the LayerNorm's gain g: diag(g) W in place of W.

        The LayerNorm's bias, which adds the same to every token, stays outside. Raises ValueError
        where norm_gain is None.
        """
        if self.norm_gain is None:
            raise ValueError("norm_gain is None: no LayerNorm's gain is known to fold in")
        gain = self.norm_gain[:, None, :, None]  # (layer, 1, dim, 1)
        read = {name: gain * getattr(self, name) for name in ("W_Q", "W_K", "W_V")}
        return replace(self, **read, norm_gain=None)


def split_heads(qkv: Float[Tensor, "dim3 dim"], proj: Float[Tensor, "dim dim"], heads: int):
    """Takes nn.Linear's transposed, fused weights apart: (W_Q, W_K, W_V, W_O) of one layer.

    The first three are (head, dim, head_dim), the last is (head, head_dim, dim).
    """
    qkv, proj = qkv.detach().float().cpu(), proj.detach().float().cpu()
    W_Q, W_K, W_V = qkv.unflatten(0, (3, heads, -1)).transpose(2, 3)  # (head, dim, head_dim)
    return W_Q, W_K, W_V, proj.T.unflatten(0, (heads, -1))


def _check_alike(sizes, what):
    """ValueError where layers differ: what is read of a model is one tensor for all of them."""
    different = list(dict.fromkeys(map(tuple, sizes)))
    if len(different) > 1:
        listed = ", ".join(map(str, different[:4]))
        raise ValueError(f"the layers of this model differ in {what}: {listed}")


def _norm_before(model, attention_name):
    if norms_after(model, attention_name):  # what is called norm1 there comes after attention
        return None
    block = block_around(model, attention_name)
    norm = getattr(block, "norm1", getattr(block, "ln_1", None))
    gain = getattr(norm, "weight", None)
    return None if gain is None else gain.detach().float().cpu()


def qk(weights: AttentionWeights) -> Float[Tensor, "layer head dim dim"]:
    """W_Q W_Kᵀ of every head; the 1/√head_dim of the logits is not in it."""
    return weights.W_Q @ weights.W_K.transpose(-1, -2)


def ov(weights: AttentionWeights) -> Float[Tensor, "layer head dim dim"]:
    """W_V W_O of every head; their sum over heads is the W_V W_proj of the paper."""
    return weights.W_V @ weights.W_O


class DiagonalStats(NamedTuple):
    """How much of a multiple of I a product holds; each entry has the product's leading axes.

    mean: of the diagonal. spread: standard deviation of the entries off it. ratio: mean / spread.
    chance: the standard deviation that a mean diagonal has by chance, spread / √dim: significance
    is mean / chance. cosine: with I, trace / (‖product‖ √dim): size. ceiling: the largest cosine
    that the rank allows, √(rank / dim).
    """

    mean: Tensor
    spread: Tensor
    ratio: Tensor
    chance: Tensor
    cosine: Tensor
    ceiling: float


def diagonal_stats(
    product: Float[Tensor, "*lead dim dim"], rank: int | None = None
) -> DiagonalStats:
    """Measures the multiple of I in square matrices; `rank` is head_dim for one head's product.

    Raises ValueError for matrices that are not square, smaller than 2 × 2, or of a smaller size
    than their rank.
    """
    shape = tuple(product.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 2:
        raise ValueError(f"shape {shape}: there must be two last axes, equal, at least 2")
    dim = shape[-1]
    rank = dim if rank is None else rank
    if not 1 <= rank <= dim:
        raise ValueError(f"rank is {rank}; it must be from 1 to {dim}")
    mean = product.diagonal(dim1=-2, dim2=-1).mean(-1)
    off = product[..., ~torch.eye(dim, dtype=torch.bool, device=product.device)]
    spread = off.std(-1)
    cosine = mean * math.sqrt(dim) / torch.linalg.matrix_norm(product)
    chance = spread / math.sqrt(dim)
    return DiagonalStats(mean, spread, mean / spread, chance, cosine, math.sqrt(rank / dim))


def spectrum(
    left: Float[Tensor, "*lead dim rank"], right: Float[Tensor, "*lead rank dim"]
) -> Float[Tensor, "*lead rank"]:
    """Singular values of left @ right, largest first, from the thin factors.

    With left = Q R and rightᵀ = Q′ R′, the product's are those of the small matrix R R′ᵀ.
    """
    small = torch.linalg.qr(left).R @ torch.linalg.qr(right.transpose(-1, -2)).R.transpose(-1, -2)
    return torch.linalg.svdvals(small)


def attention_maps(model, images) -> Float[Tensor, "layer batch head query key"]:
    """softmax(x W_Q W_Kᵀ xᵀ / √head_dim) of every layer, biases included, for these images.

    The model is in eval mode meanwhile. Raises ValueError as in `attention_layers`, where the model
    masks its attention or looks at another sequence, for nn.MultiheadAttention whose batch is not
    its first axis (as torch has it unless told otherwise), and for layers with different numbers of
    heads or tokens.
    """
    maps, hooks = [], []
    for layer in attention_layers(model):

        def keep(module, arguments, keywords, layer=layer):
            tokens = own_tokens(layer, module, arguments, keywords)
            maps.append(layer.logits(tokens).float().softmax(-1).cpu())

        register = model.get_submodule(layer.name).register_forward_pre_hook
        hooks.append((partial(register, with_kwargs=True), keep))
    with listening(model, hooks), in_eval_mode(model), torch.no_grad():
        model(images)
    _check_alike([found.shape for found in maps], "attention maps")
    return torch.stack(maps)


class Locality(NamedTuple):
    """Where attention goes on a grid of patches, as a mean over queries.

    itself: weight on the query's own patch. near: on it and its up to 8 neighbours. entropy: in
    nats; exp(entropy) is the number of patches that equal weights would need for as much.
    """

    itself: Tensor
    near: Tensor
    entropy: Tensor


def locality(maps: Float[Tensor, "*lead query key"], grid=None) -> Locality:
    """Measures attention maps between the patches of a grid, row by row, no class token.

    grid: (rows, columns); a square without it. Each entry has the maps' leading axes. Raises
    ValueError for maps that are no such thing.
    """
    queries, patches = maps.shape[-2:]
    height, width = grid or 2 * (math.isqrt(patches),)
    if height * width != patches or queries != patches:
        kind = f"{height} × {width}" if grid else "square"
        raise ValueError(
            f"maps are {queries} × {patches}; the patches of a {kind} grid are expected on both "
            "axes: leave the class token out and let the rest sum to 1, or give another "
            "grid=(rows, columns)"
        )
    place = torch.arange(patches, device=maps.device)
    rows, columns = place // width, place % width
    apart = torch.maximum(
        (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    )  # (query, key): 1 for the 8 neighbours
    itself = maps.diagonal(dim1=-2, dim2=-1).mean(-1)
    near = (maps * (apart <= 1)).sum(-1).mean(-1)
    return Locality(itself, near, torch.special.entr(maps).sum(-1).mean(-1))


def patch_grid(model, grid=None, size=None) -> tuple[int, int] | None:
    """(rows, columns) in which a model's patches stand; None where neither it nor `grid` says so.

    minivit's and timm's ViT say it. size: (height, width) of the images, if there are any: a model
    of timm's may take others than it was made for. Raises ValueError where grid is no pair of whole
    numbers, or not what the model says.
    """
    if grid is not None and not is_pair(grid):
        raise ValueError(f"grid is {grid!r}; it must be (rows, columns), whole numbers from 1")
    config, embed = getattr(model, "config", None), getattr(model, "patch_embed", None)
    if isinstance(config, ViTConfig):
        own = (config.grid, config.grid)
    elif size is not None and hasattr(embed, "dynamic_feat_size"):
        own = embed.dynamic_feat_size(tuple(size))
    else:
        own = getattr(embed, "grid_size", None)
    if not is_pair(own):
        return None if grid is None else tuple(grid)
    if grid is not None and tuple(grid) != tuple(own):
        raise ValueError(f"grid is {tuple(grid)}, but the model's patches stand in {tuple(own)}")
    return tuple(own)


def position_gram(model) -> Float[Tensor, "token token"]:
    """Inner products of the position table's rows, P Pᵀ / dim: what QK = I sees of positions.

    For minivit's and timm's ViT; ValueError for a model without `pos_embed`.
    """
    positions = position_table(model)
    return positions @ positions.T / positions.shape[1]


def position_table(model) -> Float[Tensor, "token dim"]:
    """The rows of a model's `pos_embed`, in float32 on the CPU; ValueError where it has none."""
    table = getattr(model, "pos_embed", None)
    if not torch.is_tensor(table):
        raise ValueError(f"{type(model).__name__} has no table of positions called pos_embed")
    return table.detach()[0].float().cpu()
