"""A plain Vision Transformer, pre-LN, as in Dosovitskiy et al., ICLR 2021 (arXiv 2010.11929).

Parameters carry timm's names, so that timm's and DeiT's weights load as they are. Read from top to
bottom: the configuration, then the pieces from pixels to logits. Initializers live in `init.py`.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from minivit.runtime import is_count, is_number, is_pair

POOLS = ("cls", "mean")
POSITIONS = ("learned", "sincos", "sincos_learned")


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The shape of a ViT, sizes in pixels. The defaults are ViT-Tiny on CIFAR-10.

    pool: "cls" reads the class token; "mean" has none and averages the patch tokens after the norm.
    positions: "learned" (a parameter), "sincos" (a fixed 2-D table), "sincos_learned" (that table
    as the start of a parameter). Raises ValueError where sizes do not fit together.
    """

    image_size: int = 32
    patch_size: int = 4
    channels: int = 3
    classes: int = 10
    dim: int = 192
    depth: int = 12
    heads: int = 3
    mlp_ratio: float = 4.0
    pool: str = "mean"
    positions: str = "learned"
    norm_eps: float = 1e-6
    qkv_bias: bool = True

    def __post_init__(self):
        for name in ("image_size", "patch_size", "channels", "classes", "dim", "depth", "heads"):
            value = getattr(self, name)
            if not is_count(value):
                raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 1")
        for name in ("mlp_ratio", "norm_eps"):
            if not is_number(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a number")
        if not isinstance(self.qkv_bias, bool):
            raise ValueError(f"qkv_bias is {self.qkv_bias!r}; it must be True or False")
        for name, known in {"pool": POOLS, "positions": POSITIONS}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {known}")
        size, patch = self.image_size, self.patch_size
        if size % patch:
            fit = [n for n in range(1, min(size, 1000) + 1) if size % n == 0]  # a file may say 10³⁰
            raise ValueError(f"patch_size {patch} does not divide image_size {size}; {fit} do")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not divisible by heads {self.heads}; it must be")
        if self.positions != "learned" and self.dim % 4:
            raise ValueError(f"dim {self.dim} is not divisible by 4, which sin-cos positions need")
        if not (0 < self.mlp_ratio < 1e6 and self.hidden >= 1):
            raise ValueError(
                f"mlp_ratio is {self.mlp_ratio!r:.40}; dim × mlp_ratio must be at least 1, and "
                "mlp_ratio below a million"
            )
        if not 0 <= self.norm_eps < math.inf:
            raise ValueError(f"norm_eps is {self.norm_eps}; it must be at least 0 and finite")

    @property
    def head_dim(self):
        return self.dim // self.heads

    @property
    def grid(self):
        """Patches along one side of the image."""
        return self.image_size // self.patch_size

    @property
    def tokens(self):
        """Patches, and one more for the class token where there is one."""
        return self.grid**2 + (self.pool == "cls")

    @property
    def hidden(self):
        return int(self.dim * self.mlp_ratio + 1e-6)  # 11 · (15 / 11) must be 15, not 14


# Table 1 of DeiT (arXiv 2012.12877).
_IMAGENET = {"image_size": 224, "patch_size": 16, "classes": 1000, "pool": "cls"}
VIT_TINY = ViTConfig(dim=192, depth=12, heads=3, **_IMAGENET)
VIT_SMALL = ViTConfig(dim=384, depth=12, heads=6, **_IMAGENET)
VIT_BASE = ViTConfig(dim=768, depth=12, heads=12, **_IMAGENET)


class PatchEmbed(nn.Module):
    """Cuts the image into patches and maps each to a token with one and the same matrix."""

    def __init__(self, config):
        super().__init__()
        self.proj = nn.Conv2d(config.channels, config.dim, config.patch_size, config.patch_size)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch patch dim"]:
        # A convolution whose stride is its width is a matrix product on flattened patches; written
        # as one it is faster on a CPU. The weight keeps the convolution's shape, as in timm.
        p = self.proj.kernel_size[0]
        patches = images.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (batch, c, row, p, col, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (batch, row, col, c·p·p)
        patches = patches.flatten(1, 2)  # (batch, patch, c·p·p)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention with fused weights: rows of `qkv.weight` hold W_Qᵀ, W_Kᵀ, W_Vᵀ.

    For each head, with X the tokens and k the width of a head:
    softmax(X W_Q (X W_K)ᵀ / √k) X W_V; the heads side by side times W_proj is the output.
    """

    def __init__(self, config):
        super().__init__()
        self.num_heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        # By chunks: the gradient of a permuted tensor would be copied once more.
        query, key, value = (self._by_head(part) for part in self.qkv(x).chunk(3, dim=2))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _by_head(self, x):
        """(batch, token, dim) → (batch, head, token, head_dim)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """Two linear maps with a GELU between them, applied to each token by itself."""

    def __init__(self, config):
        super().__init__()
        self.fc1 = nn.Linear(config.dim, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.dim)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then an MLP, each on normalised tokens and each added to what was there."""

    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Images in, logits out. `config` says its shape; weights start as PyTorch leaves them.

    An initializer of `init.py` is meant to follow: the constructor draws from torch's global seed.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        if config.pool == "cls":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        positions = initial_positions(config)
        if config.positions == "sincos":
            self.register_buffer("pos_embed", positions, persistent=False)
        else:
            self.pos_embed = nn.Parameter(positions)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.head = nn.Linear(config.dim, config.classes)

    def features(
        self, images: Num[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch token dim"]:
        """Tokens after the last norm; the class token, where there is one, comes first.

        Raises ValueError for images of another type, order of axes or size than the model takes.
        """
        _check_images(images, self.config, self.patch_embed.proj.weight.dtype)
        x = self.patch_embed(images)
        if self.config.pool == "cls":
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(
        self, images: Num[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch class_"]:
        x = self.features(images)
        pooled = x[:, 0] if self.config.pool == "cls" else x.mean(dim=1)
        return self.head(pooled)


def initial_positions(config):
    """The position table a new model starts with, (1, token, dim); zeros where it is learned."""
    if config.positions == "learned":
        return torch.zeros(1, config.tokens, config.dim)
    table = sincos_positions(config.grid, config.dim)
    class_row = torch.zeros(config.tokens - len(table), config.dim)
    return torch.cat([class_row, table])[None]


def sincos_positions(grid: int | tuple[int, int], dim: int) -> Float[Tensor, "patch dim"]:
    """The 2-D sine and cosine table of MoCo v3 (arXiv 2104.02057), but for the order of its halves.

    Patches stand in row-major order. grid: patches along a side of a square, or (rows, columns). A
    quarter of the numbers each for sin and cos of the patch's column, then of its row, at
    frequencies from 1 down towards 1/10000: the inner product of two rows depends only on the
    patches' distance along either axis. Raises ValueError for a grid that is neither, and where dim
    is not divisible by 4.
    """
    if not (is_count(grid) or is_pair(grid)):
        raise ValueError(f"grid is {grid!r}; it must be a whole number of patches, or two")
    rows, columns = grid if is_pair(grid) else (grid, grid)
    if not is_count(dim) or dim % 4:
        raise ValueError(f"dim {dim} is not divisible by 4, which sin-cos positions need")
    frequency = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angle = torch.arange(max(rows, columns), dtype=torch.float64)[:, None] * frequency
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)  # (place, dim / 2)
    column = waves[:columns].repeat(rows, 1)
    row = waves[:rows].repeat_interleave(columns, dim=0)
    return torch.cat([column, row], dim=1).float()


def _check_images(images, config, dtype):
    expected = (config.channels, config.image_size, config.image_size)
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; scale them first: minivit.data.normalize(…)")
    if images.dtype != dtype:
        # Under autocast float16 and bfloat16 may differ from the weights, float64 may not.
        cast = torch.is_autocast_enabled(images.device.type) and images.dtype != torch.float64
        if not cast:
            raise ValueError(
                f"images are {images.dtype}, the weights {dtype}; use images.to({dtype})"
            )
    if images.shape[1:] != expected:
        last = images.shape[1:] == (*expected[1:], expected[0])
        hint = "; channels come last here: use images.permute(0, 3, 1, 2)" if last else ""
        shape = tuple(images.shape)
        raise ValueError(f"images have shape {shape}; the model takes (batch, {expected}){hint}")
