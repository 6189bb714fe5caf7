"""What theory says of a truncated noisy identity, and which mistake an answer is nearest to."""

from functools import lru_cache

import numpy as np


def off_diagonal(matrix):
    """The entries off the diagonal, one after the other."""
    return matrix[~np.eye(len(matrix), dtype=bool)]


@lru_cache(maxsize=256)
def truncated_draws(dim, rank, noise, diagonal, *, keep="first", power=1.0, draws=16):
    """What chance leaves open of the best rank-`rank` approximation of noise · Z + diagonal · I.

    Z: normal, variance 1 / dim. Draws it `draws` times (own fixed seed) and returns {name: (mean,
    standard deviation)} of the numbers that `describe` gives. The distribution is the same in every
    basis that both sides share, so nothing here depends on signs, shared rotations or draw order.
    keep="last" and `power` of the singular values make the matrices of known mistakes.
    """
    rng = np.random.default_rng(20230509)
    rows = []
    for _ in range(draws):
        target = noise * rng.standard_normal((dim, dim)) / np.sqrt(dim) + diagonal * np.eye(dim)
        left, singular, right = np.linalg.svd(target)
        part = slice(rank) if keep == "first" else slice(dim - rank, dim)
        size = singular[part] ** power
        rows.append(describe((left[:, part] * size) @ right[part], size))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: (column.mean(0), column.std(0, ddof=1)) for name, column in columns.items()}


def describe(product, spectrum):
    """The numbers that tell one truncated matrix from another, none of them tied to a basis.

    spectrum: its singular values, largest first; mean: of the diagonal; spread: standard deviation
    of the diagonal; off: of the entries off it; skew: ‖P − Pᵀ‖ / ‖P‖, Frobenius.
    """
    size = np.linalg.norm(product) or 1.0
    return {
        "spectrum": spectrum,
        "mean": product.diagonal().mean(),
        "spread": product.diagonal().std(),
        "off": off_diagonal(product).std(),
        "skew": np.linalg.norm(product - product.T) / size,
    }


def distance(value, expected, deviations=12, slack=0.0):
    """How far outside its band a number (or the worst of several) is; 0 or less is inside.

    The band is `deviations` standard deviations wide on each side, and `slack` of the mean more:
    12 of what 16 draws estimate are at least 6 true ones, but for 2 in 1,000 such estimates.
    """
    mean, deviation = expected
    largest = np.abs(mean).max() if np.ndim(mean) else abs(mean)
    return float(np.max(np.abs(value - mean) - deviations * deviation - slack * largest))
