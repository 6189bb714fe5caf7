"""Key of identity-kept."""

from functools import partial

import numpy as np
import torch

from minivit.checks.questions.identity_kept import QUESTION, case
from teaching.keys.key import Key, Mutant


def what_is_left(start, end):
    eye = torch.eye(start.shape[-1])
    beta, b = (each.diagonal(dim1=1, dim2=2).mean(1) for each in (start, end))
    N = start - beta[:, None, None] * eye
    c = (end * N).sum((1, 2)) / N.square().sum((1, 2))
    E = end - b[:, None, None] * eye - c[:, None, None] * N
    return b / beta, c, E.norm(dim=(1, 2)) / end.norm(dim=(1, 2))


# Correct, and different.


def by_least_squares(start, end):
    """Two columns, I and the start: end = x I + c start + E, and b = x + c β."""
    rows = []
    for before, after in zip(start.double(), end.double(), strict=True):
        dim = len(before)
        columns = torch.stack([torch.eye(dim).double().flatten(), before.flatten()], 1)
        x, c = torch.linalg.lstsq(columns, after.flatten()[:, None]).solution[:, 0]
        E = after.flatten() - columns @ torch.stack([x, c])
        beta = before.trace() / dim
        rows.append(torch.stack([(x + c * beta) / beta, c, E.norm() / after.norm()]))
    return torch.stack(rows).unbind(1)


def by_loops(start, end):
    identity, noise, new = [], [], []
    for before, after in zip(start.tolist(), end.tolist(), strict=True):
        dim = len(before)
        beta, b = (sum(m[i][i] for i in range(dim)) / dim for m in (before, after))
        places = [(i, j) for i in range(dim) for j in range(dim)]
        N = {(i, j): before[i][j] - (beta if i == j else 0) for i, j in places}
        c = sum(after[i][j] * N[i, j] for i, j in places) / sum(x * x for x in N.values())
        E = [after[i][j] - (b if i == j else 0) - c * N[i, j] for i, j in places]
        whole = sum(after[i][j] ** 2 for i, j in places)
        identity.append(b / beta)
        noise.append(c)
        new.append((sum(x * x for x in E) / whole) ** 0.5)
    return torch.tensor(identity), torch.tensor(noise), torch.tensor(new)


def by_pythagoras(start, end):
    """numpy, einsum: what is left of the squares."""
    start, end = start.numpy().astype(float), end.numpy().astype(float)
    dim = start.shape[1]
    beta, b = np.einsum("lii->l", start) / dim, np.einsum("lii->l", end) / dim
    squares = np.einsum("lij,lij->l", start, start) - dim * beta**2
    c = (np.einsum("lij,lij->l", start, end) - dim * beta * b) / squares
    whole = np.einsum("lij,lij->l", end, end)
    return [b / beta, c, np.sqrt(1 - (dim * b**2 + c**2 * squares) / whole)]


# Wrong.


def level(M):
    return M.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]


def inner(A, B):
    return (A * B).sum((1, 2), keepdim=True)


def size(A):
    return A.norm(dim=(1, 2), keepdim=True)


def rest_of(M):
    return M - level(M) * torch.eye(M.shape[1])


def off_diagonal(M):
    return M * (1 - torch.eye(M.shape[1]))


def variant(
    start,
    end,
    *,
    rest=rest_of,
    kept=lambda start, end: level(end) / level(start),
    along=lambda end, N: inner(end, N) / inner(N, N),
    new=lambda start, end, c, N: size(rest_of(end) - c * N) / size(end),
):
    """The reference with one step replaced."""
    N = rest(start)
    c = along(end, N)
    return tuple(each.flatten() for each in (kept(start, end), c, new(start, end, c, N)))


def on_the_start(start, end):
    c = inner(end, start) / inner(start, start)
    return variant(start, end, along=lambda end, N: c)


def change_projected(start, end):
    N = rest_of(start)
    identity, _, new = what_is_left(start, end)
    return identity, (inner(end - start, N) / inner(N, N)).flatten(), new


def pooled(start, end):
    N = rest_of(start)
    c = (end * N).sum() / (N * N).sum()
    b = level(end).mean() / level(start).mean()
    new = (rest_of(end) - c * N).norm() / end.norm()
    return tuple(each.expand(len(end)) for each in (b, c, new))


def exchanged(start, end):
    return what_is_left(end, start)


def new_squared(start, end):
    identity, noise, new = what_is_left(start, end)
    return identity, noise, new**2


def noise_alone(along):
    """A slip in what is returned as `noise`; `new` is computed well."""

    def answer(start, end):
        identity, _, new = what_is_left(start, end)
        return identity, along(end, rest_of(start)).flatten(), new

    return answer


def one_level(start, end):
    beta = level(start).mean()
    rest = start - beta * torch.eye(start.shape[1])
    return level(end).flatten() / beta, *variant(start, end, rest=lambda start: rest)[1:]


def other_order(start, end):
    identity, noise, new = what_is_left(start, end)
    return noise, identity, new


def of_the_network(start, end):
    return tuple(each.mean() for each in what_is_left(start, end))


def without_new(start, end):
    return what_is_left(start, end)[:2]


def in_place(start, end):
    answer = what_is_left(start, end)
    start -= level(start) * torch.eye(start.shape[1])
    return answer


def median_level(start, end):
    """A diagonal's median for its mean."""
    middle = [each.diagonal(dim1=1, dim2=2).median(1).values for each in (end, start)]
    return middle[0] / middle[1], *what_is_left(start, end)[1:]


def hidden(rng):
    """Another sign, other sizes, one or the other kept."""
    cases = []
    for beta, identity, noise in (
        (-0.4, (0.6, 0.85), (0.1, 0.5)),  # near 1, what was lost of I would not show
        (0.7, (0.1, 0.5), (0.7, 1.2)),
        (-0.6, (-0.5, -0.2), (0.3, 0.9)),
    ):
        layers, dim = int(rng.integers(2, 5)), int(rng.integers(10, 24))
        title = f"{layers} layers of width {dim}"
        seed, alpha = int(rng.integers(2**32)), float(rng.uniform(0.4, 0.7))
        more = {"beta": beta, "alpha": alpha, "identity": identity, "noise": noise}
        cases.append(case(title, layers, dim, seed, **more))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=what_is_left,
    hidden=hidden,
    alternatives={
        "least squares, float64": by_least_squares,
        "loops and plain numbers": by_loops,
        "numpy, Pythagoras": by_pythagoras,
    },
    mutants=(
        Mutant(
            "projected on the start", partial(variant, rest=lambda start: start), "start-for-noise"
        ),
        Mutant("noise alone on the start", on_the_start, "start-for-noise"),
        Mutant("the change projected", change_projected, "change-projected"),
        Mutant("no diagonal at all", partial(variant, rest=off_diagonal), "no-diagonal"),
        Mutant(
            "a cosine",
            partial(variant, along=lambda end, N: inner(end, N) / size(end) / size(N)),
            "noise-cosine",
        ),
        Mutant(
            "a cosine of the rests",
            partial(variant, along=lambda end, N: inner(end, N) / size(rest_of(end)) / size(N)),
            "noise-cosine",
        ),
        Mutant(
            "sizes compared",
            partial(variant, along=lambda end, N: size(rest_of(end)) / size(N)),
            "noise-size",
        ),
        Mutant("not divided", partial(variant, along=inner), "not-divided"),
        Mutant(
            "divided by ‖N‖",
            partial(variant, along=lambda end, N: inner(end, N) / size(N)),
            "not-divided",
        ),
        Mutant(
            "cosines with I",
            partial(variant, kept=lambda s, e: level(e) / size(e) * size(s) / level(s)),
            "cosine-with-I",
        ),
        Mutant(
            "a difference of levels",
            partial(variant, kept=lambda s, e: level(e) - level(s)),
            "identity-difference",
        ),
        Mutant(
            "the level at the end",
            partial(variant, kept=lambda s, e: level(e)),
            "identity-difference",
        ),
        Mutant(
            "β / b",
            partial(variant, kept=lambda s, e: level(s) / level(e)),
            "identity-difference",
        ),
        Mutant(
            "identity called new",
            partial(variant, new=lambda s, e, c, N: size(e - c * N) / size(e)),
            "noise-called-new",
        ),
        Mutant(
            "noise called new",
            partial(variant, new=lambda s, e, c, N: size(rest_of(e)) / size(e)),
            "noise-called-new",
        ),
        Mutant(
            "end − start called new",
            partial(variant, new=lambda s, e, c, N: size(e - s) / size(e)),
            "change-called-new",
        ),
        Mutant(
            "new not divided",
            partial(variant, new=lambda s, e, c, N: size(rest_of(e) - c * N)),
            "new-over-start",
        ),
        Mutant(
            "divided by the start",
            partial(variant, new=lambda s, e, c, N: size(rest_of(e) - c * N) / size(s)),
            "new-over-start",
        ),
        Mutant(
            "a cosine, new is right",
            noise_alone(lambda end, N: inner(end, N) / size(end) / size(N)),
            "noise-cosine",
        ),
        Mutant(
            "the trace of end N",
            partial(variant, along=lambda end, N: inner(end, N.mT) / inner(N, N)),
            "matrix-product",
        ),
        Mutant(
            "traces of both products",
            noise_alone(lambda end, N: inner(end, N.mT) / inner(N, N.mT)),
            "matrix-product",
        ),
        Mutant("one β", one_level, "one-level"),
        Mutant("noise first", other_order, "other-order"),
        Mutant(
            "all of N taken out",
            partial(variant, new=lambda s, e, c, N: size(rest_of(e) - N) / size(e)),
            "start-taken-out",
        ),
        Mutant(
            "β I taken out",
            partial(variant, new=lambda s, e, c, N: size(e - s + N - c * N) / size(e)),
            "start-taken-out",
        ),
        Mutant(
            "divided by the rest",
            partial(variant, new=lambda s, e, c, N: size(rest_of(e) - c * N) / size(rest_of(e))),
            "new-over-start",
        ),
        Mutant("a share of squares", new_squared, "new-squared"),
        Mutant("layers pooled", pooled, "pooled"),
        Mutant("start and end exchanged", exchanged, "exchanged"),
        Mutant("a median", median_level, "identity"),
        Mutant("means over layers", of_the_network, "shape"),
        Mutant("nothing new", without_new, "kind"),
        Mutant("in place", in_place, "untouched"),
    ),
)
