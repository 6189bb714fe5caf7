"""Lesson 06: is the identity kept better than the noise that was written with it?"""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
Against its own start, a network may be compared number by number. The lesson found how much of
W_V W_proj is left, and could not say whether the *identity* in it is kept better than the rest. A
mimetic start brings its own control: the noise, which was written together with it.

`start` and `end` have shape (layer, dim, dim): W_V W_proj of each layer before and after training.
Write a start as βI + N, with β the mean of its diagonal, so that N has trace 0. The end is a
multiple of I, a multiple of N, and something new that is orthogonal to both (as lists of dim · dim
numbers):

end = b I + c N + E.

Return three tensors of shape (layer,): `identity`, the part b / β of the identity that is left;
`noise`, the part c of the noise; and `new`, the size ‖E‖ / ‖end‖ of what was not there before.

**Usual trap.** The start itself is not the noise. Whoever projects on it counts the identity twice,
and "the noise was kept" may then mean that the identity was.
"""

HINTS = (
    "I and N are orthogonal, as N has trace 0. So b and c can be found one by one: each is an "
    "inner product with `end`, divided by the squared length of I, or of N.",
    "b is the mean of the diagonal of `end`. c = ⟨end, N⟩ / ⟨N, N⟩, where ⟨A, B⟩ is the sum of "
    "all A[i, j] · B[i, j]. That is no cosine: an N twice as large at the end has c = 2.",
    "N = start - beta[:, None, None] * torch.eye(dim). E is what remains: end − b I − c N. For "
    "sums over the last two axes: (end * N).sum((1, 2)), and E.norm(dim=(1, 2)) / "
    "end.norm(dim=(1, 2)).",
)


def case(title, layers, dim, seed, *, beta=-0.4, alpha=0.4, identity=(0.3, 1.2), noise=(0.2, 1.3)):
    """identity, noise: between which ends the two parts lie that are left."""
    rng = np.random.default_rng(seed)
    Z, E = rng.standard_normal((2, layers, dim, dim)) / np.sqrt(dim)
    b, c, size = (rng.uniform(*ends, (layers, 1, 1)) for ends in (identity, noise, (0.2, 0.5)))
    # Of the trace of Z, which is not 0, a part goes to the identity.
    end = b * beta * np.eye(dim) + c * alpha * Z + size * E
    return Case(title, ({"start": alpha * Z + beta * np.eye(dim), "end": end},))


VISIBLE = (
    case("one layer", 1, 8, 171),
    case("four layers, the identity kept best", 4, 16, 172, identity=(0.9, 1.3), noise=(0.2, 0.5)),
    case("two layers, the noise turned over", 2, 14, 175, noise=(-0.9, -0.3)),
    case("three layers, the noise kept best", 3, 12, 173, identity=(0.1, 0.4), noise=(0.8, 1.3)),
    case("an identity that turned over", 2, 20, 174, beta=0.7, alpha=0.7, identity=(-0.6, -0.2)),
)


def eye(matrices):
    return np.eye(matrices.shape[-1])


def level(matrices):
    """Mean of the diagonal, (layer, 1, 1)."""
    return np.trace(matrices, axis1=1, axis2=2)[:, None, None] / matrices.shape[-1]


def inner(A, B):
    return (A * B).sum((1, 2))[:, None, None]


def norm(A):
    return np.sqrt(inner(A, A))


def without_identity(matrices):
    return matrices - level(matrices) * eye(matrices)


def without_diagonal(matrices):
    return matrices * (1 - eye(matrices))


def parts(
    arguments,
    *,
    rest=without_identity,
    kept=lambda start, end: level(end) / level(start),
    along=lambda end, N: inner(end, N) / inner(N, N),
    new=lambda start, end, b, c, N: norm(end - b * eye(end) - c * N) / norm(end),
):
    """The three tensors. The keywords let mistakes in."""
    start, end = arguments["start"], arguments["end"]
    N = rest(start)
    c = along(end, N)
    found = kept(start, end), c, new(start, end, level(end), c, N)
    return tuple(np.broadcast_to(each, (len(end), 1, 1)).reshape(-1) for each in found)


ANSWER = Fixed(parts, ("identity", "noise", "new"), axis="layer", tolerance=1e-3, floor=0.1)


def _with(**slips):
    return lambda arguments: parts(arguments, **slips)


def _noise(along):
    """A slip in `noise` that `new` inherits, and the same where `new` is right."""
    slip = _with(along=along)
    return slip, lambda arguments: (parts(arguments)[0], slip(arguments)[1], parts(arguments)[2])


def _given(find):
    """Likewise, with find(start, end, N) → `noise`."""

    def slip(arguments):
        start, end = arguments["start"], arguments["end"]
        N = without_identity(start)
        return parts(arguments, along=lambda *_: find(start, end, N))

    return slip, lambda arguments: (parts(arguments)[0], slip(arguments)[1], parts(arguments)[2])


def _crossed(A, B):
    """trace(A B): A[i, j] beside B[j, i]."""
    return inner(A, B.transpose(0, 2, 1))


def _one_level(arguments):
    """The mean β of all layers."""
    beta = level(arguments["start"]).mean()
    return parts(
        arguments,
        rest=lambda start: start - beta * eye(start),
        kept=lambda start, end: level(end) / beta,
    )


def _cosines(start, end):
    """How the cosine with I changed."""
    return level(end) / norm(end) * norm(start) / level(start)


def _pooled(arguments):
    """Sums over all layers at once."""
    start, end = arguments["start"], arguments["end"]
    N = without_identity(start)
    b, c = level(end).mean() / level(start).mean(), (end * N).sum() / np.square(N).sum()
    E = end - level(end) * eye(end) - c * N
    new = np.linalg.norm(E) / np.linalg.norm(end)
    return tuple(np.full(len(end), each) for each in (b, c, new))


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "pooled",
        "All layers have the same numbers: sums went over the layers, too.",
        3,
        _pooled,
    ),
    Mistake(
        "exchanged",
        "Start and end are exchanged.",
        1,
        lambda a: parts({"start": a["end"], "end": a["start"]}),
    ),
    Mistake(
        "start-for-noise",
        "`noise` projects on all of the start, and counts its identity again.",
        1,
        (
            _with(rest=lambda start: start),
            *_given(lambda start, end, N: inner(end, start) / inner(start, start)),
            *_given(lambda start, end, N: inner(end, start) / inner(N, N)),
            _with(along=lambda end, N: inner(end, N), rest=lambda s: s / norm(s) ** 2),
        ),
    ),
    Mistake(
        "no-diagonal",
        "The whole diagonal was taken out, not the multiple of I. Noise has a diagonal, too.",
        3,
        _with(rest=without_diagonal),
    ),
    Mistake(
        "noise-cosine",
        "`noise` is a cosine: it says how much of the *direction* is left, not how much of N.",
        2,
        (
            *_noise(lambda end, N: inner(end, N) / norm(end) / norm(N)),
            *_noise(lambda end, N: inner(end, N) / norm(without_identity(end)) / norm(N)),
        ),
    ),
    Mistake(
        "noise-size",
        "`noise` compares sizes. What is as large as N need not be N.",
        2,
        _noise(lambda end, N: norm(without_identity(end)) / norm(N)),
    ),
    Mistake(
        "not-divided",
        "`noise` is the inner product with N, not divided by ⟨N, N⟩.",
        2,
        (*_noise(inner), *_noise(lambda end, N: inner(end, N) / norm(N))),
    ),
    Mistake(
        "change-projected",
        "`noise` projects end − start on N, which gives c − 1. What is left of N is c.",
        2,
        _given(lambda start, end, N: inner(end - start, N) / inner(N, N)),
    ),
    Mistake(
        "matrix-product",
        "`noise` multiplies matrices. The trace of A B pairs A[i, j] with B[j, i], and ⟨A, B⟩ "
        "pairs A[i, j] with B[i, j].",
        2,
        (
            *_noise(lambda end, N: _crossed(end, N) / inner(N, N)),
            *_noise(lambda end, N: _crossed(end, N) / _crossed(N, N)),
        ),
    ),
    Mistake(
        "one-level",
        "One β was taken for all layers. Each layer has its own.",
        3,
        _one_level,
    ),
    ANSWER.other_order(1),
    Mistake(
        "cosine-with-I",
        "`identity` compares the cosines with I. They also change when something new comes in.",
        1,
        _with(kept=_cosines),
    ),
    Mistake(
        "identity-difference",
        "`identity` is a difference, the level at the end, or β / b. What part of β is left?",
        1,
        (
            _with(kept=lambda start, end: level(end) - level(start)),
            _with(kept=lambda s, e: level(e)),
            _with(kept=lambda s, e: level(s) / level(e)),
        ),
    ),
    Mistake(
        "noise-called-new",
        "`new` still holds what is left of the noise, or of the identity.",
        3,
        (
            _with(new=lambda start, end, b, c, N: norm(end - b * eye(end)) / norm(end)),
            _with(new=lambda start, end, b, c, N: norm(end - c * N) / norm(end)),
        ),
    ),
    Mistake(
        "change-called-new",
        "`new` is the size of end − start. That also holds what was lost.",
        3,
        _with(new=lambda start, end, b, c, N: norm(end - start) / norm(end)),
    ),
    Mistake(
        "start-taken-out",
        "`new` takes out all of β I, or all of N. What the end holds of them is b I and c N.",
        3,
        (
            _with(new=lambda start, end, b, c, N: norm(end - b * eye(end) - N) / norm(end)),
            _with(new=lambda s, e, b, c, N: norm(e - level(s) * eye(e) - c * N) / norm(e)),
        ),
    ),
    Mistake(
        "new-over-start",
        "`new` is not divided, or by the size of the start or of a part. Its whole is `end`.",
        3,
        (
            _with(new=lambda start, end, b, c, N: norm(end - b * eye(end) - c * N)),
            _with(new=lambda start, end, b, c, N: norm(end - b * eye(end) - c * N) / norm(start)),
            _with(new=lambda s, e, b, c, N: norm(e - b * eye(e) - c * N) / norm(N)),
            _with(new=lambda s, e, b, c, N: norm(e - b * eye(e) - c * N) / norm(e - b * eye(e))),
        ),
    ),
    Mistake(
        "new-squared",
        "`new` is a share of squares. The root is missing.",
        3,
        altered(parts, lambda each, a: each**2, 2),
    ),
)


QUESTION = Question(
    id="identity-kept",
    function="what_is_left",
    signature="what_is_left(start, end)",
    lesson="06",
    points=4,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="least squares, loops over layers, E from Pythagoras, float64",
    first_hints={"noise": 2, "new": 3},
    withheld=("portraits.cosine", "circuits.diagonal_stats"),
)
