"""Key of cut-diagonal."""

import numpy as np
import torch

from minivit.checks.questions.cut_diagonal import QUESTION, case
from teaching.keys.key import Key, Mutant


def cut_diagonal(target):
    left, s, right = torch.linalg.svd(target)
    mean = (s * (left * right.T).sum(0)).cumsum(0) / len(s)
    return mean, s.square().cumsum(0) / s.square().sum()


# Correct, and different.


def by_loops(target):
    left, s, right = torch.linalg.svd(target.double())
    product, means, kept = torch.zeros_like(target).double(), [], []
    for size, u, v in zip(s, left.T, right, strict=True):
        product = product + size * torch.outer(u, v)
        means.append(product.trace() / len(s))
        kept.append(product.square().sum() / target.double().square().sum())
    return torch.stack(means), torch.stack(kept)


def by_projections(target):
    """The best approximation of rank k is target, projected on its first k right vectors."""
    _, V = torch.linalg.eigh(target.double().T @ target.double())
    V = V.flip(1)  # the largest first
    image = target.double() @ V
    energy = image.square().sum(0).cumsum(0)
    return (image * V).sum(0).cumsum(0) / len(V), energy / energy[-1]


def in_numpy(target):
    left, s, right = np.linalg.svd(target.numpy())
    signs = np.where(np.arange(len(s)) % 2, 1, -1)
    mean = np.add.accumulate(s * np.einsum("di,id->i", left * signs, right * signs[:, None]))
    return mean / len(s), np.add.accumulate(s**2) / np.square(target.numpy()).sum()


# Wrong.


def variant(mean=None, kept=None, each=None):
    """The reference with one formula replaced: mean(u, σ, v), kept(σ), or each answer altered."""

    def answer(target):
        left, s, right = torch.linalg.svd(target)
        right_mean, right_kept = cut_diagonal(target)
        found = mean(left, s, right.T) if mean else right_mean, kept(s) if kept else right_kept
        return tuple(each(one) for one in found) if each else found

    return answer


def alike(left, right):
    return (left * right).sum(0)


def steps(running):
    return torch.diff(running, prepend=torch.zeros(1))


def one_rank(target):
    """Rank dim / 2 alone."""
    return tuple(each[len(target) // 2 - 1] for each in cut_diagonal(target))


def mean_alone(target):
    return cut_diagonal(target)[0]


def in_place(target):
    answer = cut_diagonal(target)
    target /= target.norm()
    return answer


def of_noise(target):
    """The singular values of the target, the diagonal of target itself for the vectors."""
    s = torch.linalg.svdvals(target)
    return target.diagonal().cumsum(0) / len(s), s.square().cumsum(0) / s.square().sum()


def other_order(target):
    return cut_diagonal(target)[::-1]


def by_eigenvalues(target):
    sizes = torch.linalg.eigvals(target).abs().sort(descending=True).values
    return sizes.cumsum(0) / len(sizes), sizes.square().cumsum(0) / sizes.square().sum()


def kept_of_diagonal(target):
    mean, _ = cut_diagonal(target)
    return mean, mean / mean[-1]


def norm_missed(target):
    """As the lesson says how far a head is from its target."""
    left, s, right = torch.linalg.svd(target)
    cuts = [(left[:, :k] * s[:k]) @ right[:k] for k in range(1, len(s) + 1)]
    missed = torch.stack([(cut - target).norm() / target.norm() for cut in cuts])
    return cut_diagonal(target)[0], missed


def hidden(rng):
    """Both signs, noise small and large."""
    cases = []
    for sign in (1, -1, 1):
        dim, alpha = int(rng.integers(20, 40)), float(rng.uniform(0.3, 0.8))
        beta = sign * float(rng.uniform(0.3, 0.8))
        title = f"{alpha:.2f} Z {'+' if sign > 0 else '−'} {abs(beta):.2f} I, width {dim}"
        made = case(title, dim, alpha, beta, int(rng.integers(2**32)))
        while not _has_its_signs(made.calls[0]["target"]):
            made = case(title, dim, alpha, beta, int(rng.integers(2**32)))
        cases.append(made)
    return tuple(cases)


def _has_its_signs(target):
    """Whether rounding leaves the signs of u and v alone: a mistake is known by them."""
    exact = torch.from_numpy(target)
    pairs = zip(torch.linalg.svd(exact), torch.linalg.svd(exact.float()), strict=True)
    return all(torch.allclose(a, b.double(), atol=1e-2) for a, b in pairs)


KEY = Key(
    question=QUESTION,
    reference=cut_diagonal,
    hidden=hidden,
    alternatives={
        "each approximation, float64": by_loops,
        "projections, without any SVD": by_projections,
        "numpy, other signs": in_numpy,
    },
    mutants=(
        Mutant(
            "all of each singular value",
            variant(lambda u, s, v: s.cumsum(0) / len(s)),
            "vectors-ignored",
        ),
        Mutant(
            "columns of Vᵀ",
            variant(lambda u, s, v: (s * alike(u, v.T)).cumsum(0) / len(s)),
            "columns-of-right",
        ),
        Mutant(
            "sum(1) for sum(0)",
            variant(lambda u, s, v: (s * (u * v).sum(1)).cumsum(0) / len(s)),
            "place-by-place",
        ),
        Mutant(
            "no singular values",
            variant(lambda u, s, v: alike(u, v).cumsum(0) / len(s)),
            "size-ignored",
        ),
        Mutant("a sum", variant(lambda u, s, v: (s * alike(u, v)).cumsum(0)), "sum-not-mean"),
        Mutant(
            "divided by the rank",
            variant(lambda u, s, v: (s * alike(u, v)).cumsum(0) / torch.arange(1, len(s) + 1)),
            "mean-over-rank",
        ),
        Mutant(
            "the sign of u · v lost",
            variant(lambda u, s, v: (s * alike(u, v).abs()).cumsum(0) / len(s)),
            "absolute",
        ),
        Mutant("σ for σ²", variant(kept=lambda s: s.cumsum(0) / s.sum()), "kept-not-squared"),
        Mutant(
            "σ summed, then squared",
            variant(kept=lambda s: (s.cumsum(0) / s.sum()).square()),
            "kept-not-squared",
        ),
        Mutant(
            "norms",
            variant(kept=lambda s: (s.square().cumsum(0) / s.square().sum()).sqrt()),
            "kept-rooted",
        ),
        Mutant("not divided", variant(kept=lambda s: s.square().cumsum(0)), "kept-not-divided"),
        Mutant(
            "divided by dim",
            variant(kept=lambda s: s.square().cumsum(0) / len(s)),
            "kept-not-divided",
        ),
        Mutant(
            "what is lost",
            variant(kept=lambda s: 1 - s.square().cumsum(0) / s.square().sum()),
            "lost-for-kept",
        ),
        Mutant("the norm of what is missed", norm_missed, "lost-for-kept"),
        Mutant(
            "the smallest first",
            variant(each=lambda running: steps(running).flip(0).cumsum(0)),
            "smallest-first",
        ),
        Mutant("not summed", variant(each=steps), "not-summed"),
        Mutant(
            "the mean not summed", variant(lambda u, s, v: s * alike(u, v) / len(s)), "not-summed"
        ),
        Mutant(
            "from rank 0", variant(each=lambda running: running - steps(running)), "from-rank-0"
        ),
        Mutant("the target's own diagonal, summed", of_noise, "place-by-place"),
        Mutant("eigenvalues", by_eigenvalues, "eigenvalues"),
        Mutant("the part of the diagonal", kept_of_diagonal, "kept-of-diagonal"),
        Mutant("energy first", other_order, "other-order"),
        Mutant("one rank", one_rank, "shape"),
        Mutant("the mean alone", mean_alone, "kind"),
        Mutant("normalises its input", in_place, "untouched"),
    ),
)
