"""Initializers of attention: mimetic, and the controls that it is compared with.

Mimetic initialization (Trockman & Kolter, Mimetic Initialization of Self-Attention Layers, ICML
2023, arXiv 2305.09828) writes into an untrained network what trained Vision Transformers show:

    W_Q W_Kᵀ   ≈ alpha_qk Z + beta_qk I     one Z for each head
    W_V W_proj ≈ alpha_ov Z − beta_ov I     one Z for each layer

Z has independent normal entries of variance 1 / dim; an SVD splits each matrix into its two
factors. `norm_matched_` and `rotated_` are controls: the same sizes, without the identity.

Read from the top: `Mimetic` (four numbers), `mimetic_factors` (the method), `_write_` (how a layer
stores them), `mimetic_` (all layers of a model), then the controls, and the arms of a comparison.
What ends in _ works in place; what takes a model returns it. All take a CPU `generator` (None:
torch's global one), so that one seed gives the same noise wherever the model lives.
"""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from minivit.bases import BASES, DRAWN, normal
from minivit.cautions import warn_of_surroundings
from minivit.layers import attention_layers
from minivit.runtime import cpu_cores, one_thread, stream
from minivit.writable import check_heads, check_layer


@dataclass(frozen=True, kw_only=True)
class Mimetic:
    """The four scalars: alpha is the size of the noise, beta the multiple of I.

    The defaults are the authors', by others' accounts found by a search on small data. The minus
    sign of OV is in the formula: beta_ov = 0.4 writes −0.4 I. A negative beta turns the sign round;
    that is an ablation, not the method, and a warning says so. Raises ValueError for a scalar that
    is not finite or a negative alpha.
    """

    alpha_qk: float = 0.7
    beta_qk: float = 0.7
    alpha_ov: float = 0.4
    beta_ov: float = 0.4

    def __post_init__(self):
        for name in ("alpha_qk", "beta_qk", "alpha_ov", "beta_ov"):
            value, low = getattr(self, name), 0 if name.startswith("alpha") else -math.inf
            if not isinstance(value, Real) or not math.isfinite(value) or value < low:
                range_ = "a finite number" + (" from 0" if low == 0 else "")
                raise ValueError(
                    f"{name} is {value!r}; it must be {range_} (the paper's are 0.7 and 0.4)"
                )
            if value < 0:
                warnings.warn(f"{name} is {value}: the sign ablation, not the method", stacklevel=3)


def mimetic_factors(dim, heads, settings=Mimetic(), qk=True, ov=True, generator=None):
    """Factors of one layer, for x @ W: W_Q, W_K (head, dim, head_dim) and W_V, W_O (dim, dim).

    A pair that is switched off is None. The rank of a head's product is head_dim, so W_Q W_Kᵀ is
    the best approximation of that rank: of the diagonal beta_qk only a part is left. Raises
    ValueError for a number of heads that does not divide dim, and where both pairs are off.
    """
    check_heads(heads, dim)
    if not isinstance(settings, Mimetic):
        raise ValueError(f"settings is {settings!r}; it must be Mimetic(alpha_qk=0.7, …)")
    if not (isinstance(qk, bool) and isinstance(ov, bool)):
        raise ValueError(
            f"qk and ov are {qk!r} and {ov!r}; they are True or False, and sizes go into "
            "settings=Mimetic(alpha_qk=0.7, …)"
        )
    if not (qk or ov):
        raise ValueError("qk and ov are both False: nothing would be written")
    noise = normal(heads + 1, dim, dim, generator=generator) / math.sqrt(dim)
    identity = torch.eye(dim, **DRAWN)
    W_Q = W_K = W_V = W_O = None
    # One SVD after the other on one thread each: a batched SVD is ten times slower on a CPU.
    with one_thread(), ThreadPoolExecutor(cpu_cores()) as pool:
        if qk:
            targets = settings.alpha_qk * noise[:heads] + settings.beta_qk * identity
            lefts, rights = zip(*pool.map(split_svd, targets), strict=True)
            W_Q = torch.stack([left[:, : dim // heads] for left in lefts])
            W_K = torch.stack([right[: dim // heads].T for right in rights])
        if ov:
            W_V, W_O = split_svd(settings.alpha_ov * noise[heads] - settings.beta_ov * identity)
    return W_Q, W_K, W_V, W_O


def split_svd(target: Float[Tensor, "dim dim"]):
    """left, right with left @ right = target, each holding the square root of the singular values.

    Columns of left stand in the order of the singular values, largest first. An SVD leaves their
    signs open, so that machines differ: here the largest entry of each is positive.
    """
    left, singular, right = torch.linalg.svd(target)  # target = left @ diag(singular) @ right
    largest = left.gather(0, left.abs().argmax(0, keepdim=True))  # (1, dim)
    scale = singular.sqrt() * largest.sign().squeeze(0)
    return left * scale, singular.sqrt()[:, None] * largest.sign().T * right


def _write_(qkv, proj, factors):
    """Writes (W_Q, W_K, W_V, W_O) into the weights of nn.Linear, which stores the transposes."""
    W_Q, W_K, W_V, W_O = factors
    dim = len(proj)
    query, key, value = qkv if isinstance(qkv, tuple | list) else qkv.split(dim)
    with torch.no_grad():
        if W_Q is not None:
            query.copy_(W_Q.transpose(1, 2).flatten(0, 1))
            key.copy_(W_K.transpose(1, 2).flatten(0, 1))
        if W_V is not None:
            value.copy_(W_V.T)
            proj.copy_(W_O.T)


def mimetic_(model, settings=Mimetic(), *, qk=True, ov=True, generator=None):
    """Mimetic initialization of every attention layer of minivit's, timm's or torchvision's ViT.

    Changes attention weights only. Positions stay, and they matter: with small random ones, as
    timm's and torchvision's are, our runs ended *below* plain (benchmarks/FINDINGS.md), and a
    warning says so; give them `model.sincos_positions` first. Others tell of a LayerScale that
    starts near 0 and hides what is written, and of post-norm blocks, on which nothing was tried.

    qk, ov: False leaves that pair of weights as it is; the other gets the same noise as without it.
    A layer that pools with a learned query can't be told from self-attention by its weights: leave
    it out, as in mimetic_(model.blocks), which sees no positions and warns of none. ViT-B/16 takes
    some 20 seconds on two CPU cores. Ranks of a DistributedDataParallel each draw their own: give
    all a generator of one seed, or initialize before the model is wrapped.

    Raises ValueError, before anything is written, where `layers.attention_layers` does and for
    weights that can't be written (on meta, sharded, of inference mode).
    """
    return _rewrite_(model, settings, qk, ov, generator)


def mimetic_attention_(
    qkv, proj, heads, settings=Mimetic(), *, qk=True, ov=True, generator=None
) -> None:
    """The same for one layer's tensors, stored as nn.Linear does.

    qkv: (3 · dim, dim), the rows W_Qᵀ, W_Kᵀ, W_Vᵀ, head after head, or three tensors (dim, dim);
    proj: (dim, dim), W_projᵀ. Where a layer stores x @ W, as GPT-2's, give weight.T; where a weight
    holds more, a slice, as of timm's ParallelScalingBlock in_proj.weight[-3 * dim :]. Use one
    generator for all layers: one made anew repeats the noise.

    Raises ValueError for other shapes, heads that do not divide dim, a weight given twice, sharded
    ones, and tensors that were computed from weights (under no_grad nothing tells them apart).
    """
    check_layer(qkv, proj, heads)
    _write_(qkv, proj, mimetic_factors(len(proj), heads, settings, qk, ov, generator))


@torch.autocast("cpu", enabled=False)  # float32, whatever the caller's own autocast is
def _rewrite_(model, settings, qk, ov, generator, control=None):
    """Draws the mimetic factors of all layers, lets `control` change them, and only then writes."""
    layers = attention_layers(model)
    for layer in layers:
        check_layer(layer.qkv, layer.proj, layer.heads, f"{layer.name}: ")
    warn_of_surroundings(model, layers, generator)
    sizes = [(len(layer.proj), layer.heads) for layer in layers]
    factors = [mimetic_factors(*size, settings, qk, ov, generator) for size in sizes]
    if control is not None:
        pairs = zip(factors, sizes, strict=True)
        factors = [control(each, heads, dim, generator) for each, (dim, heads) in pairs]
    for layer, new in zip(layers, factors, strict=True):
        _write_(layer.qkv, layer.proj, new)
    return model


def plain_(model, *, generator=None):
    """Leaves attention as the base set it."""
    return model


def norm_matched_(model, settings=Mimetic(), *, qk=True, ov=True, generator=None):
    """Control for size: normal weights with the root mean square of each mimetic factor.

    What mimetic gains over this is not due to larger entries. Norms of the products still differ:
    see `rotated_`. Arguments and errors as `mimetic_`.
    """
    return _rewrite_(model, settings, qk, ov, generator, control=_norm_matched)


def rotated_(model, settings=Mimetic(), *, qk=True, ov=True, generator=None):
    """Control for alignment: mimetic factors, W_K and W_proj turned by random orthogonal matrices.

    Every factor and every product keeps its singular values; gone is the alignment with I, and what
    follows from it, such as how far logits spread. Arguments and errors as `mimetic_`.
    """
    return _rewrite_(model, settings, qk, ov, generator, control=_rotated)


def _norm_matched(factors, heads, dim, generator):
    noise = normal(4, dim, dim, generator=generator)
    return tuple(
        None if factor is None else draw.view_as(factor) * factor.square().mean().sqrt()
        for factor, draw in zip(factors, noise, strict=True)
    )


def _rotated(factors, heads, dim, generator):
    W_Q, W_K, W_V, W_O = factors
    turns = [random_orthogonal(dim, generator) for _ in range(heads + 1)]
    # W_Q W_Kᵀ is turned on its right by turning W_K on its left.
    if W_K is not None:
        W_K = torch.stack(turns[:heads]) @ W_K
    if W_O is not None:
        W_O = W_O @ turns[heads]
    return W_Q, W_K, W_V, W_O


def random_orthogonal(dim, generator=None) -> Float[Tensor, "dim dim"]:
    """A uniformly random orthogonal matrix (Mezzadri, Notices of the AMS 54, 2007)."""
    q, r = torch.linalg.qr(normal(dim, dim, generator=generator))
    return q * r.diagonal().sign()


def _ov_flipped_(model, *, generator=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = Mimetic(beta_ov=-Mimetic.beta_ov)
    return mimetic_(model, settings, generator=generator)


def _impulse_(model, *, generator=None):
    from minivit.impulse import impulse_  # which builds on this module

    return impulse_(model, generator=generator)


# An arm of a comparison is a base (`bases.py`, which sets every layer) and then one of these.
ATTENTION = {
    "plain": plain_,
    "mimetic": mimetic_,
    "norm_matched": norm_matched_,
    "rotated": rotated_,
    "qk_only": partial(mimetic_, ov=False),
    "ov_only": partial(mimetic_, qk=False),
    "ov_flipped": _ov_flipped_,
    "impulse": _impulse_,
}


def initialize_(model, base, attention, *, seed):
    """One arm: the base drawn from stream (seed, "weights"), attention from (seed, "attention").

    Arms of one seed on one base therefore differ in attention weights alone. Raises ValueError for
    a name that BASES or ATTENTION does not have, and, before anything is written, for a model whose
    attention can't be.
    """
    for name, known in ((base, BASES), (attention, ATTENTION)):
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}")
    if attention == "impulse":  # bases ask about attention, and not about positions
        from minivit.impulse import patch_rows

        patch_rows(model)
    BASES[base](model, generator=stream(seed, "weights"))
    return ATTENTION[attention](model, generator=stream(seed, "attention"))
