"""Key of even-heads."""

import math
from functools import partial

import numpy as np
import torch

from minivit.checks.questions.even_heads import QUESTION, loose, mimetic
from teaching.keys.key import Key, Mutant


def even_heads(W_V, W_proj, heads, *, stop=1e-6):
    V, P = list(W_V.chunk(heads, dim=1)), list(W_proj.chunk(heads))
    mean = torch.trace(W_V @ W_proj).item() / heads
    for _ in range(heads - 1):
        traces = [torch.trace(P[h] @ V[h]).item() for h in range(heads)]
        p, q = traces.index(max(traces)), traces.index(min(traces))
        above, below = traces[p] - mean, traces[q] - mean
        if above < stop or below > -stop:
            break  # all alike
        x = (torch.trace(P[p] @ V[q]) + torch.trace(P[q] @ V[p])).item()
        tau = (x + math.sqrt(x**2 - 4 * above * below)) / (-2 * below)
        c, s = 1 / math.hypot(1, tau), tau / math.hypot(1, tau)
        V[p], V[q] = c * V[p] + s * V[q], c * V[q] - s * V[p]
        P[p], P[q] = c * P[p] + s * P[q], c * P[q] - s * P[p]
    return torch.cat(V, dim=1), torch.cat(P)


# Correct, and different. A turn R alone, where that is shorter: float64 inside.


def turned(find):
    """The answer that turns by R = find(B, heads), with B = W_proj W_V."""

    def answer(W_V, W_proj, heads):
        V, P = W_V.double(), W_proj.double()
        R = find(P @ V, heads)
        return V @ R, R.T @ P

    return answer


def flat_diagonal(B, heads):
    """Single columns, until the whole diagonal is constant."""
    R, mean = torch.eye(len(B)).to(B), B.trace() / len(B)
    for _ in range(len(B) - 1):
        now = R.T @ B @ R
        p, q = now.diagonal().argmax(), now.diagonal().argmin()
        if now[p, p] - now[q, q] < 1e-9:
            break
        middle, half = (now[p, p] + now[q, q]) / 2 - mean, (now[p, p] - now[q, q]) / 2
        cross = (now[p, q] + now[q, p]) / 2
        angle = (torch.acos(-middle / torch.hypot(half, cross)) + torch.atan2(cross, half)) / 2
        R[:, p], R[:, q] = (
            angle.cos() * R[:, p] + angle.sin() * R[:, q],
            angle.cos() * R[:, q] - angle.sin() * R[:, p],
        )
    return R


def in_an_eigenbasis(B, heads):
    """Of the symmetric part. No mixtures there: one column is carried on, from pair to pair."""
    values, R = torch.linalg.eigh((B + B.T) / 2)
    mean, fresh = values.mean(), list(range(len(values)))
    carried, value = R[:, fresh.pop()].clone(), values[-1].clone()
    columns = []
    while fresh:
        # The carried one is above the mean: take the lowest next; and the other way round.
        other = fresh.pop(0 if value > mean else -1)
        gap = value - values[other]
        share = ((mean - values[other]) / gap).clamp(0, 1) if gap.abs() > 1e-12 else gap * 0 + 1
        c, s = share.sqrt(), (1 - share).sqrt()
        columns.append(c * carried + s * R[:, other])
        carried, value = c * R[:, other] - s * carried, value + values[other] - mean
    return torch.stack([*columns, carried], dim=1)


def in_turns(B, heads):
    """The highest head and the lowest one become equal, again and again, until all are."""
    R = torch.eye(len(B)).to(B).unflatten(1, (heads, -1))
    while True:
        blocks = torch.einsum("aip,ajp->ij", R, (B @ R.flatten(1)).unflatten(1, (heads, -1)))
        traces = blocks.diagonal()
        p, q = traces.argmax(), traces.argmin()
        if traces[p] - traces[q] < 1e-5:
            return R.flatten(1)
        angle = torch.atan2(traces[q] - traces[p], blocks[p, q] + blocks[q, p]) / 2
        c, s = angle.cos(), angle.sin()
        R[:, p], R[:, q] = c * R[:, p] + s * R[:, q], c * R[:, q] - s * R[:, p]


def by_bisection(W_V, W_proj, heads):
    """In numpy: the angle is found by halving. Then heads change places, columns their sign."""
    V, P = W_V.numpy().astype(float), W_proj.numpy().astype(float)
    V, P = V.reshape(len(V), heads, -1).copy(), P.reshape(heads, -1, len(V)).copy()
    mean = np.einsum("dhk,hkd->", V, P) / heads
    for _ in range(heads - 1):
        traces = np.einsum("dhk,hkd->h", V, P)
        p, q = traces.argmax(), traces.argmin()
        low, high = 0.0, np.pi / 2
        for _ in range(40):
            middle = (low + high) / 2
            c, s = np.cos(middle), np.sin(middle)
            above = np.sum((c * V[:, p] + s * V[:, q]) * (c * P[p] + s * P[q]).T) > mean
            low, high = (middle, high) if above else (low, middle)
        V[:, p], V[:, q] = c * V[:, p] + s * V[:, q], c * V[:, q] - s * V[:, p]
        P[p], P[q] = c * P[p] + s * P[q], c * P[q] - s * P[p]
    return -V[:, ::-1].reshape(len(V), -1), -P[::-1].reshape(len(V), -1)


# Wrong.


def same_turn(change):
    """W_V and W_proj changed by `change(V, P, R)`, with the R of a right answer."""

    def answer(W_V, W_proj, heads):
        return change(W_V, W_proj, flat_diagonal(W_proj @ W_V, heads))

    return answer


def evens(other):
    """A right turn for another matrix: other(V, P, heads)."""

    def answer(W_V, W_proj, heads):
        V, P = W_V.double(), W_proj.double()
        R = flat_diagonal(other(V, P, heads), heads)
        return V @ R, R.T @ P

    return answer


def lower_triangle(V, P, heads, uplo="L"):
    """What eigh takes P V for."""
    values, vectors = torch.linalg.eigh(P @ V, UPLO=uplo)
    return vectors * values @ vectors.T


def no_mixtures(V, P, heads):
    V, P = V.chunk(heads, dim=1), P.chunk(heads)
    return torch.block_diag(*(P[h] @ V[h] for h in range(heads)))


def dealt_out(W_V, W_proj, heads):
    order = torch.arange(len(W_V)).view(-1, heads).T.flatten()
    return W_V[:, order], W_proj[order]


def snake(W_V, W_proj, heads):
    """There and back: 0 1 2 2 1 0 0 1 …"""
    rounds = torch.arange(len(W_V)).view(-1, heads)
    rounds[1::2] = rounds[1::2].flip(1)
    return W_V[:, rounds.T.flatten()], W_proj[rounds.T.flatten()]


def inside_heads(W_V, W_proj, heads):
    k = len(W_V) // heads
    turns = torch.linalg.qr(torch.randn(heads, k, k, generator=seeded()))[0]
    R = torch.block_diag(*turns)
    return W_V @ R, R.T @ W_proj


def seeded():
    return torch.Generator().manual_seed(5)


def any_turn(W_V, W_proj, heads):
    """A random one, which evens out nothing exactly."""
    R = torch.linalg.qr(torch.randn(W_V.shape, generator=seeded()))[0]
    return W_V @ R, R.T @ W_proj


def scaled_heads(W_V, W_proj, heads):
    """Each head times what it lacks."""
    traces = (W_V * W_proj.T).unflatten(1, (heads, -1)).sum((0, 2))
    factors = (traces.mean() / traces).repeat_interleave(len(W_V) // heads)
    return W_V * factors, W_proj


def lifted_heads(W_V, W_proj, heads):
    """What a head lacks is added to its rows of W_proj, along its columns of W_V."""
    k = len(W_V) // heads
    traces = (W_V * W_proj.T).unflatten(1, (heads, -1)).sum((0, 2))
    lacks = (traces.mean() - traces).repeat_interleave(k) / k
    return W_V, W_proj + (W_V / W_V.square().sum(0) * lacks).T


def of_other_columns(W_V, W_proj, heads):
    """Columns h, h + heads, … for head h."""
    order = torch.arange(len(W_V)).view(-1, heads).T.flatten()
    V, P = even_heads(W_V[:, order], W_proj[order], heads)
    return V[:, order.argsort()], P[order.argsort()]


def one_pair(W_V, W_proj, heads, *, reference=even_heads):
    """The first two heads alone."""
    part = 2 * len(W_V) // heads
    V, P = reference(W_V[:, :part], W_proj[:part], 2)
    return torch.cat([V, W_V[:, part:]], 1), torch.cat([P, W_proj[part:]])


def whole_in_each(W_V, W_proj, heads):
    share = W_V @ W_proj / heads
    return share.expand(heads, -1, -1), torch.eye(len(W_V)).expand(heads, -1, -1)


def split_anew(W_V, W_proj, heads):
    """The product in one factor, turned so that the traces are right."""
    product = (W_V @ W_proj).double()
    R = flat_diagonal(product, heads)
    return product @ R, R.T


def mixed_by_an_inverse(W_V, W_proj, heads):
    mix = torch.eye(len(W_V)) + 0.3 * torch.randn(W_V.shape, generator=seeded()) / len(W_V) ** 0.5
    return even_heads(W_V @ mix, torch.linalg.inv(mix) @ W_proj, heads)


def scaled_against(W_V, W_proj, heads):
    """W_V R twice as large, W_proj half as large."""
    V, P = even_heads(W_V, W_proj, heads)
    return 2 * V, P / 2


def in_place(W_V, W_proj, heads):
    V, P = even_heads(W_V, W_proj, heads)
    return W_V.copy_(V), W_proj.copy_(P)


def hidden(rng):
    """The lesson's split, other factors, and heads of width 1 that are nearly alike already."""
    alpha, sign = float(rng.uniform(0.3, 0.7)), int(rng.choice((-1, 1)))
    beta, k, heads = sign * float(rng.uniform(0.3, 0.7)), int(rng.integers(4, 9)), 3
    seeds = [int(seed) for seed in rng.integers(2**32, size=3)]
    title = f"{alpha:.2f} Z {'+' if sign > 0 else '−'} {abs(beta):.2f} I, {heads} heads of {k}"
    cases = [mimetic(title, heads * k, heads, alpha, beta, seeds[0])]
    heads, k = int(rng.integers(3, 7)), int(rng.integers(2, 6))
    cases.append(loose(f"other factors, {heads} heads of {k}", heads * k, heads, seeds[1]))
    dim = int(rng.integers(8, 13))
    title = f"{dim} heads of 1, nearly alike already"
    cases.append(loose(title, dim, dim, seeds[2], off=4e-4))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=even_heads,
    hidden=hidden,
    alternatives={
        "single columns, the whole diagonal constant": turned(flat_diagonal),
        "an eigenbasis of the symmetric part": turned(in_an_eigenbasis),
        "equal two by two, again and again": turned(in_turns),
        "numpy, halved angles, heads and signs in another order": by_bisection,
    },
    mutants=(
        Mutant("as it came", lambda W_V, W_proj, heads: (W_V, W_proj), "as-it-was"),
        Mutant("turned inside each head", inside_heads, "as-it-was"),
        Mutant("columns dealt out in turn", dealt_out, "reordered"),
        Mutant("columns dealt out there and back", snake, "reordered"),
        Mutant("equal norms in W_V", evens(lambda V, P, heads: V.T @ V), "sizes"),
        Mutant("equal norms in W_proj", evens(lambda V, P, heads: P @ P.T), "sizes"),
        Mutant("blocks of W_V W_proj", evens(lambda V, P, heads: V @ P), "other-order"),
        Mutant("eigh of W_proj W_V", evens(lower_triangle), "triangle"),
        Mutant("eigh, the upper triangle", evens(partial(lower_triangle, uplo="U")), "triangle"),
        Mutant("no mixed traces", evens(no_mixtures), "no-mixture"),
        Mutant("two heads only", one_pair, "some-only"),
        Mutant("stops at traces 0.005 off", partial(even_heads, stop=0.005), "loose-stop"),
        Mutant("heads dealt like cards", of_other_columns, "interleaved"),
        Mutant("any rotation", any_turn, "shares"),
        Mutant("W_V turned alone", same_turn(lambda V, P, R: (V @ R, P)), "one-side"),
        Mutant("W_proj turned alone", same_turn(lambda V, P, R: (V, R.T @ P)), "one-side"),
        Mutant("R in both", same_turn(lambda V, P, R: (V @ R, R @ P)), "backwards"),
        Mutant("Rᵀ in both", same_turn(lambda V, P, R: (V @ R.T, R.T @ P)), "backwards"),
        Mutant("R W_V, W_proj Rᵀ", same_turn(lambda V, P, R: (R @ V, P @ R.T)), "tokens-turned"),
        Mutant(
            "R not normalised",
            same_turn(lambda V, P, R: (V @ (1.4 * R), (1.4 * R).T @ P)),
            "no-rotation",
        ),
        Mutant("each head scaled to its share", scaled_heads, "rescaled"),
        Mutant("what a head lacks is added", lifted_heads, "product"),
        Mutant("the product split anew", split_anew, "not-turned"),
        Mutant("a matrix and its inverse", mixed_by_an_inverse, "not-turned"),
        Mutant("one factor up, the other down", scaled_against, "not-turned"),
        Mutant("1 / heads of the product in each head", whole_in_each, "shape"),
        Mutant("the product alone", lambda W_V, W_proj, heads: W_V @ W_proj, "kind"),
        Mutant("in place", in_place, "untouched"),
    ),
)
