"""Key of lucky-idea."""

from functools import cache, partial

import numpy as np
import torch
from scipy.integrate import quad
from scipy.stats import norm

from minivit.checks.questions.lucky_idea import QUESTION, case
from teaching.keys.key import Key, Mutant


def lucky_best(accuracy):
    m, n = accuracy.shape
    means, total = accuracy.mean(1), accuracy.mean()
    left = accuracy - means[:, None] - accuracy.mean(0) + total
    sigma = (left.square().sum() / ((m - 1) * (n - 1))).sqrt()
    c_m = quad(lambda x: x * m * norm.pdf(x) * norm.cdf(x) ** (m - 1), -9, 9)[0]
    return means.argmax(), means.max() - total, c_m * sigma / n**0.5


# Correct, and different.


def by_draws(accuracy):
    """A million normal draws in place of the integral; seeds taken out first, then ideas."""
    m, n = accuracy.shape
    g = torch.Generator().manual_seed(1)
    total, parts = 0.0, 4
    for _ in range(parts):
        largest = torch.randn(250_000, generator=g)
        for _ in range(m - 1):
            largest = torch.maximum(largest, torch.randn(250_000, generator=g))
        total += largest.mean().item()
    within = accuracy - accuracy.mean(0, keepdim=True)
    sigma = (within - within.mean(1, keepdim=True)).norm() / ((m - 1) * (n - 1)) ** 0.5
    level = within.mean(1)
    return level.argmax(), level.max(), sigma / n**0.5 * total / parts


def in_numpy(accuracy):
    a = accuracy.numpy().astype(np.float64)
    m, n = a.shape
    x = np.linspace(-8, 8, 20_001)
    steps = np.diff(norm.cdf(x) ** m)  # the largest lies between two x with this chance
    c_m = (steps * (x[1:] + x[:-1]) / 2).sum()
    total = a.var() - a.mean(1).var() - a.mean(0).var()  # sums of squares, each divided by m n
    sigma = np.sqrt(total * m * n / (m - 1) / (n - 1))
    return int(a.mean(1).argmax()), a.mean(1).max() - a.mean(), c_m * sigma / np.sqrt(n)


def by_loops(accuracy):
    rows = accuracy.double().tolist()
    m, n = len(rows), len(rows[0])
    means = [sum(row) / n for row in rows]
    seeds = [sum(row[j] for row in rows) / m for j in range(n)]
    total = sum(means) / m
    squares = sum(
        (rows[i][j] - means[i] - seeds[j] + total) ** 2 for i in range(m) for j in range(n)
    )
    c_m = quad(lambda x: 1 - norm.cdf(x) ** m, 0, 9)[0] - quad(lambda x: norm.cdf(x) ** m, -9, 0)[0]
    luck = c_m * (squares / (m - 1) / (n - 1) / n) ** 0.5
    return [means.index(max(means)), max(means) - total, luck]


# Wrong.


@cache
def constant(count):
    return quad(lambda x: x * count * norm.pdf(x) * norm.cdf(x) ** (count - 1), -9, 9)[0]


def residual(accuracy):
    return accuracy - accuracy.mean(1, keepdim=True) - accuracy.mean(0) + accuracy.mean()


def common(accuracy, degrees=lambda m, n: (m - 1) * (n - 1)):
    return (residual(accuracy).square().sum() / degrees(*accuracy.shape)).sqrt()


def variant(
    accuracy,
    *,
    score=lambda accuracy: accuracy.mean(1),
    spread=common,
    of=lambda m, n: m,
    root=lambda n: n**0.5,
    finish=lambda best, lead, luck: (best, lead, luck),
):
    """The reference with one step replaced."""
    scores, (m, n) = score(accuracy), accuracy.shape
    c = constant(of(m, n)) if of else 1.0
    lead = scores.max() - accuracy.mean()
    return finish(scores.argmax(), lead, c * spread(accuracy) / root(n))


def over_the_rest(accuracy):
    best, _, luck = lucky_best(accuracy)
    rest = torch.cat([accuracy[:best], accuracy[best + 1 :]])
    return best, accuracy[best].mean() - rest.mean(), luck


def over_the_second(accuracy):
    best, _, luck = lucky_best(accuracy)
    first, second = accuracy.mean(1).topk(2).values
    return best, first - second, luck


def seeds_for_ideas(accuracy):
    return lucky_best(accuracy.T)


def other_constant(change):
    """change(m) → what the largest of m is taken for."""

    def answer(accuracy):
        best, lead, luck = lucky_best(accuracy)
        return best, lead, luck / constant(len(accuracy)) * change(len(accuracy))

    return answer


def ideas_averaged(accuracy):
    best, lead, luck = lucky_best(accuracy)
    m, n = accuracy.shape
    return best, lead, luck * (n / m) ** 0.5


def degrees(count):
    return partial(variant, spread=partial(common, degrees=count))


def luck_alone(accuracy):
    return lucky_best(accuracy)[2]


def centres_its_input(accuracy):
    answer = lucky_best(accuracy)
    accuracy -= accuracy.mean(0)
    return answer


def hidden(rng):
    """Other numbers of ideas and of seeds."""
    cases = []
    sizes = ((7, 3), (8, 3), (9, 4), (10, 4), (11, 5), (12, 3), (14, 3))
    for ideas, seeds in rng.permutation(sizes)[: QUESTION.hidden].tolist():
        title = f"{ideas} ideas, {seeds} seeds"
        cases.append(case(title, ideas, seeds, int(rng.integers(2**32))))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=lucky_best,
    hidden=hidden,
    alternatives={
        "a million draws": by_draws,
        "numpy, sums of squares, chances of the largest": in_numpy,
        "loops, another integral, float64": by_loops,
    },
    mutants=(
        Mutant("the best run", partial(variant, score=lambda a: a.amax(1)), "best-run"),
        Mutant(
            "counted from one",
            partial(variant, finish=lambda best, lead, luck: (best + 1, lead, luck)),
            "counted-from-one",
        ),
        Mutant(
            "percent",
            partial(variant, finish=lambda best, lead, luck: (best, 100 * lead, 100 * luck)),
            "percent",
        ),
        Mutant("over all others", over_the_rest, "over-the-rest"),
        Mutant("over the second", over_the_second, "over-the-second"),
        Mutant("seeds for ideas", seeds_for_ideas, "axes"),
        Mutant(
            "Φ to the power m",
            other_constant(lambda m: m / (m + 1) * constant(m + 1)),
            "other-constant",
        ),
        Mutant("no m in the integral", other_constant(lambda m: constant(m) / m), "other-constant"),
        Mutant("√(2 ln m)", other_constant(lambda m: np.sqrt(2 * np.log(m))), "other-constant"),
        Mutant("√m", ideas_averaged, "m-for-n"),
        Mutant("σ²", partial(variant, spread=lambda a: common(a).square()), "squared"),
        Mutant(
            "std within ideas",
            partial(variant, spread=lambda a: a.var(1).mean().sqrt()),
            "lucky-seeds",
        ),
        Mutant("std of all", partial(variant, spread=lambda a: a.std()), "lucky-seeds"),
        Mutant(
            "std of the means",
            partial(variant, spread=lambda a: a.mean(1).std(), root=lambda n: 1.0),
            "worth-of-ideas",
        ),
        Mutant(
            "r's own std",
            partial(variant, spread=lambda a: residual(a).std()),
            "degrees-of-freedom",
        ),
        Mutant("m n below", degrees(lambda m, n: m * n), "degrees-of-freedom"),
        Mutant("m (n − 1) below", degrees(lambda m, n: m * (n - 1)), "degrees-of-freedom"),
        Mutant("no √n", partial(variant, root=lambda n: 1.0), "no-root-n"),
        Mutant("n for √n", partial(variant, root=lambda n: n), "n-for-root"),
        Mutant("c of the seeds", partial(variant, of=lambda m, n: n), "best-of-seeds"),
        Mutant("c of all runs", partial(variant, of=lambda m, n: m * n), "best-of-runs"),
        Mutant("no c", partial(variant, of=None), "no-constant"),
        Mutant("luck alone", luck_alone, "kind"),
        Mutant("centres its input", centres_its_input, "untouched"),
    ),
)
