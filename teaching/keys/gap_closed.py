"""Key of gap-closed."""

from functools import partial

import numpy as np
import torch
from scipy import optimize, stats

from minivit.checks.questions.gap_closed import QUESTION, case
from teaching.keys.key import Key, Mutant


def gap_closed(plain, method, pretrained):
    a, g = (method - plain).double(), (pretrained - plain).double()
    n, (over, gap) = len(a), (a.mean(), g.mean())
    c = stats.t.ppf(0.975, n - 1) ** 2 / n
    (var_a, cov), (_, var_g) = c * torch.cov(torch.stack([a, g]))
    A, B, D = over**2 - var_a, over * gap - cov, gap**2 - var_g  # D f² − 2 B f + A = 0
    root = (B**2 - A * D).sqrt()
    return over / gap, (B - root) / D, (B + root) / D


# Correct, and different.


def by_search(plain, method, pretrained):
    """Each end is where the lower, or the upper, end of the paired interval crosses 0."""
    a, g = (each.double().numpy() for each in (method - plain, pretrained - plain))
    t = stats.t.ppf(0.975, len(a) - 1)

    def end(f, sign):
        difference = a - f * g
        return difference.mean() + sign * t * difference.std(ddof=1) / len(a) ** 0.5

    f = a.mean() / g.mean()
    return f, *(optimize.brentq(end, f - 1e3, f + 1e3, args=(sign,)) for sign in (-1, 1))


def by_roots(plain, method, pretrained):
    """numpy's roots of the quadratic."""
    a, g = (method - plain).numpy().astype(float), (pretrained - plain).numpy().astype(float)
    c = stats.t.ppf(0.975, len(a) - 1) ** 2 / len(a)
    cov = np.cov(a, g)
    terms = (
        g.mean() ** 2 - c * cov[1, 1],
        2 * (c * cov[0, 1] - a.mean() * g.mean()),
        a.mean() ** 2 - c * cov[0, 0],
    )
    return [a.mean() / g.mean(), *np.sort(np.roots(terms))]


def by_loops(plain, method, pretrained):
    """Plain numbers, and a bisection outwards from the middle."""
    a = [m - p for m, p in zip(method.tolist(), plain.tolist(), strict=True)]
    g = [u - p for u, p in zip(pretrained.tolist(), plain.tolist(), strict=True)]
    n = len(a)
    t = stats.t.ppf(0.975, n - 1)

    def believable(f):
        d = [x - f * y for x, y in zip(a, g, strict=True)]
        mean = sum(d) / n
        return abs(mean) <= t * (sum((x - mean) ** 2 for x in d) / (n - 1) / n) ** 0.5

    middle, ends = sum(a) / sum(g), []
    for outside in (middle - 100, middle + 100):
        inside = middle
        for _ in range(60):
            half = (inside + outside) / 2
            inside, outside = (half, outside) if believable(half) else (inside, half)
        ends.append(inside)
    return torch.tensor(middle), torch.tensor(ends[0]), torch.tensor(ends[1])


# Wrong.


def variant(
    plain,
    method,
    pretrained,
    *,
    factor=lambda n: stats.t.ppf(0.975, n - 1),
    root=lambda n: n**0.5,
    cov=lambda both: torch.cov(both),
    numbers=lambda plain, method, pretrained: (method - plain, pretrained - plain),
    finish=lambda f, low, high: (f, low, high),
):
    """The reference with one step replaced."""
    both = torch.stack(numbers(plain, method, pretrained)).double()
    n, (over, gap) = both.shape[1], both.mean(1)
    (var_a, together), (_, var_g) = cov(both) * (factor(n) / root(n)) ** 2
    A, B, D = over**2 - var_a, over * gap - together, gap**2 - var_g
    spread = (B**2 - A * D).sqrt()
    return finish(over / gap, (B - spread) / D, (B + spread) / D)


def symmetric(spread, centre=lambda a, g: a.mean() / g.mean()):
    def answer(plain, method, pretrained):
        a, g = method - plain, pretrained - plain
        half = stats.t.ppf(0.975, len(a) - 1) * spread(a, g) / len(a) ** 0.5
        return centre(a, g), centre(a, g) - half, centre(a, g) + half

    return answer


def mean_of_fractions_first(plain, method, pretrained):
    fractions = (method - plain) / (pretrained - plain)
    return fractions.mean(), *gap_closed(plain, method, pretrained)[1:]


def end_by_end(plain, method, pretrained, *, crossed=False):
    ends = []
    for each in (method - plain, pretrained - plain):
        half = stats.t.ppf(0.975, len(each) - 1) * each.std() / len(each) ** 0.5
        ends.append((each.mean() - half, each.mean() + half))
    quotients = torch.stack([one / other for one in ends[0] for other in ends[1]])
    low, high = quotients[[1, 2]] if crossed else (quotients.min(), quotients.max())
    return (method - plain).mean() / (pretrained - plain).mean(), low, high


def plain_as_method(plain, method, pretrained):
    return gap_closed(plain, pretrained, method)


def fraction_alone(plain, method, pretrained):
    return gap_closed(plain, method, pretrained)[0]


def middle(plain, method, pretrained):
    _, low, high = gap_closed(plain, method, pretrained)
    return (low + high) / 2, low, high


def on_a_grid(plain, method, pretrained, *, step=0.01):
    """Tries every f from about −20 to 20; 0 and 1 are not among them."""
    a, g = (method - plain).double(), (pretrained - plain).double()
    f = torch.arange(-20.0032, 20, step, dtype=torch.float64)
    d = a[:, None] - f * g[:, None]
    t = stats.t.ppf(0.975, len(a) - 1)
    believable = f[d.mean(0).abs() <= t * d.std(0) / len(a) ** 0.5]
    return a.mean() / g.mean(), believable[0], believable[-1]


def sorted_first(plain, method, pretrained):
    return gap_closed(*(each.sort().values for each in (plain, method, pretrained)))


def at_most_one(plain, method, pretrained):
    """The ends of a fraction belong between 0 and 1, don't they?"""
    f, low, high = gap_closed(plain, method, pretrained)
    return f, low.clamp(0, 1), high.clamp(0, 1)


def subtracts_in_place(plain, method, pretrained):
    answer = gap_closed(plain, method, pretrained)
    method -= plain
    return answer


def hidden(rng):
    """A good method, a bad one, few seeds and more."""
    cases = []
    for seeds, fraction in ((4, 0.5), (6, -0.3), (int(rng.integers(4, 8)), 0.2)):
        fraction += float(rng.uniform(-0.1, 0.1))
        seed, gap = int(rng.integers(2**32)), float(rng.uniform(0.04, 0.12))
        cases.append(case(f"{seeds} seeds", seeds, seed, fraction=fraction, gap=gap))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=gap_closed,
    hidden=hidden,
    alternatives={
        "a search for both ends": by_search,
        "numpy's roots": by_roots,
        "loops and bisection": by_loops,
        "steps of 0.0005": partial(on_a_grid, step=5e-4),
    },
    mutants=(
        Mutant(
            "a fraction for each seed",
            symmetric(lambda a, g: (a / g).std(), lambda a, g: (a / g).mean()),
            "fractions",
        ),
        Mutant("the mean of fractions, right ends", mean_of_fractions_first, "fractions"),
        Mutant(
            "the gap for certain", symmetric(lambda a, g: a.std() / g.mean()), "gap-for-certain"
        ),
        Mutant(
            "the std of one f",
            symmetric(lambda a, g: (a - a.mean() / g.mean() * g).std() / g.mean()),
            "same-std",
        ),
        Mutant("ends over ends", end_by_end, "end-by-end"),
        Mutant("ends over the other ends", partial(end_by_end, crossed=True), "end-by-end"),
        Mutant(
            "no covariance",
            partial(variant, cov=lambda both: torch.diag(both.var(1))),
            "not-paired",
        ),
        Mutant("1.96", partial(variant, factor=lambda n: 1.96), "normal-quantile"),
        Mutant(
            "n degrees of freedom",
            partial(variant, factor=lambda n: stats.t.ppf(0.975, n)),
            "degrees-of-freedom",
        ),
        Mutant("no √n", partial(variant, root=lambda n: 1.0), "no-root-n"),
        Mutant(
            "n in std", partial(variant, cov=lambda both: torch.cov(both, correction=0)), "n-in-std"
        ),
        Mutant(
            "divided by the rest",
            partial(variant, numbers=lambda p, m, u: (m - p, u - m)),
            "rest-for-whole",
        ),
        Mutant(
            "the part left open",
            partial(variant, numbers=lambda p, m, u: (u - m, u - p)),
            "left-open",
        ),
        Mutant(
            "percent",
            partial(variant, finish=lambda *three: tuple(100 * each for each in three)),
            "percent",
        ),
        Mutant(
            "the ends exchanged",
            partial(variant, finish=lambda f, low, high: (f, high, low)),
            "other-order",
        ),
        Mutant(
            "low, f, high",
            partial(variant, finish=lambda f, low, high: (low, f, high)),
            "other-order",
        ),
        Mutant("method and pretrained exchanged", plain_as_method, "f"),
        Mutant("ends cut to 0 … 1", at_most_one, "cut"),
        Mutant(
            "5 % on one side",
            partial(variant, factor=lambda n: stats.t.ppf(0.95, n - 1)),
            "one-sided",
        ),
        Mutant(
            "n − 2 degrees of freedom",
            partial(variant, factor=lambda n: stats.t.ppf(0.975, n - 2)),
            "degrees-of-freedom",
        ),
        Mutant(
            "2 n − 2 degrees of freedom",
            partial(variant, factor=lambda n: stats.t.ppf(0.975, 2 * n - 2)),
            "degrees-of-freedom",
        ),
        Mutant("sorted", sorted_first, "sorted"),
        Mutant("the middle of the ends", middle, "middle"),
        Mutant("steps of 0.01", on_a_grid, "rough-search"),
        Mutant("the fraction alone", fraction_alone, "kind"),
        Mutant("subtracts in place", subtracts_in_place, "untouched"),
    ),
)
