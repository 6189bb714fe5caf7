"""Key of spectrum-gap."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from minivit.checks.questions.spectrum_gap import QUESTION, case
from teaching.keys.key import Key, Mutant


def spectrum_gaps(W_Q_a, W_K_a, W_Q_b, W_K_b):
    lists = []
    for W_Q, W_K in ((W_Q_a, W_K_a), (W_Q_b, W_K_b)):
        values = torch.linalg.svdvals(W_Q @ W_K.mT)[:, : W_Q.shape[2]]
        lists.append(values / values.norm(dim=1, keepdim=True))
    n = max(each.shape[1] for each in lists)
    s, t = (F.pad(each, (0, n - each.shape[1])) for each in lists)
    return (s[:, None] - t).norm(dim=-1)


# Correct, and different.


def by_loops(W_Q_a, W_K_a, W_Q_b, W_K_b):
    """All dim values of each head, zeros and all, one pair after the other."""
    table = torch.zeros(len(W_Q_a), len(W_Q_b), dtype=torch.float64)
    for i, (Q, K) in enumerate(zip(W_Q_a.double(), W_K_a.double(), strict=True)):
        for j, (other_Q, other_K) in enumerate(zip(W_Q_b.double(), W_K_b.double(), strict=True)):
            s, t = torch.linalg.svdvals(Q @ K.T), torch.linalg.svdvals(other_Q @ other_K.T)
            s, t = (s / s.norm()).tolist(), (t / t.norm()).tolist()
            n = max(len(s), len(t))
            s, t = s + [0.0] * (n - len(s)), t + [0.0] * (n - len(t))
            table[i, j] = sum((x - y) ** 2 for x, y in zip(s, t, strict=True)) ** 0.5
    return table


def by_small_products(W_Q_a, W_K_a, W_Q_b, W_K_b):
    """Eigenvalues of a k × k matrix; the distance from inner products of lists of norm 1."""
    lists = []
    for W_Q, W_K in ((W_Q_a, W_K_a), (W_Q_b, W_K_b)):
        W_Q, W_K = W_Q.double(), W_K.double()
        squares = torch.linalg.eigvals((W_Q.mT @ W_Q) @ (W_K.mT @ W_K)).real.clamp_min(0)
        values = squares.sqrt().sort(dim=1, descending=True).values
        lists.append(values / squares.sum(1, keepdim=True).sqrt())
    n = min(each.shape[1] for each in lists)
    inner = torch.einsum("an,bn->ab", lists[0][:, :n], lists[1][:, :n])
    return (2 - 2 * inner).clamp_min(0).sqrt()


def in_float32(W_Q_a, W_K_a, W_Q_b, W_K_b):
    """√(2 − 2 cosine), in float32: beside a twin it is a few ten-thousandths, not 0."""
    n = min(W_Q_a.shape[2], W_Q_b.shape[2])
    s, t = norm_one(svd_of_product(W_Q_a, W_K_a)), norm_one(svd_of_product(W_Q_b, W_K_b))
    return (2 - 2 * s[:, :n] @ t[:, :n].T).clamp_min(0).sqrt()


def in_numpy(W_Q_a, W_K_a, W_Q_b, W_K_b):
    def spectra(W_Q, W_K):
        product = np.einsum("hik,hjk->hij", W_Q.numpy(), W_K.numpy()).astype(np.float64)
        product /= np.sqrt(np.square(product).sum((1, 2), keepdims=True))
        values = np.zeros((len(product), 64))
        values[:, : product.shape[1]] = np.linalg.svd(product)[1]
        return values

    s, t = spectra(W_Q_a, W_K_a), spectra(W_Q_b, W_K_b)
    return np.sqrt(np.square(s[:, np.newaxis] - t).sum(2))


# Wrong.


def svd_of_product(W_Q, W_K):
    return torch.linalg.svdvals(W_Q @ W_K.mT)[:, : W_Q.shape[2]]


def svd_of_factors(W_Q, W_K):
    return torch.linalg.svdvals(W_Q) * torch.linalg.svdvals(W_K)


def of_small_product(W_Q, W_K):
    return torch.linalg.svdvals(W_Q.mT @ W_K)


def sizes_of_eigenvalues(W_Q, W_K):
    sizes = torch.linalg.eigvals(W_Q @ W_K.mT).abs().sort(dim=1, descending=True).values
    return sizes[:, : W_Q.shape[2]]


def norm_one(values):
    return values / values.norm(dim=1, keepdim=True)


def behind(values, n):
    return F.pad(values, (0, n - values.shape[1]))


def before(values, n):
    return F.pad(values, (n - values.shape[1], 0))


def as_long(values, n):
    return F.interpolate(values[:, None], size=n, mode="linear")[:, 0]


def variant(
    W_Q_a,
    W_K_a,
    W_Q_b,
    W_K_b,
    *,
    values=svd_of_product,
    scale=norm_one,
    n=max,
    fill=behind,
    measure=lambda gap: gap.norm(dim=-1),
):
    """The reference with one step replaced."""
    s, t = scale(values(W_Q_a, W_K_a)), scale(values(W_Q_b, W_K_b))
    length = n(s.shape[1], t.shape[1])
    s, t = fill(s[:, :length], length), fill(t[:, :length], length)
    return measure(s[:, None] - t)


def cut_before_scaling(W_Q_a, W_K_a, W_Q_b, W_K_b):
    n = min(W_Q_a.shape[2], W_Q_b.shape[2])
    s, t = svd_of_product(W_Q_a, W_K_a)[:, :n], svd_of_product(W_Q_b, W_K_b)[:, :n]
    return torch.cdist(norm_one(s), norm_one(t))


def over_a(W_Q_a, W_K_a, W_Q_b, W_K_b):
    raw = variant(W_Q_a, W_K_a, W_Q_b, W_K_b, scale=lambda values: values)
    return raw / (W_Q_a @ W_K_a.mT).norm(dim=(1, 2))[:, None]


def one_less_cosine(W_Q_a, W_K_a, W_Q_b, W_K_b):
    return spectrum_gaps(W_Q_a, W_K_a, W_Q_b, W_K_b).square() / 2


def transposed(W_Q_a, W_K_a, W_Q_b, W_K_b):
    return spectrum_gaps(W_Q_a, W_K_a, W_Q_b, W_K_b).T


def head_by_head(W_Q_a, W_K_a, W_Q_b, W_K_b):
    n = min(len(W_Q_a), len(W_Q_b))
    return spectrum_gaps(W_Q_a[:n], W_K_a[:n], W_Q_b[:n], W_K_b[:n]).diagonal()


def nearest_alone(W_Q_a, W_K_a, W_Q_b, W_K_b):
    return spectrum_gaps(W_Q_a, W_K_a, W_Q_b, W_K_b).min(1).values


def normalises_its_input(W_Q_a, W_K_a, W_Q_b, W_K_b):
    answer = spectrum_gaps(W_Q_a, W_K_a, W_Q_b, W_K_b)
    W_Q_a /= W_Q_a.norm(dim=(1, 2), keepdim=True)
    return answer


def first_values(W_Q_a, W_K_a, W_Q_b, W_K_b):
    s, t = norm_one(svd_of_product(W_Q_a, W_K_a)), norm_one(svd_of_product(W_Q_b, W_K_b))
    return (s[:, :1] - t[:, 0]).abs()


def hidden(rng):
    """More and fewer heads, more and fewer directions, and a twin."""
    cases = []
    for title, up in (("more directions in A", True), ("more directions in B", False)):
        few, many = int(rng.integers(3, 6)), int(rng.integers(7, 11))
        a = (int(rng.integers(2, 5)), int(rng.integers(12, 24)), many if up else few)
        b = (int(rng.integers(5, 7)), int(rng.integers(12, 24)), few if up else many)
        cases.append(
            case(title, a, b, int(rng.integers(2**32)), decay=float(rng.uniform(0.1, 0.4)))
        )
    a, b = (4, 16, int(rng.integers(4, 6))), (3, 20, 8)
    cases.append(case("four heads and three", a, b, int(rng.integers(2**32))))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=spectrum_gaps,
    hidden=hidden,
    alternatives={
        "pair by pair, float64": by_loops,
        "eigenvalues of k × k, inner products": by_small_products,
        "numpy, einsum, 64 values": in_numpy,
        "inner products of lists, float32": in_float32,
    },
    mutants=(
        Mutant("cut to the shorter list", partial(variant, n=min), "cut-short"),
        Mutant("cut, then normalised", cut_before_scaling, "cut-short"),
        Mutant("zeros before", partial(variant, fill=before), "wrong-end"),
        Mutant("not normalised", partial(variant, scale=lambda values: values), "not-normalised"),
        Mutant("divided by A's norm", over_a, "not-normalised"),
        Mutant(
            "the largest made 1",
            partial(variant, scale=lambda values: values / values[:, :1]),
            "other-norm",
        ),
        Mutant(
            "the sum made 1",
            partial(variant, scale=lambda values: values / values.sum(1, keepdim=True)),
            "other-norm",
        ),
        Mutant("σ of W_Q times σ of W_K", partial(variant, values=svd_of_factors), "factors"),
        Mutant(
            "σ of W_Q", partial(variant, values=lambda Q, K: torch.linalg.svdvals(Q)), "one-factor"
        ),
        Mutant("W_Qᵀ W_K", partial(variant, values=of_small_product), "small-product"),
        Mutant("eigenvalues of M", partial(variant, values=sizes_of_eigenvalues), "eigenvalues"),
        Mutant("stretched", partial(variant, fill=as_long), "stretched"),
        Mutant(
            "one norm for all heads",
            partial(variant, scale=lambda values: values / values.norm()),
            "one-norm",
        ),
        Mutant(
            "eigenvalues of M Mᵀ",
            partial(variant, values=lambda W_Q, W_K: svd_of_product(W_Q, W_K).square()),
            "squared-values",
        ),
        Mutant("no root", partial(variant, measure=lambda gap: gap.square().sum(-1)), "no-root"),
        Mutant(
            "a mean of squares",
            partial(variant, measure=lambda gap: gap.square().mean(-1).sqrt()),
            "mean-for-sum",
        ),
        Mutant(
            "absolute differences",
            partial(variant, measure=lambda gap: gap.abs().sum(-1)),
            "absolute",
        ),
        Mutant("1 − cosine", one_less_cosine, "cosine"),
        Mutant("B beside A", transposed, "shape"),
        Mutant("head i beside head i", head_by_head, "shape"),
        Mutant("the nearest head alone", nearest_alone, "shape"),
        Mutant("the largest values alone", first_values, "gap"),
        Mutant("normalises its input", normalises_its_input, "untouched"),
    ),
)
