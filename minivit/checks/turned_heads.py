"""Two factors that were turned between heads: what has to stay, what has to be alike, mistakes.

The judge looks at products alone, never at the turn. A predicate (old, new, heads), each of the
first two a pair (W_V, W_proj), says whether an answer behaves like one mistake, whichever turn it
took.
"""

import numpy as np

from minivit.checks.measures import close, returned, untouched
from minivit.checks.question import Finding

SHARES = 1e-4  # how far a head's mean may be off: the statement says so
ROUNDING = 2e-4  # of the largest entry of a product


def judge(case, results):
    for arguments, result in zip(case.calls, results, strict=True):
        old, shapes = given(arguments), [each.shape for each in given(arguments)]
        finding = (
            returned((result,), 2, shapes, ("W_V", "W_proj"))
            or untouched(arguments, result)
            or _kept(old, came_back(result))
            or _shares(old, came_back(result), arguments["heads"])
        )
        if finding:
            return finding
    return None


def given(arguments):
    return arguments["W_V"], arguments["W_proj"]


def came_back(result):
    return tuple(array.values for array in result.returned)


def by_heads(W_V, W_proj, heads):
    """The product of each head, (head, dim, dim)."""
    columns = W_V.reshape(len(W_V), heads, -1).transpose(1, 0, 2)
    return columns @ W_proj.reshape(heads, -1, W_proj.shape[1])


def _kept(old, new):
    """The product, and W_V W_Vᵀ.

    In every case W_V has an inverse. So where the product is right, what came back is W_V R and
    R⁻¹ W_proj, and R is orthogonal if and only if W_V W_Vᵀ stayed.
    """
    pairs = (
        ("product", "W_V W_proj", new[0] @ new[1], old[0] @ old[1]),
        ("turn", "W_V W_Vᵀ", new[0] @ new[0].T, old[0] @ old[0].T),
    )
    for aspect, what, mine, target in pairs:
        if not close(mine, target, ROUNDING):
            text = f"{what} is not what it was: {_gap(mine, target)}"
            return Finding(aspect, text, mine=mine, target=target)
    return None


def _gap(mine, target):
    at = np.unravel_index(np.abs(mine - target).argmax(), mine.shape)
    place = ", ".join(str(index) for index in at)
    return f"most at [{place}], {mine[at]:+.4f}, target {target[at]:+.4f}"


def _shares(old, new, heads):
    means, target = _means(new, heads), _means(old, heads).mean()
    if np.abs(means - target).max() <= SHARES:
        return None
    low, high = means.argmin(), means.argmax()
    text = (
        f"mean of the diagonal {means[high]:+.5f} in head {high}, {means[low]:+.5f} in head {low}; "
        f"target {target:+.5f} in each of {heads} heads, to within {SHARES}"
    )
    return Finding("shares", text)


def _means(pair, heads):
    return by_heads(*pair, heads).diagonal(axis1=1, axis2=2).mean(1)


# Diagnoses.


def of_first_call(predicate):
    """predicate(old, new, heads) as the `matches` of a Diagnosis."""
    return lambda case, results: bool(
        predicate(given(case.calls[0]), came_back(results[0]), case.calls[0]["heads"])
    )


def _turn(old, new):
    """The R of W_V R, orthogonal or not."""
    return np.linalg.solve(old[0], new[0])


def _same(mine, target):
    return close(mine, target, 1e-3)


def _is_orthogonal(R):
    return _same(R @ R.T, np.eye(len(R)))


@of_first_call
def one_side(old, new, heads):
    """One factor is a turned one, the other as it was."""
    as_before = [_same(mine, before) for mine, before in zip(new, old, strict=True)]
    return sum(as_before) == 1 and all(_same(a @ b, c @ d) for a, b, c, d in _outer(old, new))


def _outer(old, new):
    """Factors of W_V W_Vᵀ and W_projᵀ W_proj, which a turn between heads keeps."""
    yield new[0], new[0].T, old[0], old[0].T
    yield new[1].T, new[1], old[1].T, old[1]


@of_first_call
def backwards(old, new, heads):
    R = _turn(old, new)
    return _is_orthogonal(R) and _same(new[1], R @ old[1])


@of_first_call
def no_rotation(old, new, heads):
    """Rᵀ stands where it should, and R is not orthogonal."""
    return _same(new[1], _turn(old, new).T @ old[1])


@of_first_call
def tokens_turned(old, new, heads):
    """R W_V and W_proj Rᵀ, or the like: turned on the side of the tokens."""
    return all(_same(a @ b, c @ d) for a, b, c, d in _inner(old, new))


def _inner(old, new):
    """Factors of W_Vᵀ W_V and W_proj W_projᵀ, which a turn of the tokens keeps."""
    yield new[0].T, new[0], old[0].T, old[0]
    yield new[1], new[1].T, old[1], old[1].T


@of_first_call
def rescaled(old, new, heads):
    """The product of each head is a multiple of what it was."""
    mine, before = by_heads(*new, heads), by_heads(*old, heads)
    factors = (mine * before).sum((1, 2)) / (before**2).sum((1, 2))
    return _same(mine, factors[:, None, None] * before)


def _still(old, new, heads):
    """Whether the product of each head is what it was."""
    return _same(by_heads(*new, heads), by_heads(*old, heads))


def _near(old, new, heads):
    """Whether each head is near to what it should have."""
    return np.abs(_means(new, heads) - _means(old, heads).mean()).max() < 20 * SHARES


@of_first_call
def as_it_was(old, new, heads):
    return _still(old, new, heads) and not _near(old, new, heads)


@of_first_call
def interleaved(old, new, heads):
    """Every heads-th column taken for one head."""
    dealt = np.arange(len(old[0])).reshape(-1, heads).T.ravel()
    return np.ptp(_means((new[0][:, dealt], new[1][dealt]), heads)) <= 2 * SHARES


@of_first_call
def reordered(old, new, heads):
    """R is a permutation, but for signs, that mixes heads."""
    sizes = np.abs(_turn(old, new))
    permuted = _is_orthogonal(sizes) and _same(sizes, np.round(sizes))
    return permuted and not _still(old, new, heads)


loose_stop = of_first_call(_near)


@of_first_call
def some_only(old, new, heads):
    """Two heads agree to all digits, or one with what it should have: no luck does that."""
    wanted = [*_means(new, heads), _means(old, heads).mean()]
    return np.diff(np.sort(wanted)).min() < SHARES / 20


def evened(*others):
    """Did the turn even out the diagonal blocks of another matrix than W_proj W_V?

    Each of `others` is a function (W_V, W_proj, heads) → (dim, dim), in the basis that R turns.
    """

    def predicate(old, new, heads):
        R = _turn(old, new)
        matrices = [other(*old, heads) for other in others]
        return any(_even(R.T @ M @ R, heads) and not _even(M, heads) for M in matrices)

    return of_first_call(predicate)


def _even(matrix, heads):
    """Whether its diagonal blocks have one trace."""
    traces = matrix.diagonal().reshape(heads, -1).sum(1)
    return np.ptp(traces) <= 2e-4 * np.linalg.norm(matrix)


def product(W_V, W_proj, heads):
    return W_V @ W_proj


def lower(W_V, W_proj, heads):
    """What eigh reads of W_proj W_V: the lower triangle, mirrored."""
    B = W_proj @ W_V
    return np.tril(B) + np.tril(B, -1).T


def upper(W_V, W_proj, heads):
    return lower(W_proj.T, W_V.T, heads)


def sizes_of_values(W_V, W_proj, heads):
    return W_V.T @ W_V


def sizes_of_outputs(W_V, W_proj, heads):
    return W_proj @ W_proj.T


def without_mixtures(W_V, W_proj, heads):
    """W_proj W_V with the blocks off its diagonal left out."""
    size = len(W_V) // heads
    return W_proj @ W_V * np.kron(np.eye(heads), np.ones((size, size)))
