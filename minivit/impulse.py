"""Impulse initialization: each head begins by looking at one neighbour, as a filter of a CNN does.

The idea is Zheng, Li & Lucey's (arXiv 2401.12511 and 2404.01139; with Saratchandran 2505.19985,
NeurIPS 2025): choose W_Q and W_K such that, on the position table alone, a head's attention map is
a convolution with an impulse, a filter of one 1 at a random place of a window. W_V W_proj is
mimetic's. With the table P after LayerNorm (patch, dim), a 0/1 matrix S that leads each patch to
its neighbour, and R = (Pᵀ P + n ρ I)⁻¹ Pᵀ for n patches, a head's product is

    W_Q W_Kᵀ ∝ R S Rᵀ, cut to the rank of the head, so that P W_Q W_Kᵀ Pᵀ is nearly a multiple of S

Theirs: the impulses, the inverse of the table, SVD and cut; their code inverts the leading head_dim
directions exactly and sets the size by a constant. Ours: the ridge ρ, for a sin-cos table has
directions that are nearly 0; the size, which is that of mimetic's factors, so that the arms differ
in structure and not in size; a patch at the border that looks beyond it looks at the border's
nearest patch; offsets drawn anew in each layer, none twice before all were used.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minivit.circuits import patch_grid, position_table, split_heads
from minivit.init import mimetic_, split_svd
from minivit.layers import attention_layers
from minivit.runtime import is_whole

CONTENT = 0.3  # ρ: how much of a token is not position; the variance for 1 of the positions'


def impulse_(model, *, window=3, grid=None, generator=None):
    """Rewrites the attention weights of minivit's or timm's ViT, in place; returns the model.

    window: a head's neighbour is one of window × window patches around its own, odd. grid: the
    (rows, columns) of patches, where the model does not say them and they are no square. W_V and
    W_proj are those of `mimetic_` with the same generator. The map is an impulse as far as tokens
    are positions: it is sharp on the table, and less so on images. Raises ValueError for a model
    without a table of positions on such a grid, for a grid that is smaller than the window, for a
    table that does not tell patches apart, and where `circuits.patch_grid` or `mimetic_` does.
    """
    places = normalized_places(model, grid)
    grid = patch_grid(model, grid) or _square(places)
    if not is_whole(window) or window % 2 == 0 or not 1 <= window <= min(grid):
        raise ValueError(f"window is {window!r}; it must be odd, from 1 to the grid's {min(grid)}")
    mimetic_(model, generator=generator)
    for layer in attention_layers(model):
        W_Q, W_K, _, _ = split_heads(layer.qkv, layer.proj, layer.heads)  # (head, dim, head_dim)
        offsets = draw_offsets(layer.heads, window, generator)
        sizes = torch.linalg.matrix_norm(W_Q), torch.linalg.matrix_norm(W_K)
        for head, offset in enumerate(offsets):
            new = impulse_factors(places, offset, W_Q.shape[-1], grid=grid)
            W_Q[head], W_K[head] = (W * size[head] for W, size in zip(new, sizes, strict=True))
        with torch.no_grad():
            both = torch.cat([*W_Q, *W_K], dim=1)  # (dim, 2 · dim), head after head
            layer.qkv[: both.shape[1]] = both.T.to(layer.qkv)
    return model


def impulse_factors(
    places: Float[Tensor, "patch dim"], offset, head_dim, content=CONTENT, grid=None
):
    """W_Q and W_K of one head, (dim, head_dim), each of Frobenius norm 1.

    places: the table as the head sees it. offset: (rows down, columns right) to the neighbour.
    grid: as in `shift_matrix`; a square without it.
    """
    P = places.double()
    n, dim = P.shape
    ridge = n * content * torch.eye(dim, dtype=P.dtype, device=P.device)
    R = torch.linalg.solve(P.T @ P + ridge, P.T)  # (dim, patch)
    S = shift_matrix(grid or _square(places), offset).to(P)
    left, right = split_svd(R @ S @ R.T)
    W_Q, W_K = left[:, :head_dim], right[:head_dim].T
    return (W_Q / W_Q.norm()).float(), (W_K / W_K.norm()).float()


def shift_matrix(grid, offset) -> Float[Tensor, "patch patch"]:
    """1 where the column's patch lies `offset` = (rows down, columns right) of the row's patch.

    grid: (rows, columns) of patches, or the one number of a square. Beyond the border the nearest
    patch inside takes its place: every row has exactly one 1.
    """
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    sides = (torch.arange(side, device="cpu") for side in (rows, columns))
    row, column = torch.meshgrid(*sides, indexing="ij")
    row = (row + offset[0]).clamp(0, rows - 1)
    column = (column + offset[1]).clamp(0, columns - 1)
    return F.one_hot((columns * row + column).flatten(), rows * columns).float()


def draw_offsets(heads, window, generator=None):
    """An offset (rows, columns) for each head; none comes twice before all of the window did."""
    rounds = math.ceil(heads / window**2)
    draws = [torch.randperm(window**2, generator=generator, device="cpu") for _ in range(rounds)]
    order = torch.cat(draws)
    half = window // 2
    return [(i // window - half, i % window - half) for i in order[:heads].tolist()]


def normalized_places(model, grid=None) -> Float[Tensor, "patch dim"]:
    """The rows of `patch_rows` as the first LayerNorm leaves them; ValueError as in `impulse_`."""
    places = patch_rows(model, grid)
    if not places.isfinite().all():
        raise ValueError("the position table has numbers that are not finite")
    if (places - places.mean(0)).abs().max() < 1e-8:
        raise ValueError("all patches have the same position; give the model its base first")
    return F.layer_norm(places, places.shape[1:], eps=0.0)


def patch_rows(model, grid=None) -> Float[Tensor, "patch dim"]:
    """The rows of the position table that belong to patches.

    ValueError for a model without a table, and for one with other rows than a grid of patches has.
    """
    rows, grid = position_table(model), patch_grid(model, grid)
    patches = math.prod(grid or _square(rows))
    if not 0 <= len(rows) - patches <= 1:
        kind = f"a grid of {grid[0]} × {grid[1]}" if grid else "a square grid"
        raise ValueError(
            f"the position table has {len(rows)} rows; {kind} and at most a class token before it "
            f"are expected{'' if grid else ', or give grid=(rows, columns)'}"
        )
    return rows[-patches:]


def _square(places):
    """The sides of a square of as many patches as there are rows, or of the next smaller one."""
    return 2 * (math.isqrt(len(places)),)
