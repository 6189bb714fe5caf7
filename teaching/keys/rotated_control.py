"""Key of rotated-control."""

from functools import partial

import torch

from minivit.checks.questions.rotated_control import QUESTION, case
from minivit.init import random_orthogonal
from teaching.keys.key import Key, Mutant


def rotated_control(first, second, generator):
    R = random_orthogonal(len(second), generator)
    return first, R.T @ second


# Correct, and different.


def turned_before(first, second, generator):
    """The tokens are turned in front of `first`; an orthogonal matrix by QR alone; float64."""
    noise = torch.randn(first.shape[1], first.shape[1], generator=generator, dtype=torch.float64)
    return [torch.einsum("hd,de->he", first.double(), torch.linalg.qr(noise)[0]), second]


def turned_everywhere(first, second, generator):
    """Two turns outside, and one between the maps that is turned back."""
    hidden, dim = first.shape
    before, behind = (random_orthogonal(dim, generator) for _ in range(2))
    between = random_orthogonal(hidden, generator)
    return between @ first @ before, behind @ second @ between.T


def by_svd(first, second, generator):
    """The singular vectors of `second` on the side of its output are drawn anew."""
    left, size, right = torch.linalg.svd(second, full_matrices=False)
    fresh = torch.linalg.svd(torch.randn(left.shape, generator=generator))[0]
    return first.clone(), fresh * size @ right


def shuffled_with_signs(first, second, generator):
    """Rows in a random order, with random signs: an orthogonal matrix as well."""
    order = torch.randperm(len(second), generator=generator)
    signs = torch.randint(0, 2, (len(second), 1), generator=generator) * 2.0 - 1
    return first, signs * second[order]


# Wrong.


def turned(first, second, generator, *, before="", between=("", ""), behind="", scale=1.0):
    """Turns in some places: R or Rᵀ, the same R wherever sizes agree."""
    hidden, dim = first.shape
    R, H = random_orthogonal(dim, generator), random_orthogonal(hidden, generator)
    pick = {"": torch.eye(dim), "R": R, "RT": R.T}
    inner = {"": torch.eye(hidden), "H": H, "HT": H.T}
    left, right = (inner[name] for name in between)
    return left @ first @ pick[before], scale * pick[behind] @ second @ right


def as_given(first, second, generator):
    torch.randn(1, generator=generator)
    return first, second


def norm_matched(first, second, generator):
    drawn = (torch.randn(each.shape, generator=generator) for each in (first, second))
    return tuple(a * b.norm() / a.norm() for a, b in zip(drawn, (first, second), strict=True))


def noise_for_rotation(first, second, generator):
    return first, torch.randn(len(second), len(second), generator=generator) @ second


def opposite(first, second, generator):
    torch.randn(1, generator=generator)
    return first, -second


def shuffled_hidden(first, second, generator):
    order = torch.randperm(len(first), generator=generator)
    return first[order], second


def own_generator(first, second, generator):
    return rotated_control(first, second, torch.Generator().manual_seed(0))


def global_generator(first, second, generator):
    return rotated_control(first, second, None)


def fixed_shift(first, second, generator):
    torch.randn(1, generator=generator)
    return first, second.roll(1, 0)


def the_product(first, second, generator):
    return first.T @ second.T @ random_orthogonal(len(second), generator)


def transposes(first, second, generator):
    return tuple(each.T for each in rotated_control(first, second, generator))


def taken_apart(first, second, generator):
    """A R, taken apart by an SVD with a root of the singular values on either side."""
    A = first.T @ second.T @ random_orthogonal(len(second), generator)
    left, size, right = torch.linalg.svd(A)
    hidden = random_orthogonal(len(first), generator)[:, : len(size)]
    return hidden @ (left * size.sqrt()).T, (size.sqrt()[:, None] * right).T @ hidden.T


def turned_in_part(first, second, generator):
    """One direction in three is turned."""
    some = len(second) // 3
    rows = torch.cat([random_orthogonal(some, generator) @ second[:some], second[some:]])
    return first, rows


def signs(first, second, generator):
    return first, (torch.randint(0, 2, (len(second), 1), generator=generator) * 2.0 - 1) * second


def signs_of_noise(first, second, generator):
    return first * torch.randn(first.shape[1], generator=generator).sign(), second


def half_the_signs(first, second, generator):
    """As many −1 as 1, in a random order: the trace is gone, the diagonal is not."""
    size = len(second)
    order = torch.randperm(size, generator=generator)
    return first, torch.where(order < size // 2, 1.0, -1.0)[:, None] * second


def turned_a_little(first, second, generator):
    noise = 0.02 * torch.randn(len(second), len(second), generator=generator)
    return first, torch.linalg.matrix_exp(noise - noise.T) @ second


def in_place(first, second, generator):
    second.copy_(rotated_control(first, second, generator)[1])
    return first, second


def hidden(rng):
    """Other sizes, one of them with seeds compared."""
    cases = []
    for number in range(QUESTION.hidden):
        dim = 32  # as small as the visible ones, for the same reason
        width = dim + int(rng.integers(1, 40))
        seeds = [int(seed) for seed in rng.integers(2**31, size=2)]
        calls = (seeds[0], seeds[0], seeds[1]) if number == 2 else seeds[:1]
        beta = float(rng.choice([-1, 1]) * rng.uniform(0.7, 1.1))
        share = float(rng.choice([rng.uniform(0.1, 0.3), rng.uniform(0.7, 0.9)]))
        more = {"beta": beta, "share": share}
        cases.append(case(f"{width} hidden numbers", dim, width, calls, **more))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=rotated_control,
    hidden=hidden,
    misses="rows of `second` moved round by a drawn number, so one of dim − 1 controls",
    alternatives={
        "turned before first, float64": turned_before,
        "turned on both sides by two turns, and between": turned_everywhere,
        "new singular vectors": by_svd,
        "rows shuffled, with signs": shuffled_with_signs,
    },
    mutants=(
        Mutant("as it was given", as_given, "unchanged"),
        Mutant("normal weights of the same norm", norm_matched, "norm-matched"),
        Mutant("noise for a rotation", noise_for_rotation, "not-orthogonal"),
        Mutant(
            "turned, and twice as large", partial(turned, behind="R", scale=2.0), "not-orthogonal"
        ),
        Mutant("turned between", partial(turned, between=("H", "")), "broken-between"),
        Mutant("turned twice between", partial(turned, between=("H", "H")), "broken-between"),
        Mutant("hidden rows shuffled", shuffled_hidden, "broken-between"),
        Mutant("turned between and back", partial(turned, between=("H", "HT")), "cancelled"),
        Mutant("minus", opposite, "sign"),
        Mutant("R on both sides", partial(turned, before="R", behind="RT"), "both-sides"),
        Mutant("taken apart anew", taken_apart, "taken-apart"),
        Mutant("random signs", signs, "signs"),
        Mutant("signs of noise", signs_of_noise, "signs"),
        Mutant("as many −1 as 1", half_the_signs, "signs"),
        Mutant("a third turned", turned_in_part, "weakened"),
        Mutant("turned a little", turned_a_little, "weakened"),
        Mutant("a generator of its own", own_generator, "generator"),
        Mutant("torch's global generator", global_generator, "generator"),
        Mutant("rows moved by one", fixed_shift, "generator"),
        Mutant("the product", the_product, "kind"),
        Mutant("transposes", transposes, "shape"),
        Mutant("in place", in_place, "untouched"),
    ),
)
