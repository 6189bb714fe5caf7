"""Lesson 04: what each rank leaves of a diagonal."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
A head of width k holds the best approximation of rank k, and so has a smaller diagonal than its
target. How much is left of it for *every* k? One SVD tells it all.

`target` has shape (dim, dim). Return two tensors of shape (dim,). Their entry number k − 1, for
k = 1 … dim, belongs to the best approximation of rank k of `target`:

- `mean`: the mean of its diagonal;
- `kept`: its part of the energy, the sum of the squares of its entries divided by that of `target`.

**Usual trap.** A singular value is no part of the diagonal yet. How much of it gets there depends
on how far the two singular vectors that belong to it point the same way.
"""

HINTS = (
    "The approximation of rank k is σ₁ u₁ v₁ᵀ + … + σ_k u_k v_kᵀ. Going from k to k + 1 adds one "
    "term, to the diagonal as well: so both answers are running sums.",
    "The sum of the diagonal of σ u vᵀ is σ (u · v). The sum of its squared entries is σ².",
    "With left, s, right = torch.linalg.svd(target): u · v of every pair is "
    "(left * right.T).sum(0), as the *rows* of right are the v. Then cumsum.",
)


def case(title, dim, alpha, beta, seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((dim, dim)) / np.sqrt(dim)
    return Case(title, ({"target": alpha * noise + beta * np.eye(dim)},))


VISIBLE = (
    case("0.7 Z + 0.7 I, width 24", 24, 0.7, 0.7, 141),
    case("0.4 Z − 0.4 I, width 32", 32, 0.4, -0.4, 142),
    case("noise alone", 20, 1.0, 0.0, 143),
    case("little noise", 28, 0.1, 0.9, 144),
)


def terms(arguments):
    left, size, right = np.linalg.svd(arguments["target"])
    return left, size, right.T


def by_approximations(arguments):
    """Each approximation formed, and measured."""
    left, size, right = terms(arguments)
    means, kept = [], []
    for k in range(1, len(size) + 1):
        product = (left[:, :k] * size[:k]) @ right[:, :k].T
        means.append(product.diagonal().mean())
        kept.append(np.square(product).sum() / np.square(arguments["target"]).sum())
    return np.array(means), np.array(kept)


ANSWER = Fixed(by_approximations, ("mean", "kept"), tolerance=1e-3)


def _mean(rule):
    """Another mean: rule(u, σ, v), vectors in columns."""
    return lambda arguments: (rule(*terms(arguments)), by_approximations(arguments)[1])


def _kept(rule):
    return lambda arguments: (by_approximations(arguments)[0], rule(terms(arguments)[1]))


def _alike(left, right):
    return (left * right).sum(0)


def _steps(each, arguments):
    return np.diff(each, prepend=0.0)


def _from_the_other_end(each, arguments):
    return np.cumsum(_steps(each, arguments)[::-1])


def _from_rank_0(each, arguments):
    return np.concatenate([[0.0], each[:-1]])


def _by_eigenvalues(arguments):
    """The sizes of eigenvalues in place of singular values and of all that stands beside them."""
    sizes = np.sort(np.abs(np.linalg.eigvals(arguments["target"])))[::-1]
    return np.cumsum(sizes) / len(sizes), np.cumsum(sizes**2) / np.square(sizes).sum()


def _kept_of_diagonal(arguments):
    mean, _ = by_approximations(arguments)
    return mean, mean / mean[-1]


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "vectors-ignored",
        "It takes all of each singular value for the diagonal, as if u and v were the same.",
        2,
        _mean(lambda u, s, v: np.cumsum(s) / len(s)),
    ),
    Mistake(
        "columns-of-right",
        "It pairs u with the columns of what svd returns last. That is Vᵀ: the v are its rows.",
        3,
        _mean(lambda u, s, v: np.cumsum(s * _alike(u, v.T)) / len(s)),
    ),
    Mistake(
        "place-by-place",
        "It adds up place by place, not rank by rank. Each pair of vectors brings σ times one "
        "number, u · v, which is a sum over all places.",
        3,
        (
            _mean(lambda u, s, v: np.cumsum((s * u * v).sum(1)) / len(s)),
            _mean(lambda u, s, v: np.cumsum(s * (u * v).sum(1)) / len(s)),
        ),
    ),
    Mistake(
        "size-ignored",
        "The mean has no singular values in it: it adds u · v alone.",
        2,
        _mean(lambda u, s, v: np.cumsum(_alike(u, v)) / len(s)),
    ),
    Mistake(
        "sum-not-mean",
        "It is the sum of the diagonal. Divide by dim.",
        1,
        _mean(lambda u, s, v: np.cumsum(s * _alike(u, v))),
    ),
    Mistake(
        "mean-over-rank",
        "The sum of the diagonal is divided by k. The diagonal has dim entries, whatever the rank.",
        1,
        _mean(lambda u, s, v: np.cumsum(s * _alike(u, v)) / np.arange(1, len(s) + 1)),
    ),
    Mistake(
        "absolute",
        "u · v has lost its sign.",
        2,
        _mean(lambda u, s, v: np.cumsum(s * np.abs(_alike(u, v))) / len(s)),
    ),
    Mistake(
        "kept-not-squared",
        "`kept` adds up singular values. Energy adds up their squares: first squared, then summed.",
        2,
        (
            _kept(lambda s: np.cumsum(s) / s.sum()),
            _kept(lambda s: (np.cumsum(s) / s.sum()) ** 2),
        ),
    ),
    Mistake(
        "kept-rooted",
        "`kept` is a quotient of norms. Energy is their squares.",
        2,
        _kept(lambda s: np.sqrt(np.cumsum(s**2) / (s**2).sum())),
    ),
    Mistake(
        "kept-not-divided",
        "`kept` is not divided by the energy of the target.",
        2,
        (_kept(lambda s: np.cumsum(s**2)), _kept(lambda s: np.cumsum(s**2) / len(s))),
    ),
    Mistake(
        "kept-of-diagonal",
        "`kept` is the part of the diagonal that is left. Energy takes in all entries.",
        2,
        _kept_of_diagonal,
    ),
    Mistake(
        "eigenvalues",
        "It takes the sizes of eigenvalues. The target is not symmetric: its singular values are "
        "others.",
        1,
        _by_eigenvalues,
    ),
    ANSWER.other_order(1),
    Mistake(
        "lost-for-kept",
        "`kept` is what is lost.",
        2,
        (
            _kept(lambda s: 1 - np.cumsum(s**2) / (s**2).sum()),
            _kept(lambda s: np.sqrt((1 - np.cumsum(s**2) / (s**2).sum()).clip(0))),
        ),
    ),
    Mistake(
        "smallest-first",
        "It begins with the smallest singular values. The best approximation keeps the largest.",
        1,
        altered(by_approximations, _from_the_other_end),
    ),
    Mistake(
        "not-summed",
        "Each entry is the share of one singular value. Rank k keeps the first k of them together.",
        1,
        (altered(by_approximations, _steps, 0), altered(by_approximations, _steps, 1)),
    ),
    Mistake(
        "from-rank-0",
        "The entries are shifted: the first one belongs to rank 1, not to rank 0.",
        1,
        altered(by_approximations, _from_rank_0),
    ),
)


QUESTION = Question(
    id="cut-diagonal",
    function="cut_diagonal",
    signature="cut_diagonal(target)",
    lesson="04",
    points=4,
    minutes=15,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="running sums, or every approximation formed; signs of singular vectors; float64",
    withheld=("circuits.diagonal_stats",),
)
