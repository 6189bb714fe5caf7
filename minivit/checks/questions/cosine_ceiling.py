"""Lesson 02: how near to the identity a head with these singular values could be."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
The lesson's ceiling, √(k / d), is reached by a head whose singular values are all equal. Real heads
are far from that. So ask each head for *its own* ceiling: if it keeps its singular values and may
choose its singular vectors freely, how near to a multiple of I can it come?

`W_Q` and `W_K` have shape (heads, dim, k), for right multiplication. Return two tensors of shape
(heads,): the cosine between W_Q W_Kᵀ and I (sign kept), and the largest cosine with I that a
dim × dim matrix with the same singular values can have.

**Usual trap.** The singular values of W_Q W_Kᵀ are not the products of those of W_Q and W_K: how
the two are turned against each other counts.
"""

HINTS = (
    "The cosine is trace / (‖M‖ √dim), ‖M‖² the sum of all squared entries. With the singular "
    "values given, which of the three can still change?",
    "M = Σ σᵢ uᵢ vᵢᵀ has the trace Σ σᵢ (uᵢ · vᵢ). How large can uᵢ · vᵢ be? And ‖M‖² = Σ σᵢ².",
    "torch.linalg.svdvals(W_Q @ W_K.mT) gives the singular values of every head, (heads, dim): "
    "k of them, and zeros. The ceiling is their sum, divided by ‖M‖ √dim.",
)


def case(title, heads, dim, k, seed, *, decay=0.0, lean=0.0):
    """decay: how fast the columns of W_Q shrink; lean: how much of W_Q there is in W_K."""
    rng = np.random.default_rng(seed)
    W_Q, noise = rng.standard_normal((2, heads, dim, k))
    sizes = rng.uniform(0.3, 3.0, (heads, 1, 1))
    W_K = lean * W_Q + noise
    return Case(title, ({"W_Q": sizes * W_Q * np.exp(-decay * np.arange(k)), "W_K": W_K},))


def equal_values(title, dim, k):
    """A head that reaches √(k / d): the first k numbers of a token, compared like with like."""
    part = np.eye(dim)[None, :, :k]
    return Case(title, ({"W_Q": 3.0 * part, "W_K": part},))


VISIBLE = (
    equal_values("the postcard's head", 8, 4),
    case("noise, values that differ", 2, 12, 4, 81, decay=0.5),
    case("three heads that lean to I", 3, 16, 5, 82, decay=0.3, lean=1.5),
    case("two heads that lean to −I", 2, 20, 3, 83, decay=0.8, lean=-2.0),
)


def by_svd(arguments):
    product = arguments["W_Q"] @ arguments["W_K"].transpose(0, 2, 1)
    values = np.linalg.svd(product, compute_uv=False)
    whole = np.linalg.norm(product, axis=(1, 2)) * np.sqrt(product.shape[1])
    return np.trace(product, axis1=1, axis2=2) / whole, values.sum(1) / whole


ANSWER = Fixed(by_svd, ("cosine", "ceiling"), axis="head", tolerance=1e-3, floor=0.2)


def _ceiling(rule):
    """Another ceiling: rule(arguments, singular values of the product (heads, dim), their norm)."""

    def wrong(arguments):
        product = arguments["W_Q"] @ arguments["W_K"].transpose(0, 2, 1)
        values = np.linalg.svd(product, compute_uv=False)
        cosine, _ = by_svd(arguments)
        found = rule(arguments, values, np.linalg.norm(values, axis=1))
        return cosine, np.broadcast_to(found, cosine.shape)

    return wrong


def _of_factors(arguments, values, norm):
    parts = [np.linalg.svd(arguments[name], compute_uv=False) for name in ("W_Q", "W_K")]
    products = parts[0] * parts[1]
    root = np.sqrt(values.shape[1])
    return products.sum(1) / np.linalg.norm(products, axis=1) / root


def _of_factors_by_whole(arguments, values, norm):
    parts = [np.linalg.svd(arguments[name], compute_uv=False) for name in ("W_Q", "W_K")]
    return (parts[0] * parts[1]).sum(1) / (norm * np.sqrt(values.shape[1]))


def _by_eigenvalues(find, normed=False):
    """find(M) for the singular values; normed: in ‖M‖ as well."""

    def wrong(arguments):
        product = arguments["W_Q"] @ arguments["W_K"].transpose(0, 2, 1)
        values = find(product)
        norm = np.linalg.norm(values if normed else product.reshape(len(values), -1), axis=1)
        return by_svd(arguments)[0], values.sum(1) / (norm * np.sqrt(product.shape[1]))

    return wrong


def _times(power):
    """Both numbers times a power of dim, or the cosine alone."""

    def scaled(each, arguments):
        return each * arguments["W_Q"].shape[1] ** power

    return altered(by_svd, scaled), altered(by_svd, scaled, 0)


def _largest(arguments):
    """The largest singular value taken for ‖M‖."""
    product = arguments["W_Q"] @ arguments["W_K"].transpose(0, 2, 1)
    values = np.linalg.svd(product, compute_uv=False)
    return tuple(each * np.linalg.norm(values, axis=1) / values[:, 0] for each in by_svd(arguments))


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "equal-values",
        "The ceiling is √(k / dim) for every head. That one is for singular values that are all "
        "equal.",
        2,
        _ceiling(lambda a, values, norm: np.sqrt(a["W_Q"].shape[2] / values.shape[1])),
        1e-5,  # it depends on nothing that is drawn: nearly equal is by luck
    ),
    Mistake(
        "factors",
        "The singular values of W_Q and W_K were multiplied pair by pair. Those of the product "
        "are others.",
        3,
        (_ceiling(_of_factors), _ceiling(_of_factors_by_whole)),
    ),
    Mistake(
        "absolute",
        "The cosine lost its sign.",
        1,
        altered(by_svd, lambda each, a: np.abs(each), 0),
    ),
    Mistake(
        "k-for-dim",
        "The norm of I is taken to be √k. I has dim ones.",
        1,
        altered(by_svd, lambda each, a: each * np.sqrt(a["W_Q"].shape[1] / a["W_Q"].shape[2])),
    ),
    Mistake("no-root-dim", "The norm of I is missing: ‖I‖ = √dim.", 1, _times(0.5)),
    Mistake("dim-for-root", "It divides by dim, where the norm of I is √dim.", 1, _times(-0.5)),
    Mistake(
        "largest-for-norm",
        "It divides by the largest singular value. ‖M‖ is the root of the sum of their squares.",
        2,
        _largest,
    ),
    Mistake(
        "one",
        "The ceiling is 1. A matrix of rank k < dim can't be a multiple of I.",
        2,
        _ceiling(lambda a, values, norm: 1.0),
    ),
    Mistake("swapped", "The ceiling is returned first.", 1, lambda a: by_svd(a)[::-1]),
    # Behind the line above: where all eigenvalues are positive, their sum is the trace.
    Mistake(
        "eigenvalues",
        "It takes eigenvalues for singular values. Their sizes are the same where M is symmetric, "
        "and W_Q W_Kᵀ is not.",
        3,
        tuple(
            _by_eigenvalues(find, normed)
            for find in (
                lambda M: np.abs(np.linalg.eigvals(M)),
                lambda M: np.abs(np.linalg.eigvals(M).real),
                lambda M: np.linalg.eigvals(M).real,
                lambda M: np.abs(np.linalg.eigvalsh(M)),
            )
            for normed in (False, True)
        ),
    ),
)


QUESTION = Question(
    id="cosine-ceiling",
    function="cosine_and_ceiling",
    signature="cosine_and_ceiling(W_Q, W_K)",
    lesson="02",
    points=3,
    minutes=15,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="all dim singular values or the first k, loops, the small k × k product, float64",
    withheld=("circuits.diagonal_stats", "circuits.spectrum"),
)
