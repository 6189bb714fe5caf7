"""Lesson 04: write the mimetic W_Q and W_K of one head into a fused weight."""

import numpy as np

from minivit.checks.calls import Seed, Weight
from minivit.checks.measures import describe, distance, truncated_draws
from minivit.checks.question import Case, Diagnosis, Finding, Question

STATEMENT = """\
Write the mimetic W_Q and W_K of **one** head into the fused weight of an attention layer, and
change nothing else.

`qkv` is what the layer holds: an `nn.Parameter` of shape (3 · dim, dim), in nn.Linear's storage.
Its rows are W_Qᵀ, then W_Kᵀ, then W_Vᵀ, each head after head; with `head_dim = dim / heads`, head
number `head` (counted from 0) owns `head_dim` rows in each third. Draw Z, dim × dim, independent
normal with variance 1 / dim, from `generator`. Then W_Q W_Kᵀ of that head has to be the best
approximation of rank `head_dim` to

alpha Z + beta I,

with the square root of each singular value on either side, so that W_Q and W_K have the same
singular values. Work in place; dtype stays; what you return does not matter.

**Usual trap.** `torch.linalg.svd` returns Vᵀ, not V: its *rows* are the right singular vectors.
"""

HINTS = (
    "Four steps: draw Z; take the SVD of alpha Z + beta I; keep the head_dim largest singular "
    "values; write two blocks of rows. Work in float32 and convert at the end.",
    "With left, s, right = torch.linalg.svd(target): W_Q is left[:, :k] times √s[:k], column by "
    "column. For W_K take the matching right singular vectors. They are rows of `right`.",
    "nn.Linear stores transposes, so head_dim rows of `qkv` are W_Qᵀ. The head's rows of W_Kᵀ "
    "start dim rows further down. A Parameter is changed in place inside `with torch.no_grad():`.",
)


def fused(dim, seed, dtype="float32"):
    """A layer's weight before the call: noise of the size that PyTorch starts with."""
    values = np.random.default_rng(seed).uniform(-1, 1, (3 * dim, dim)) / np.sqrt(dim)
    if dtype == "bfloat16":  # as the layer holds it, so that untouched rows compare equal
        bits = values.astype("<f4").view("<u4")
        values = ((bits >> 16) << 16).view("<f4")
    return Weight(values.astype("<f4").astype(float), dtype)


def arguments(dim, heads, head, alpha, beta, seed, dtype="float32"):
    scalars = {"head": head, "heads": heads, "alpha": alpha, "beta": beta}
    return {"qkv": fused(dim, seed, dtype), **scalars, "generator": Seed(seed)}


def case(title, dim, heads, head, alpha, beta, seeds, dtype="float32"):
    calls = (arguments(dim, heads, head, alpha, beta, seed, dtype) for seed in seeds)
    return Case(title, tuple(calls))


VISIBLE = (
    case("one head, full rank", 64, 1, 0, 0.7, 0.7, (1,)),
    case("the second of two heads", 64, 2, 1, 0.7, 0.7, (2,)),
    case("the first of two heads, alpha 0.4, beta 0.9", 64, 2, 0, 0.4, 0.9, (3,)),
    case("a bfloat16 layer", 64, 2, 1, 0.7, 0.7, (4,), "bfloat16"),
    case("one seed twice, then another", 64, 2, 1, 0.4, 0.9, (5, 5, 6)),
)


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
    if result.global_drawn:
        return Finding("generator", "numbers were drawn from torch's global generator")
    if not result.generators["generator"]:
        return Finding("generator", "nothing was drawn from `generator`")
    return None


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


def _each(predicate):
    """True where the predicate holds for the first call."""
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


def _nearest(id):
    """Is the answer nearer to this mistake than to all others and to the target, and near enough?

    Near: singular values, mean and spread off the diagonal, in units of the typical singular value.
    """

    def predicate(arguments, result):
        got, *sizes = _values(arguments, result)
        gaps = {}
        for name, wrong in _mistaken(*sizes).items():
            parts = (np.abs(got["spectrum"] - wrong["spectrum"]).mean(), *_gaps(got, wrong))
            gaps[name] = sum(parts) / wrong["spectrum"].mean()
        return min(gaps, key=gaps.get) == id and gaps[id] < 0.15

    return _each(predicate)


def _gaps(got, wrong):
    return [abs(got[name] - wrong[name]) for name in ("mean", "off")]


def _flipped(arguments, result):
    got, dim, head_dim, alpha, beta = _values(arguments, result)
    expected = truncated_draws(dim, head_dim, alpha, beta)
    return _like(got, expected, "spectrum") and _like({"mean": -got["mean"]}, expected, "mean")


def _unaligned(arguments, result):
    got, dim, head_dim, alpha, beta = _values(arguments, result)
    expected = truncated_draws(dim, head_dim, alpha, beta)
    return _like(got, expected, "spectrum") and abs(got["mean"]) < 0.25 * expected["mean"][0]


def _symmetric(arguments, result):
    return _values(arguments, result)[0]["skew"] < 1e-2


def _one_sided(arguments, result):
    sizes = [np.linalg.svd(each, compute_uv=False) for each in factors(arguments, result)]
    return any(size.max() < 1.02 * size.min() for size in sizes)


def _no_noise(arguments, result):
    got, beta = _values(arguments, result)[0], arguments["beta"]
    return np.abs(got["spectrum"] - beta).max() < 0.01 * beta


def _scrambled(arguments, result):
    """Are the numbers of each block, read in the order of its transpose, a right answer?"""
    dim, head_dim, _ = rows_of(arguments)
    W_Q, W_K = (each.T.reshape(dim, head_dim) for each in factors(arguments, result))
    mine = W_Q @ W_K.T
    got = describe(mine, np.linalg.svd(mine, compute_uv=False)[:head_dim])
    expected = truncated_draws(dim, head_dim, arguments["alpha"], arguments["beta"])
    return _like(got, expected, "spectrum", "mean")


def _other_heads(arguments, result):
    """Only rows of another head changed, in both thirds."""
    _, head_dim, start = rows_of(arguments)
    before, after = arguments["qkv"].values, result.arguments["qkv"].values
    changed = (before != after).any(1)
    own = changed[start : start + head_dim].any()
    return changed.sum() == 2 * head_dim and not own


def _whole_layer(arguments, result):
    changed = (arguments["qkv"].values != result.arguments["qkv"].values).any(1)
    queries_and_keys = 2 * len(changed) // 3
    return changed[:queries_and_keys].all() and not changed[queries_and_keys:].any()


NUMBERS = ("diagonal", "spectrum", "off", "spread", "skew")
ROWS = ("untouched",)


QUESTION = Question(
    id="qk-head",
    function="write_qk_head_",
    signature="write_qk_head_(qkv, head, heads, alpha, beta, generator)",
    lesson="04",
    points=6,
    minutes=25,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=judge,
    hints=HINTS,
    diagnoses=(
        Diagnosis(
            "other-head",
            "It writes the rows of another head. Heads are counted from 0, and head number h owns "
            "the rows from h · head_dim on.",
            3,
            _each(_other_heads),
            ROWS,
        ),
        Diagnosis(
            "whole-layer",
            "It writes the rows of every head. Only one head is asked for.",
            3,
            _each(_whole_layer),
            ROWS,
        ),
        Diagnosis(
            "sign",
            "It behaves like the target with its sign flipped: −W_Q W_Kᵀ.",
            1,
            _each(_flipped),
            NUMBERS,
        ),
        Diagnosis(
            "no-noise",
            "All singular values equal beta: there is no noise in it.",
            1,
            _each(_no_noise),
            NUMBERS,
        ),
        Diagnosis(
            "symmetric",
            "W_Q W_Kᵀ is symmetric, which no matrix with this noise is. Are both factors made from "
            "the left singular vectors?",
            2,
            _each(_symmetric),
            NUMBERS,
        ),
        Diagnosis(
            "unaligned",
            "The singular values are right and the diagonal is gone: W_K stands in another basis "
            "than W_Q. torch.linalg.svd returns Vᵀ, whose rows are the right singular vectors.",
            2,
            _each(_unaligned),
            NUMBERS,
        ),
        Diagnosis(
            "smallest",
            "It behaves like the smallest singular values kept, not the largest.",
            2,
            _nearest("smallest"),
            NUMBERS,
        ),
        Diagnosis(
            "squared",
            "The singular values of the product are the squares of what they should be: each side "
            "takes the square root of them.",
            2,
            _nearest("squared"),
            NUMBERS,
        ),
        Diagnosis(
            "double-root",
            "The singular values of the product are the square roots of what they should be: the "
            "root was taken twice.",
            2,
            _nearest("double-root"),
            NUMBERS,
        ),
        Diagnosis(
            "noise-too-large",
            "It behaves like noise of variance 1. Z has variance 1 / dim.",
            1,
            _nearest("noise-too-large"),
            NUMBERS,
        ),
        Diagnosis(
            "noise-too-small",
            "It behaves like noise of standard deviation 1 / dim. Its *variance* is 1 / dim.",
            1,
            _nearest("noise-too-small"),
            NUMBERS,
        ),
        Diagnosis(
            "noise-by-head-dim",
            "It behaves like noise of variance 1 / head_dim. Z has variance 1 / dim.",
            1,
            _nearest("noise-by-head-dim"),
            NUMBERS,
        ),
        Diagnosis(
            "scalars-swapped",
            "It behaves like beta Z + alpha I: the two scalars are swapped.",
            1,
            _nearest("scalars-swapped"),
            NUMBERS,
        ),
        Diagnosis(
            "rescaled",
            "The mean of the diagonal is beta itself. A matrix of rank head_dim that is as near as "
            "possible to the target has less: nothing is to be scaled up afterwards.",
            1,
            _nearest("rescaled"),
            NUMBERS,
        ),
        Diagnosis(
            "scrambled",
            "The right numbers stand in the wrong places: reshape or view was used where a "
            "transpose is meant. The head's rows of nn.Linear, (head_dim, dim), are W_Qᵀ.",
            3,
            _each(_scrambled),
            NUMBERS,
        ),
        Diagnosis(
            "one-sided",
            "The product is right, and its whole size is in one factor: the other has singular "
            "values that are all equal.",
            2,
            _each(_one_sided),
            ("balance",),
        ),
    ),
    tolerates="signs of singular vectors, a rotation shared by W_Q and W_K, which of the two is "
    "transposed by the noise, the order of draws, uniform noise of the same variance, float64 "
    "inside, the returned value",
)
