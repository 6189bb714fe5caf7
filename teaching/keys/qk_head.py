"""Key of qk-head."""

import math
from functools import partial

import torch

from minivit.checks.questions.qk_head import QUESTION, case
from teaching.keys.key import Key, Mutant


def write_qk_head_(qkv, head, heads, alpha, beta, generator):
    dim = qkv.shape[1]
    k = dim // heads
    noise = torch.randn(dim, dim, generator=generator) / math.sqrt(dim)
    left, s, right = torch.linalg.svd(alpha * noise + beta * torch.eye(dim))
    W_Q = left[:, :k] * s[:k].sqrt()
    W_K = right[:k].T * s[:k].sqrt()
    write(qkv, head, k, W_Q, W_K)


def write(qkv, head, k, W_Q, W_K):
    """Rows head · k and on of the first two thirds."""
    dim = qkv.shape[1]
    with torch.no_grad():
        qkv[head * k : (head + 1) * k] = W_Q.T.to(qkv)
        qkv[dim + head * k : dim + (head + 1) * k] = W_K.T.to(qkv)


def variant(
    qkv,
    head,
    heads,
    alpha,
    beta,
    generator,
    *,
    size=lambda dim, k: dim**-0.5,
    draw=torch.randn,
    finish=lambda left, s, right, k: (left[:, :k] * s[:k].sqrt(), right[:k].T * s[:k].sqrt()),
    beta_times=torch.eye,
):
    """The reference with one step replaced."""
    dim = qkv.shape[1]
    k = dim // heads
    noise = draw(dim, dim, generator=generator) * size(dim, k)
    left, s, right = torch.linalg.svd(alpha * noise + beta * beta_times(dim))
    write(qkv, head, k, *finish(left, s, right, k))


# Correct, and different.


def other_signs(left, s, right, k):
    signs = torch.tensor([1.0, -1.0]).repeat(k)[:k]
    return left[:, :k] * s[:k].sqrt() * signs, right[:k].T * s[:k].sqrt() * signs


def shared_rotation(left, s, right, k):
    turn = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(1)))[0]
    return (left[:, :k] * s[:k].sqrt()) @ turn, (right[:k].T * s[:k].sqrt()) @ turn


def swapped_roles(left, s, right, k):
    """The transposed noise is as good as the noise."""
    return right[:k].T * s[:k].sqrt(), left[:, :k] * s[:k].sqrt()


def row_by_row(qkv, head, heads, alpha, beta, generator):
    """Another order of draws, float64 inside, and an eigenvector route to the same matrix."""
    dim = qkv.shape[1]
    k = dim // heads
    rows = [torch.randn(dim, generator=generator, dtype=torch.float64) for _ in range(dim)]
    target = alpha * torch.stack(rows).T / dim**0.5 + beta * torch.eye(dim, dtype=torch.float64)
    squares, right = torch.linalg.eigh(target.T @ target)
    right, s = right[:, -k:], squares[-k:].clamp_min(1e-12).sqrt()
    write(qkv, head, k, target @ right / s.sqrt(), right * s.sqrt())


def uniform(*shape, generator):
    return (torch.rand(*shape, generator=generator) * 2 - 1) * 3**0.5


def through_data(qkv, head, heads, alpha, beta, generator):
    """Writes through .data and returns the weight."""
    new = qkv.detach().clone()
    write_qk_head_(new, head, heads, alpha, beta, generator)
    qkv.data.copy_(new)
    return qkv


# Wrong.


def flipped(left, s, right, k):
    return left[:, :k] * s[:k].sqrt(), -right[:k].T * s[:k].sqrt()


def columns_of_right(left, s, right, k):
    return left[:, :k] * s[:k].sqrt(), right[:, :k] * s[:k].sqrt()


def rotated_key(left, s, right, k):
    dim = len(left)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(1)))[0]
    return left[:, :k] * s[:k].sqrt(), turn @ (right[:k].T * s[:k].sqrt())


def powers(query, key):
    """The singular values to these powers in the two factors, not both to 1 / 2."""
    return lambda left, s, right, k: (left[:, :k] * s[:k] ** query, right[:k].T * s[:k] ** key)


def smallest(left, s, right, k):
    return left[:, -k:] * s[-k:].sqrt(), right[-k:].T * s[-k:].sqrt()


def left_twice(left, s, right, k):
    return left[:, :k] * s[:k].sqrt(), left[:, :k] * s[:k].sqrt()


def reshaped(left, s, right, k):
    W_Q, W_K = left[:, :k] * s[:k].sqrt(), right[:k].T * s[:k].sqrt()
    return W_Q.reshape(k, -1).T, W_K.reshape(k, -1).T


def query_reshaped(left, s, right, k):
    return reshaped(left, s, right, k)[0], right[:k].T * s[:k].sqrt()


def rescaled(qkv, head, heads, alpha, beta, generator):
    """Takes the smaller diagonal for a fault and mends it."""
    write_qk_head_(qkv, head, heads, alpha, beta, generator)
    dim, k = qkv.shape[1], qkv.shape[1] // heads
    with torch.no_grad():
        W_Q, W_K = (rows[head * k : (head + 1) * k] for rows in (qkv[:dim], qkv[dim : 2 * dim]))
        factor = (beta / (W_Q.float() * W_K.float()).sum().div(dim)).sqrt()
        W_Q *= factor
        W_K *= factor


def gaussian(qkv, head, heads, alpha, beta, generator):
    """Entries of the right size, and nothing else."""
    dim, k = qkv.shape[1], qkv.shape[1] // heads
    W_Q, W_K = torch.randn(2, dim, k, generator=generator) * 0.09
    write(qkv, head, k, W_Q, W_K)


def given(**changes):
    """The reference, with arguments changed first: name → function of all but qkv."""

    def answer(qkv, **rest):
        write_qk_head_(qkv, **{**rest, **{name: new(rest) for name, new in changes.items()}})

    return answer


def side_by_side(qkv, head, heads, alpha, beta, generator, *, each):
    """`each`: blocks of rows that a head is thought to own."""
    new, k = qkv.detach().clone(), qkv.shape[1] // heads
    write_qk_head_(new, head, heads, alpha, beta, generator)
    with torch.no_grad():
        for place, third in enumerate(new.split(len(new) // 3)[:2]):
            qkv[(each * head + place) * k :][:k] = third[head * k :][:k]


def every_head(qkv, head, heads, alpha, beta, generator):
    for each in range(heads):
        write_qk_head_(qkv, each, heads, alpha, beta, generator)


def value_too(qkv, head, heads, alpha, beta, generator):
    write_qk_head_(qkv, head, heads, alpha, beta, generator)
    with torch.no_grad():
        qkv[2 * qkv.shape[1] :] = 0


def query_only(qkv, head, heads, alpha, beta, generator):
    kept = qkv.detach().clone()
    write_qk_head_(qkv, head, heads, alpha, beta, generator)
    with torch.no_grad():
        qkv[qkv.shape[1] :] = kept[qkv.shape[1] :]


def returned_not_written(qkv, head, heads, alpha, beta, generator):
    new = qkv.detach().clone()
    write_qk_head_(new, head, heads, alpha, beta, generator)
    return new


def casts(qkv, head, heads, alpha, beta, generator):
    qkv.data = qkv.data.float()
    write_qk_head_(qkv, head, heads, alpha, beta, generator)


def without_no_grad(qkv, head, heads, alpha, beta, generator):
    qkv[0] = 0.0


def without_noise(qkv, head, heads, alpha, beta, generator):
    """No noise at all: the identity, cut to its first axes."""
    torch.randn(1, generator=generator)
    eye = torch.eye(qkv.shape[1])[:, : qkv.shape[1] // heads] * beta**0.5
    write(qkv, head, qkv.shape[1] // heads, eye, eye)


def hidden(rng):
    """Other widths, scalars that differ, no head that a slip would also hit."""
    shapes = [(64, 2), (96, 3), (64, 4)]
    rng.shuffle(shapes)
    cases = []
    for number, (dim, heads) in enumerate(shapes[: QUESTION.hidden]):
        alpha, beta = rng.uniform(0.3, 0.5), rng.uniform(0.75, 1.0)
        if rng.integers(2):
            alpha, beta = rng.uniform(0.7, 0.9), rng.uniform(0.4, 0.6)
        head, first, second = int(rng.integers(1, heads)), *rng.integers(2**32, size=2)
        seeds = (int(first), int(first), int(second)) if number == 0 else (int(first),)
        dtype = "bfloat16" if number == 1 else "float32"
        title = f"head {head} of {heads}, width {dim}, {dtype}"
        scalars = (round(float(alpha), 2), round(float(beta), 2))
        cases.append(case(title, dim, heads, head, *scalars, seeds, dtype))
    return tuple(cases)


def _step(finish=None, **steps):
    return partial(variant, finish=finish) if finish else partial(variant, **steps)


KEY = Key(
    question=QUESTION,
    reference=write_qk_head_,
    hidden=hidden,
    misses="noise of another distribution with the same variance (±1, an orthogonal matrix), alpha "
    "or beta off by some percent, the largest singular value left out where the head is cut",
    alternatives={
        "other signs": _step(other_signs),
        "a rotation shared by W_Q and W_K": _step(shared_rotation),
        "W_Q and W_K in each other's place": _step(swapped_roles),
        "row by row, float64, eigenvectors": row_by_row,
        "uniform noise of variance 1 / dim": _step(draw=uniform),
        "through .data, returned as well": through_data,
    },
    mutants=(
        Mutant("sign flipped", _step(flipped), "sign"),
        Mutant("columns of Vᵀ for V", _step(columns_of_right), "unaligned"),
        Mutant("W_K rotated", _step(rotated_key), "unaligned"),
        Mutant("no square root", _step(powers(1, 1)), "squared"),
        Mutant("square root twice", _step(powers(0.25, 0.25)), "double-root"),
        Mutant("a root in W_Q alone", _step(powers(0.5, 0)), "double-root"),
        Mutant("no singular values", _step(powers(0, 0)), "unsized"),
        Mutant("all of S in W_Q", _step(powers(1, 0)), "one-sided"),
        Mutant("the smallest singular values", _step(smallest), "smallest"),
        Mutant("left singular vectors twice", _step(left_twice), "symmetric"),
        Mutant("reshape for transpose", _step(reshaped), "scrambled"),
        Mutant("no transpose in W_Q", _step(query_reshaped), "scrambled"),
        Mutant("Z of variance 1", _step(size=lambda d, k: 1.0), "noise-too-large"),
        Mutant(
            "Z of standard deviation 1 / dim", _step(size=lambda d, k: 1 / d), "noise-too-small"
        ),
        Mutant("Z of variance 1 / head_dim", _step(size=lambda d, k: k**-0.5), "noise-by-head-dim"),
        Mutant(
            "alpha and beta swapped",
            given(alpha=lambda a: a["beta"], beta=lambda a: a["alpha"]),
            "scalars-swapped",
        ),
        Mutant("diagonal scaled up to beta", rescaled, "rescaled"),
        Mutant("normal entries of the right size", gaussian, "diagonal"),
        Mutant("beta, without I", _step(beta_times=lambda d: 1.0), "beta-everywhere"),
        Mutant("no noise", without_noise, "no-noise"),
        Mutant(
            "torch's global generator",
            _step(draw=lambda *shape, generator: torch.randn(*shape)),
            "generator",
        ),
        Mutant("a generator of its own", given(generator=lambda a: torch.Generator()), "generator"),
        Mutant(
            "seeds the generator itself",
            given(generator=lambda a: a["generator"].manual_seed(0)),
            "generator",
        ),
        Mutant("always head 0", given(head=lambda a: 0), "other-head"),
        Mutant("counted from 1", given(head=lambda a: (a["head"] - 1) % a["heads"]), "other-head"),
        Mutant("W_Kᵀ right behind W_Qᵀ", partial(side_by_side, each=1), "side-by-side"),
        Mutant("head after head", partial(side_by_side, each=3), "side-by-side"),
        Mutant("every head", every_head, "whole-layer"),
        Mutant("zeroes W_V", value_too, "untouched"),
        Mutant("W_Q alone", query_only, "unchanged"),
        Mutant("returns a changed copy", returned_not_written, "unchanged"),
        Mutant("makes the layer float32", casts, "dtype"),
        Mutant("in place without no_grad", without_no_grad, "raised"),
    ),
)
