"""Views: what an explorer shows for one setting of its sliders. Numbers and arrays, no drawing.

Each class here is the one compute function of an explorer: made once with all that no slider
changes, then called with the sliders' values as keywords, it returns a `View`.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minivit.bases import normal
from minivit.circuits import AttentionWeights, diagonal_stats, locality, spectrum
from minivit.init import Mimetic, split_svd
from minivit.runtime import one_thread, stream


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A panel: a matrix in colours that end at `limit`, signed about zero or from zero up.

    mark: (row, column) of an entry to outline. note: what to know about it, in a few words.
    """

    title: str
    values: np.ndarray
    limit: float
    signed: bool = True
    mark: tuple[int, int] | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A panel: up to three lines over 1, 2, 3, …, on axes that end at `length` and `limit`."""

    title: str
    lines: dict[str, np.ndarray]
    length: int
    limit: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """What one setting of the sliders gives: panels from left to right, and numbers by name."""

    panels: tuple[Matrix | Lines, ...]
    numbers: dict[str, float | int]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a learner is asked to reach: in words, and as the range (low, high) of some numbers.

    Numbers are those of a View, and the sliders by their labels.
    """

    words: str
    ranges: dict[str, tuple[float, float]]

    def missing(self, numbers):
        """name → "too low" or "too high", of what is not reached; empty where the goal is.

        Raises ValueError for a range of something that is not among the numbers.
        """
        unknown = self.ranges.keys() - numbers.keys()
        if unknown:
            raise ValueError(f"a goal for {sorted(unknown)}; the numbers are {list(numbers)}")
        return {
            name: "too high" if numbers[name] > high else "too low"
            for name, (low, high) in self.ranges.items()
            if not low <= numbers[name] <= high
        }

    def told(self, missing):
        """Each range in words, marked as reached or not, with what `missing` says of it."""
        return " · ".join(
            f"{'✗' if name in missing else '✓'} {name} {_range(*limits)}"
            + (f" ({missing[name]})" if name in missing else "")
            for name, limits in self.ranges.items()
        )


def _range(low, high):
    if math.isinf(high):
        return f"at least {readable(low)}"
    if math.isinf(low):
        return f"at most {readable(high)}"
    if low == high:
        return f"at {readable(low)}"
    return f"{readable(low)} to {readable(high)}"


def readable(number):
    """A number as text: counts whole, others with two digits after the point, or three if small."""
    if isinstance(number, int):
        return str(number)
    if not math.isfinite(number):
        return "undefined"
    return f"{number:.{3 if 0.0005 <= abs(number) < 0.1 else 2}f}".replace("-", "−")


class InitializerView:
    """alpha_qk, beta_qk, heads, alpha_ov, beta_ov → one mimetic layer, or one product of it.

    tokens: what its attention reads, after the LayerNorm, patches of a square grid row by row.
    pairs: of "qk" and "ov", what is shown. The noise is that of `mimetic_` with the generator
    stream(seed, "attention"): of head 1, and for OV that of a layer with one head.
    """

    def __init__(self, tokens: Float[Tensor, "token dim"], *, pairs=("qk", "ov"), seed=0):
        self.tokens, self.pairs, self.dim = tokens, pairs, tokens.shape[1]
        noise = normal(2, self.dim, self.dim, generator=stream(seed, "attention"))
        self.noise = noise / math.sqrt(self.dim)
        # A slider of one product leaves the other as it was.
        self._qk, self._ov = functools.cache(self._split_qk), functools.cache(self._ov_product)

    def __call__(self, *, alpha_qk=None, beta_qk=None, heads=None, alpha_ov=None, beta_ov=None):
        matrices, lines, attention, numbers = [], {}, [], {}
        if "qk" in self.pairs:
            rank = self.dim // heads
            left, right, singular = self._qk(alpha_qk, beta_qk)
            product = left[:, :rank] @ right[:rank]
            matrices.append(Matrix(title="W_Q W_Kᵀ of head 1", values=product.numpy(), limit=0.5))
            lines |= {"QK, head 1": singular[:rank], "target of QK": singular}
            panel, seen = attention_panel(self.tokens, product, rank)
            attention.append(panel)
            numbers |= {**_product_numbers("QK", product, rank), **seen}
        if "ov" in self.pairs:
            product, singular = self._ov(alpha_ov, beta_ov)
            matrices.append(Matrix(title="W_V W_proj", values=product.numpy(), limit=0.5))
            lines["OV"] = singular
            numbers |= _product_numbers("OV", product)
        arrays = {name: line.numpy() for name, line in lines.items()}
        spectra = Lines(title="Singular values", lines=arrays, length=self.dim, limit=4.0)
        return View(panels=(*matrices, spectra, *attention), numbers=numbers)

    def _split_qk(self, alpha, beta):
        with one_thread():
            left, right = split_svd(alpha * self.noise[0] + beta * torch.eye(self.dim))
        return left, right, left.square().sum(0)  # each factor holds a square root

    def _ov_product(self, alpha, beta):
        product = alpha * self.noise[1] - beta * torch.eye(self.dim)
        with one_thread():
            return product, torch.linalg.svdvals(product)


def attention_panel(tokens, product, head_dim, query=None):
    """What the patch `query` (default: the middle) attends to under a product, and its numbers."""
    maps = (tokens @ product @ tokens.T / math.sqrt(head_dim)).softmax(-1)  # (query, key)
    where = locality(maps)
    grid = math.isqrt(len(maps))
    query = (grid // 2) * (grid + 1) if query is None else query
    panel = Matrix(
        title="Attention of one patch",
        values=maps[query].unflatten(0, (grid, grid)).numpy(),
        limit=0.25,
        signed=False,
        mark=divmod(query, grid),
        note="outlined: the patch that looks",
    )
    return panel, {
        "attention on itself": where.itself.item(),
        "within 3×3": where.near.item(),
        "patches attended": where.entropy.exp().item(),
    }


def _product_numbers(name, product, rank=None):
    stats = diagonal_stats(product, rank=rank)
    numbers = {
        f"{name} diagonal": stats.mean.item(),
        f"{name} spread": stats.spread.item(),
        f"{name} cosine with I": stats.cosine.item(),
    }
    return numbers if rank is None else {**numbers, "at most": stats.ceiling}


class CheckpointView:
    """layer, head (both from 1) → the products of one head of a checkpoint.

    Colours and axes are the same for all heads; of products wider than `widest` the first rows and
    columns are shown, all count in the numbers.
    """

    def __init__(self, weights: AttentionWeights, *, widest=192):
        self.weights, self.widest = weights, widest
        self.largest = spectrum(weights.W_Q, weights.W_K.mT).max().item()
        self.spread = diagonal_stats(weights.W_Q[:, 0] @ weights.W_K[:, 0].mT).spread.max().item()

    def __call__(self, *, layer, head):
        W_Q, W_K, W_V, W_O = (
            factor[layer - 1, head - 1]
            for factor in (self.weights.W_Q, self.weights.W_K, self.weights.W_V, self.weights.W_O)
        )
        qk, ov = W_Q @ W_K.T, W_V @ W_O
        of_layer = self.weights.W_V[layer - 1] @ self.weights.W_O[layer - 1]  # (head, dim, dim)
        rank = self.weights.head_dim
        lines = {"QK": spectrum(W_Q, W_K.T).numpy(), "OV": spectrum(W_V, W_O).numpy()}
        panels = (
            self._matrix("W_Q W_Kᵀ", qk),
            self._matrix("W_V W_O, head", ov),
            self._matrix("W_V W_proj", of_layer.sum(0)),
            Lines(title="Singular values", lines=lines, length=rank, limit=self.largest),
        )
        of_qk, of_ov = diagonal_stats(qk, rank=rank), diagonal_stats(of_layer.sum(0))
        numbers = {
            "QK diagonal": of_qk.mean.item(),
            "QK diagonal / chance": (of_qk.mean / of_qk.chance).item(),
            "QK cosine with I": of_qk.cosine.item(),
            "at most": of_qk.ceiling,
            "OV diagonal, all heads": of_ov.mean.item(),
            "OV diagonal / chance": (of_ov.mean / of_ov.chance).item(),
            "OV cosine with I": of_ov.cosine.item(),
        }
        return View(panels=panels, numbers=numbers)

    def _matrix(self, title, product):
        shown = product[: self.widest, : self.widest]
        cut = f"its first {self.widest} rows and columns" if len(product) > self.widest else ""
        return Matrix(title=title, values=shown.numpy(), limit=4 * self.spread, note=cut)


class ContentView:
    """ratio, beta_qk, query → attention when tokens are positions plus ratio times content.

    content, positions: (token, dim) for the patches of a square grid, each scaled here to a mean
    square of 1 before they are added and go through a LayerNorm. The layer is mimetic, alpha_qk as
    in the paper; at ratio 0 attention sees positions alone, at a large one content alone.
    """

    def __init__(self, content, positions, *, heads=3, seed=0):
        self.content, self.positions = (x / x.square().mean().sqrt() for x in (content, positions))
        dim = content.shape[1]
        self.head_dim = dim // heads
        self.noise = normal(dim, dim, generator=stream(seed, "attention")) / math.sqrt(dim)
        self._product = functools.cache(self._head_product)

    def __call__(self, *, ratio, beta_qk, query):
        mixed = self.positions + ratio * self.content
        tokens = F.layer_norm(mixed, mixed.shape[1:])
        product = self._product(beta_qk)
        attention, numbers = attention_panel(tokens, product, self.head_dim, query - 1)
        gram = (tokens @ tokens.T / tokens.shape[1]).numpy()
        panels = (
            Matrix(title="Tokens against tokens", values=gram, limit=1.0, note="X Xᵀ / dim"),
            attention,
        )
        return View(panels=panels, numbers=numbers)

    def _head_product(self, beta):
        with one_thread():
            target = Mimetic.alpha_qk * self.noise + beta * torch.eye(len(self.noise))
            left, right = split_svd(target)
        return left[:, : self.head_dim] @ right[: self.head_dim]
