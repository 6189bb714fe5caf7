"""A head written into a fused weight: what may change, what the product must be, known mistakes.

The judge looks at W_Q W_Kᵀ and at the sizes of both factors. A predicate (arguments, result) says
whether an answer behaves like one mistake, whichever noise was drawn.
"""

import numpy as np

from minivit.checks.measures import drawn
from minivit.checks.question import Finding
from minivit.checks.truncated import describe, distance, truncated_draws


def judge(case, results):
    for arguments, result in zip(case.calls, results, strict=True):
        finding = _layer(arguments, result) or _numbers(arguments, result)
        if finding:
            return finding
    return _seeds(case, results)


def rows_of(arguments):
    """(dim, head_dim, first row of the head's W_Qᵀ)."""
    dim = arguments["qkv"].values.shape[1]
    head_dim = dim // arguments["heads"]
    return dim, head_dim, arguments["head"] * head_dim


def factors(arguments, result):
    """W_Q and W_K of the head, for x @ W."""
    dim, head_dim, start = rows_of(arguments)
    rows = result.arguments["qkv"].values
    return rows[start : start + head_dim].T, rows[dim + start : dim + start + head_dim].T


def product(arguments, result):
    W_Q, W_K = factors(arguments, result)
    return W_Q @ W_K.T


def _layer(arguments, result):
    """What has to stay as it was, and where the numbers came from."""
    before, after = arguments["qkv"], result.arguments["qkv"]
    if after.values.shape != before.values.shape:
        text = f"qkv now has shape {after.values.shape}; it was {before.values.shape}"
        return Finding("shape", text)
    if after.dtype != before.dtype:
        return Finding("dtype", f"qkv now is {after.dtype}; it was {before.dtype}")
    if not np.isfinite(after.values).all():
        return Finding("finite", "qkv now holds numbers that are not finite")
    wrong = _rows(arguments, (before.values != after.values).any(1))
    if wrong:
        return wrong
    return drawn(result)


def _rows(arguments, changed):
    dim, head_dim, start = rows_of(arguments)
    own = np.zeros(len(changed), bool)
    own[start : start + head_dim] = own[dim + start : dim + start + head_dim] = True
    if not changed.any():
        return Finding(
            "unchanged", "qkv is as it was before the call; the change has to be in place"
        )
    if (changed & ~own).any():
        extra, where = np.flatnonzero(changed & ~own), ("W_Q", "W_K", "W_V")
        thirds = sorted({where[row // dim] for row in extra})
        text = (
            f"{len(extra)} rows outside head {arguments['head']} changed, the first is row "
            f"{extra[0]} ({', '.join(thirds)}); the head owns rows {start} to "
            f"{start + head_dim - 1}, and {dim + start} to {dim + start + head_dim - 1}"
        )
        return Finding("untouched", text)
    if not changed[own].all():
        return Finding(
            "unchanged", f"{int((~changed[own]).sum())} of the head's rows did not change"
        )
    return None


def _numbers(arguments, result):
    """The product against what chance leaves open of the target, and the factors' own sizes."""
    W_Q, W_K = factors(arguments, result)
    dim, head_dim, _ = rows_of(arguments)
    alpha, beta = arguments["alpha"], arguments["beta"]
    mine = W_Q @ W_K.T
    spectrum = np.linalg.svd(mine, compute_uv=False)
    got, expected = describe(mine, spectrum[:head_dim]), truncated_draws(dim, head_dim, alpha, beta)
    slack = 0.02 if arguments["qkv"].dtype == "bfloat16" else 1e-4
    picture = {"mine": mine, "target": example(dim, head_dim, alpha, beta)}
    head = f"head {arguments['head']}"
    parts = {
        "mean": f"{head}: mean of the diagonal",
        "spectrum": f"{head}: singular values of W_Q W_Kᵀ; the largest",
        "off": f"{head}: standard deviation off the diagonal",
        "spread": f"{head}: standard deviation along the diagonal",
        "skew": f"{head}: ‖P − Pᵀ‖ / ‖P‖",
    }
    for name, what in parts.items():
        if distance(got[name], expected[name], slack=slack) > 0:
            aspect = "diagonal" if name == "mean" else name
            value, target = np.ravel(got[name])[0], np.ravel(expected[name][0])[0]
            more = _worst(got[name], expected[name]) if name == "spectrum" else ""
            text = f"{what} {value:+.3f}, target {target:+.3f}{more}"
            return Finding(aspect, text, **picture)
    sizes = [np.linalg.svd(factor, compute_uv=False) for factor in (W_Q, W_K)]
    worst = np.abs(sizes[0] - sizes[1]).max() / sizes[0].max()
    if worst > max(slack, 1e-3):
        text = f"{head}: largest singular value of W_Q {sizes[0][0]:.3f}, of W_K {sizes[1][0]:.3f}"
        return Finding("balance", f"{text}; they have to be equal")
    return None


def _worst(values, expected):
    mean, deviation = expected
    at = int(np.argmax(np.abs(values - mean) / deviation))
    return f"; number {at + 1} is {values[at]:.3f}, target {mean[at]:.3f}"


def example(dim, head_dim, alpha, beta):
    """A matrix such as the contract asks for, with noise of its own: to be drawn beside mine."""
    noise = np.random.default_rng(20230509).standard_normal((dim, dim)) / np.sqrt(dim)
    left, singular, right = np.linalg.svd(alpha * noise + beta * np.eye(dim))
    return (left[:, :head_dim] * singular[:head_dim]) @ right[:head_dim]


def _seeds(case, results):
    """Equal seeds give equal products, and different ones different noise."""
    seen = {}
    for arguments, result in zip(case.calls, results, strict=True):
        mine, seed = product(arguments, result), arguments["generator"].value
        for other, theirs in seen.items():
            gap = np.linalg.norm(mine - theirs) / np.linalg.norm(mine)
            if other == seed and gap > 1e-3:
                text = f"two calls with seed {seed} differ by {gap:.0%} of the product"
                return Finding("repeatable", text)
            if other != seed and gap < 0.1:
                return Finding("generator", f"seeds {other} and {seed} give the same product")
        seen.setdefault(seed, mine)
    return None


# Diagnoses: what a known mistake leaves in the product, whichever noise was drawn.


def _of_first_call(predicate):
    """Makes predicate(arguments, result) the `matches` of a Diagnosis."""
    return lambda case, results: predicate(case.calls[0], results[0])


def _values(arguments, result):
    dim, head_dim, _ = rows_of(arguments)
    mine = product(arguments, result)
    spectrum = np.linalg.svd(mine, compute_uv=False)[:head_dim]
    return describe(mine, spectrum), dim, head_dim, arguments["alpha"], arguments["beta"]


def _like(got, expected, *names, tolerance=0.06):
    """Whether the named numbers are near the expected ones; spectra by their mean distance."""
    for name in names:
        mean = expected[name][0]
        scale = np.abs(mean).mean() if name != "skew" else 1.0
        if np.abs(got[name] - mean).mean() > tolerance * scale:
            return False
    return True


def _mistaken(dim, rank, alpha, beta):
    """Known mistakes that change the numbers of the product: id → what `describe` then gives."""

    def means(noise, diagonal, **changes):
        draws = truncated_draws(dim, rank, noise, diagonal, draws=6, **changes)
        return {name: mean for name, (mean, _) in draws.items()}

    target = means(alpha, beta)
    up = beta / target["mean"]
    return {
        "target": target,
        "scalars-swapped": means(beta, alpha),
        "smallest": means(alpha, beta, keep="last"),
        "squared": means(alpha, beta, power=2),
        "double-root": means(alpha, beta, power=0.5),
        "noise-too-large": means(alpha * np.sqrt(dim), beta),
        "noise-too-small": means(alpha / np.sqrt(dim), beta),
        "noise-by-head-dim": means(alpha * np.sqrt(dim / rank), beta),
        "rescaled": {name: up * target[name] for name in ("spectrum", "mean", "off")},
    }


def nearest(id):
    """Is the answer nearer to this mistake than to all others and to the target, and near enough?

    Near: singular values, mean and spread off the diagonal, in units of the typical singular value.
    """

    def predicate(arguments, result):
        got, *sizes = _values(arguments, result)
        gaps = {}
        for name, wrong in _mistaken(*sizes).items():
            parts = (np.abs(got["spectrum"] - wrong["spectrum"]).mean(), *_gaps(got, wrong))
            gaps[name] = sum(parts) / wrong["spectrum"].mean()
        return min(gaps, key=gaps.get) == id and gaps[id] < 0.2

    return _of_first_call(predicate)


def _gaps(got, wrong):
    return [abs(got[name] - wrong[name]) for name in ("mean", "off")]


@_of_first_call
def flipped(arguments, result):
    got, dim, head_dim, alpha, beta = _values(arguments, result)
    expected = truncated_draws(dim, head_dim, alpha, beta)
    return _like(got, expected, "spectrum") and _like({"mean": -got["mean"]}, expected, "mean")


@_of_first_call
def unaligned(arguments, result):
    got, dim, head_dim, alpha, beta = _values(arguments, result)
    expected = truncated_draws(dim, head_dim, alpha, beta)
    return _like(got, expected, "spectrum") and abs(got["mean"]) < 0.25 * expected["mean"][0]


@_of_first_call
def symmetric(arguments, result):
    return _values(arguments, result)[0]["skew"] < 1e-2


@_of_first_call
def one_sided(arguments, result):
    sizes = [np.linalg.svd(each, compute_uv=False) for each in factors(arguments, result)]
    return any(size.max() < 1.02 * size.min() for size in sizes)


@_of_first_call
def no_noise(arguments, result):
    got, beta = _values(arguments, result)[0], arguments["beta"]
    return np.abs(got["spectrum"] - beta).max() < 0.01 * beta


@_of_first_call
def unsized(arguments, result):
    """All singular values are 1, and noise is there: with none, and a beta of 1, it is right."""
    got = _values(arguments, result)[0]
    return np.abs(got["spectrum"] - 1).max() < 0.01 and got["skew"] > 0.02


@_of_first_call
def filled(arguments, result):
    """The mean of all entries, not of the diagonal alone, is beta."""
    return abs(product(arguments, result).mean() - arguments["beta"]) < 0.1 * arguments["beta"]


@_of_first_call
def scrambled(arguments, result):
    """Are the numbers of one block or of both, read in transposed order, a right answer?"""
    dim, head_dim, _ = rows_of(arguments)
    W_Q, W_K = factors(arguments, result)
    other_Q, other_K = (each.T.reshape(dim, head_dim) for each in (W_Q, W_K))
    expected = truncated_draws(dim, head_dim, arguments["alpha"], arguments["beta"])
    for query, key in ((other_Q, other_K), (other_Q, W_K), (W_Q, other_K)):
        mine = query @ key.T
        got = describe(mine, np.linalg.svd(mine, compute_uv=False)[:head_dim])
        if _like(got, expected, "spectrum", "mean"):
            return True
    return False


def _changed(arguments, result):
    """Which rows of qkv are others now."""
    return (arguments["qkv"].values != result.arguments["qkv"].values).any(1)


@_of_first_call
def other_heads(arguments, result):
    """Only rows of another head changed, in both thirds."""
    dim, head_dim, start = rows_of(arguments)
    query, key, value = _changed(arguments, result).reshape(3, dim)
    own = query[start : start + head_dim].any()
    return query.sum() == head_dim and (query == key).all() and not value.any() and not own


@_of_first_call
def side_by_side(arguments, result):
    """The rows of W_Kᵀ were put right behind those of W_Qᵀ, wherever these are thought to be."""
    _, head_dim, start = rows_of(arguments)
    rows = np.flatnonzero(_changed(arguments, result))
    return any(
        np.array_equal(rows, first + np.arange(2 * head_dim)) for first in (start, 3 * start)
    )


@_of_first_call
def whole_layer(arguments, result):
    changed = _changed(arguments, result)
    queries_and_keys = 2 * len(changed) // 3
    return changed[:queries_and_keys].all() and not changed[queries_and_keys:].any()
