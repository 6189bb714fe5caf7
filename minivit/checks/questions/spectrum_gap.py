"""Lesson 06: every head of one network beside every head of another, of other sizes."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
Two networks have other depths, widths and bases, and their heads come in no common order. How
unlike are their heads, in a number that none of this moves?

`W_Q_a` and `W_K_a` have shape (heads of A, dim of A, k of A); `W_Q_b` and `W_K_b` are the same for
B, and all three numbers may differ. The products M = W_Q W_Kᵀ are divided by their norms ‖M‖, as in
the lesson. Then nothing is left of the basis but the singular values: σ₁ ≥ σ₂ ≥ … of a head of A,
τ₁ ≥ τ₂ ≥ … of a head of B. Where one head has fewer of them, its product has no more: the others
are 0. Return the distances

√(Σᵢ (σᵢ − τᵢ)²), shape (heads of A, heads of B).

(**Algebra:** it is the smallest ‖U M V − N‖ over all rotations U and V, where dim is the same.)

**Usual trap.** The rank of a head is k, not dim, and the two differ in it. Cutting the longer list
to the length of the shorter one hides the directions that only one of them uses.
"""

HINTS = (
    "torch.linalg.svdvals takes all heads at once: it works on the last two axes. It gives dim "
    "numbers for a product of rank k, largest first: all but the first k are 0, up to rounding.",
    "The two lists need one length: write zeros at the end of the shorter one. Each list has the "
    "norm 1 before they are subtracted; to subtract first and divide later is something else.",
    "With s (heads of A, n) and t (heads of B, n), s[:, None] - t has shape (heads of A, heads of "
    "B, n): every head beside every head. Then .norm(dim=-1).",
)


def factors(rng, heads, dim, k, decay):
    """W_Q and W_K that lean on each other, and use their k directions less and less."""
    W_Q, noise = rng.standard_normal((2, heads, dim, k))
    sizes = rng.uniform(0.3, 3.0, (heads, 1, 1))
    decays = decay * rng.uniform(0.3, 2.0, (heads, 1, 1))
    return sizes * W_Q * np.exp(-decays * np.arange(k)), 0.7 * W_Q + noise


def case(title, a, b, seed, *, decay=0.3):
    """a, b: (heads, dim, k) of each network."""
    rng = np.random.default_rng(seed)
    arguments = {}
    for name, shape in (("a", a), ("b", b)):
        arguments[f"W_Q_{name}"], arguments[f"W_K_{name}"] = factors(rng, *shape, decay)
    return Case(title, (arguments,))


def twins(title, heads, dim, k, seed):
    """B is A in another basis, its heads in another order and of another size."""
    rng = np.random.default_rng(seed)
    W_Q, W_K = factors(rng, heads, dim, k, 0.4)
    R = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    arguments = {"W_Q_a": W_Q, "W_K_a": W_K}
    arguments |= {"W_Q_b": 2 * (R.T @ W_Q)[::-1].copy(), "W_K_b": (R.T @ W_K)[::-1].copy()}
    return Case(title, (arguments,))


VISIBLE = (
    case("two heads and three, ranks 4 and 6", (2, 12, 4), (3, 12, 6), 161),
    case("other widths of the tokens, too", (3, 24, 8), (2, 16, 4), 162),
    twins("A beside its own twin", 3, 16, 5, 163),
    case("one head and four, rank 10 and 3", (1, 20, 10), (4, 8, 3), 164, decay=0.1),
)


def values_of(arguments, name):
    """Singular values of the products of one network, (heads, k), largest first."""
    W_Q, W_K = arguments[f"W_Q_{name}"], arguments[f"W_K_{name}"]
    product = W_Q @ W_K.transpose(0, 2, 1)
    return np.linalg.svd(product, compute_uv=False)[:, : W_Q.shape[2]]


def to_norm_one(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def zeros_behind(values, length):
    return np.pad(values, ((0, 0), (0, length - values.shape[1])))


def zeros_before(values, length):
    return np.pad(values, ((0, 0), (length - values.shape[1], 0)))


def stretched(values, length):
    """As long as the other list, by linear interpolation."""
    k = values.shape[1]
    at, places = ((np.arange(n) + 0.5) / n for n in (length, k))
    return np.stack([np.interp(at, places, each) for each in values])


def gaps(
    arguments,
    *,
    values=values_of,
    scale=to_norm_one,
    length=max,
    fill=zeros_behind,
    measure=lambda difference: np.linalg.norm(difference, axis=-1),
):
    """The table of distances. The keywords let mistakes in."""
    s, t = (scale(values(arguments, name)) for name in "ab")
    n = length(s.shape[1], t.shape[1])
    s, t = (fill(each[:, :n], n) for each in (s, t))
    return (measure(s[:, None] - t),)


ANSWER = Fixed(gaps, ("gap",), axis="head of A", tolerance=1e-3, floor=1.0)


def _with(**slips):
    return lambda arguments: gaps(arguments, **slips)


def _of_factors(arguments, name):
    """Singular values of W_Q times those of W_K."""
    parts = (np.linalg.svd(arguments[f"W_{p}_{name}"], compute_uv=False) for p in "QK")
    return np.prod(list(parts), axis=0)


def _of_one(part):
    def values(arguments, name):
        return np.linalg.svd(arguments[f"W_{part}_{name}"], compute_uv=False)

    return values


def _of_small(arguments, name):
    """Singular values of W_Qᵀ W_K, k × k."""
    W_Q, W_K = arguments[f"W_Q_{name}"], arguments[f"W_K_{name}"]
    return np.linalg.svd(W_Q.transpose(0, 2, 1) @ W_K, compute_uv=False)


def _eigenvalues(arguments, name):
    W_Q, W_K = arguments[f"W_Q_{name}"], arguments[f"W_K_{name}"]
    sizes = np.abs(np.linalg.eigvals(W_K.transpose(0, 2, 1) @ W_Q))  # those of M that are not 0
    return np.sort(sizes)[:, ::-1]


def _cut_first(arguments, name):
    """Cut to the shorter list before anything is divided."""
    n = min(arguments[f"W_Q_{each}"].shape[2] for each in "ab")
    return values_of(arguments, name)[:, :n]


def _over_whole(arguments):
    """Raw values subtracted, divided by the norm of A's product."""
    raw = gaps(arguments, scale=lambda values: values)[0]
    return (raw / np.linalg.norm(values_of(arguments, "a"), axis=1, keepdims=True),)


def _largest_is_one(values):
    return values / values[:, :1]


def _sum_is_one(values):
    return values / values.sum(1, keepdims=True)


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "cut-short",
        "The longer list was cut to the length of the shorter one.",
        2,
        (_with(length=min), _with(values=_cut_first)),
    ),
    Mistake(
        "wrong-end",
        "The zeros stand at the wrong end: largest belongs beside largest.",
        2,
        _with(fill=zeros_before),
    ),
    Mistake(
        "not-normalised",
        "The products were not divided by their norms: a head of twice the size counts as unlike.",
        2,
        (_with(scale=lambda values: values), _over_whole),
    ),
    Mistake(
        "other-norm",
        "The lists were divided by their sum or their largest value. ‖M‖ is the root of the sum of "
        "their squares.",
        2,
        (_with(scale=_largest_is_one), _with(scale=_sum_is_one)),
    ),
    Mistake(
        "factors",
        "Singular values of W_Q and of W_K were multiplied. Those of the product are others.",
        1,
        _with(values=_of_factors),
    ),
    Mistake(
        "one-factor",
        "These are singular values of W_Q alone, or of W_K. Those of the product are others.",
        1,
        (_with(values=_of_one("Q")), _with(values=_of_one("K"))),
    ),
    Mistake(
        "small-product",
        "It multiplies W_Qᵀ W_K, k × k. The product is W_Q W_Kᵀ, dim × dim.",
        1,
        _with(values=_of_small),
    ),
    Mistake(
        "eigenvalues",
        "It takes the sizes of eigenvalues. M is not symmetric: its singular values are others.",
        1,
        _with(values=_eigenvalues),
    ),
    Mistake(
        "stretched",
        "The shorter list was stretched to the length of the longer one. Its head has no more "
        "directions than before.",
        2,
        _with(fill=stretched),
    ),
    Mistake(
        "one-norm",
        "All heads of a network were divided by one norm. Each product has its own.",
        2,
        _with(scale=lambda values: values / np.linalg.norm(values)),
    ),
    Mistake(
        "squared-values",
        "It compares squares of the singular values (eigenvalues of M Mᵀ, perhaps).",
        1,
        (
            _with(values=lambda a, name: values_of(a, name) ** 2),
            _with(scale=lambda values: to_norm_one(values) ** 2),
        ),
    ),
    Mistake(
        "no-root",
        "It is the square of the distance.",
        3,
        altered(gaps, lambda each, a: each**2),
    ),
    Mistake(
        "mean-for-sum",
        "It is the root of the *mean* of the squares. How many zeros stand behind changes that.",
        3,
        (
            _with(measure=lambda difference: np.sqrt(np.square(difference).mean(-1))),
            lambda a: (gaps(a)[0] / np.sqrt(max(a["W_Q_a"].shape[1], a["W_Q_b"].shape[1])),),
        ),
    ),
    Mistake(
        "absolute",
        "It adds up absolute differences, where squares belong.",
        3,
        _with(measure=lambda difference: np.abs(difference).sum(-1)),
    ),
    Mistake(
        "cosine",
        "It is one less the cosine of the two lists, not their distance.",
        3,
        altered(gaps, lambda each, a: each**2 / 2),
    ),
)


QUESTION = Question(
    id="spectrum-gap",
    function="spectrum_gaps",
    signature="spectrum_gaps(W_Q_a, W_K_a, W_Q_b, W_K_b)",
    lesson="06",
    points=3,
    minutes=20,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="dim singular values or k of them, the small k × k product, eigenvalues, loops over "
    "pairs, cosines of lists, float64",
    withheld=("portraits.numbers_of", "circuits.spectrum"),
    first_hints={"shape": 3},
)
