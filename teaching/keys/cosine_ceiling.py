"""Key of cosine-ceiling."""

import torch

from minivit.checks.questions.cosine_ceiling import QUESTION, case
from teaching.keys.key import Key, Mutant


def cosine_and_ceiling(W_Q, W_K):
    product = W_Q @ W_K.mT
    whole = product.square().sum((1, 2)).sqrt() * product.shape[1] ** 0.5
    trace = product.diagonal(dim1=1, dim2=2).sum(1)
    return trace / whole, torch.linalg.svdvals(product).sum(1) / whole


# Correct, and different.


def by_loops(W_Q, W_K):
    cosines, ceilings = [], []
    for q, k in zip(W_Q.double(), W_K.double(), strict=True):
        product, eye = q @ k.T, torch.eye(len(q), dtype=torch.float64)
        values = torch.linalg.svd(product).S[: q.shape[1]]
        cosines.append((product * eye).sum() / (product.norm() * eye.norm()))
        ceilings.append(values.sum() / (values.norm() * len(q) ** 0.5))
    return torch.stack(cosines), torch.stack(ceilings)


def best_rotation(W_Q, W_K):
    """Turns each product until it is symmetric: then its trace is the largest there is."""
    product = W_Q @ W_K.mT
    left, _, right = torch.linalg.svd(product)
    turned = product @ right.mT @ left.mT
    cosine = torch.nn.functional.cosine_similarity
    eye = torch.eye(product.shape[1]).expand_as(product).flatten(1)
    return cosine(product.flatten(1), eye), cosine(turned.flatten(1), eye)


def small_product(W_Q, W_K):
    """Without any dim × dim matrix: squared singular values are eigenvalues of a k × k product."""
    squares = (W_Q.mT.double() @ W_Q.double()) @ (W_K.mT.double() @ W_K.double())
    values = torch.linalg.eigvals(squares).real.clamp_min(0).sqrt()
    whole = values.norm(dim=1) * W_Q.shape[1] ** 0.5
    return (W_Q * W_K).sum((1, 2)).double() / whole, values.sum(1) / whole


# Wrong.


def equal_values(W_Q, W_K):
    cosine, ceiling = cosine_and_ceiling(W_Q, W_K)
    return cosine, torch.full_like(ceiling, (W_Q.shape[2] / W_Q.shape[1]) ** 0.5)


def factors(W_Q, W_K):
    cosine, _ = cosine_and_ceiling(W_Q, W_K)
    values = torch.linalg.svdvals(W_Q) * torch.linalg.svdvals(W_K)
    return cosine, values.sum(1) / (values.norm(dim=1) * W_Q.shape[1] ** 0.5)


def eigenvalues(W_Q, W_K):
    cosine, _ = cosine_and_ceiling(W_Q, W_K)
    product = W_Q @ W_K.mT
    values = torch.linalg.eigvals(product).abs()
    return cosine, values.sum(1) / (product.norm(dim=(1, 2)) * product.shape[1] ** 0.5)


def eigenvalues_in_the_norm(W_Q, W_K):
    cosine, _ = cosine_and_ceiling(W_Q, W_K)
    values = torch.linalg.eigvals(W_Q @ W_K.mT).abs()
    return cosine, values.sum(1) / (values.norm(dim=1) * W_Q.shape[1] ** 0.5)


def eigenvalues_of_a_triangle(W_Q, W_K):
    """eigvalsh takes its matrix for symmetric."""
    cosine, _ = cosine_and_ceiling(W_Q, W_K)
    values = torch.linalg.eigvalsh(W_Q @ W_K.mT).abs()
    return cosine, values.sum(1) / (values.norm(dim=1) * W_Q.shape[1] ** 0.5)


def one(W_Q, W_K):
    cosine, ceiling = cosine_and_ceiling(W_Q, W_K)
    return cosine, torch.ones_like(ceiling)


def absolute(W_Q, W_K):
    cosine, ceiling = cosine_and_ceiling(W_Q, W_K)
    return cosine.abs(), ceiling


def k_for_dim(W_Q, W_K):
    factor = (W_Q.shape[1] / W_Q.shape[2]) ** 0.5
    return tuple(each * factor for each in cosine_and_ceiling(W_Q, W_K))


def no_root_dim(W_Q, W_K):
    return tuple(each * W_Q.shape[1] ** 0.5 for each in cosine_and_ceiling(W_Q, W_K))


def dim_for_root(W_Q, W_K):
    return tuple(each / W_Q.shape[1] ** 0.5 for each in cosine_and_ceiling(W_Q, W_K))


def mean_for_trace(W_Q, W_K):
    """The mean of the diagonal over the norm: divided by dim, in the cosine alone."""
    _, ceiling = cosine_and_ceiling(W_Q, W_K)
    product = W_Q @ W_K.mT
    return product.diagonal(dim1=1, dim2=2).mean(1) / product.norm(dim=(1, 2)), ceiling


def largest_for_norm(W_Q, W_K):
    values = torch.linalg.svdvals(W_Q @ W_K.mT)
    whole = values[:, 0] * W_Q.shape[1] ** 0.5
    return (W_Q * W_K).sum((1, 2)) / whole, values.sum(1) / whole


def swapped(W_Q, W_K):
    return cosine_and_ceiling(W_Q, W_K)[::-1]


def ceiling_alone(W_Q, W_K):
    return cosine_and_ceiling(W_Q, W_K)[1]


def over_all_heads(W_Q, W_K):
    return tuple(each.mean() for each in cosine_and_ceiling(W_Q, W_K))


def sum_of_heads(W_Q, W_K):
    """One product, summed over the heads, for all of them."""
    product = (W_Q @ W_K.mT).sum(0)
    whole = product.norm() * len(product) ** 0.5
    found = product.trace() / whole, torch.linalg.svdvals(product).sum() / whole
    return tuple(each.expand(len(W_Q)) for each in found)


def mean_of_values(W_Q, W_K):
    cosine, _ = cosine_and_ceiling(W_Q, W_K)
    values = torch.linalg.svdvals(W_Q @ W_K.mT)
    return cosine, values.mean(1) / values.norm(dim=1)


def hidden(rng):
    """Heads that lean to +I and to −I, values that differ."""
    cases = []
    for lean in (float(rng.uniform(1, 2)), -float(rng.uniform(1, 2)), -float(rng.uniform(2, 3))):
        heads, k, dim = (int(rng.integers(*ends)) for ends in ((2, 5), (3, 7), (12, 24)))
        title = f"{heads} heads of {k}, width {dim}"
        seed, decay = int(rng.integers(2**32)), float(rng.uniform(0.3, 0.8))
        cases.append(case(title, heads, dim, k, seed, decay=decay, lean=lean))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=cosine_and_ceiling,
    hidden=hidden,
    alternatives={
        "loops, float64": by_loops,
        "turned until it is symmetric": best_rotation,
        "the small product": small_product,
    },
    mutants=(
        Mutant("√(k / dim) for all", equal_values, "equal-values"),
        Mutant("singular values of the factors", factors, "factors"),
        Mutant("|eigenvalues|", eigenvalues, "eigenvalues"),
        Mutant("|eigenvalues|, in the norm too", eigenvalues_in_the_norm, "eigenvalues"),
        Mutant("eigvalsh", eigenvalues_of_a_triangle, "eigenvalues"),
        Mutant("a ceiling of 1", one, "one"),
        Mutant("the sign lost", absolute, "absolute"),
        Mutant("√k for √dim", k_for_dim, "k-for-dim"),
        Mutant("no √dim", no_root_dim, "no-root-dim"),
        Mutant("dim for √dim", dim_for_root, "dim-for-root"),
        Mutant("the mean of the diagonal for its sum", mean_for_trace, "dim-for-root"),
        Mutant("the largest singular value for the norm", largest_for_norm, "largest-for-norm"),
        Mutant("the other way round", swapped, "swapped"),
        Mutant("the ceiling alone", ceiling_alone, "kind"),
        Mutant("means over heads", over_all_heads, "shape"),
        Mutant("one product summed over heads", sum_of_heads, "cosine"),
        Mutant("mean of the singular values", mean_of_values, "ceiling"),
    ),
)
