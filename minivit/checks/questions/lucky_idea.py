"""Lesson 07: how far the best of many ideas leads by luck alone, where all share their seeds."""

from functools import lru_cache
from itertools import combinations, product

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
A group tried m ideas with the same n seeds each, and writes a paper about the best one. How far
does it lead, and how far would the best lead if all the ideas were worth the same?

`accuracy` has shape (ideas, seeds). A lucky seed is lucky for all ideas, and that favours none of
them. So take out what belongs to ideas and what belongs to seeds:

r[i, j] = accuracy[i, j] − mean of idea i − mean of seed j + mean of all,

σ² = Σ r² / ((m − 1)(n − 1)).

Return a tuple `(best, lead, luck)`:

- `best`: which idea has the highest mean over its seeds, counted from 0;
- `lead`: this mean minus the mean of all accuracies;
- `luck`: what `lead` is on average if no idea is better than another: c_m times the standard
  deviation of a mean over n seeds, with c_m the mean of the largest of m standard normal draws:
  c_m = ∫ x · m φ(x) Φ(x)^(m−1) dx, as in the lesson. To one part in a thousand or so.

**Usual trap.** In the lesson the best of k *seeds* was chosen. Here seeds are averaged, and the
best of m *ideas* is chosen: the two numbers m and n have different jobs.
"""

HINTS = (
    "The mean of each idea over its seeds is accuracy.mean(1). The index of the largest of them is "
    "best; lead is by how much it lies above the mean of all.",
    "What is left of a mean of n runs has the standard deviation σ / √n. What is common to all "
    "ideas of a seed moves all means alike, so it must not be in σ.",
    "from scipy.integrate import quad and from scipy.stats import norm, then the integral from −9 "
    "to 9 with m. c₂ = 0.564, c₃ = 0.846, c₅ = 1.163.",
)


@lru_cache(maxsize=64)
def expected_max(count):
    """c_count, by the trapezoidal rule: exact to many digits for smooth functions that vanish."""
    from scipy.special import ndtr  # heavy where no other question needs it

    x = np.linspace(-10, 10, 4001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return float((x * count * density * ndtr(x) ** (count - 1)).sum() * (x[1] - x[0]))


def remainder(accuracy):
    rows, columns = accuracy.mean(1, keepdims=True), accuracy.mean(0)
    return accuracy - rows - columns + accuracy.mean()


def sigma(accuracy):
    return np.sqrt((remainder(accuracy) ** 2).sum() / np.prod(np.subtract(accuracy.shape, 1)))


def lucky(
    arguments,
    *,
    pick=lambda accuracy: accuracy.mean(1),
    over=lambda means: means.mean(),
    spread=sigma,
    constant=lambda m, n: expected_max(m),
    root=np.sqrt,
):
    """The three numbers. The keywords let mistakes in."""
    accuracy = arguments["accuracy"]
    means, (m, n) = pick(accuracy), accuracy.shape
    luck = constant(m, n) * spread(accuracy) / root(n)
    return np.array(means.argmax()), np.array(means.max() - over(accuracy)), np.array(luck)


ANSWER = Fixed(lucky, ("best", "lead", "luck"), tolerance=5e-3, floor=1e-3)


def _with(**slips):
    return lambda arguments: lucky(arguments, **slips)


def _over_rest(arguments):
    best, lead, luck = lucky(arguments)
    m = len(arguments["accuracy"])
    return best, lead * m / (m - 1), luck


def _over_second(arguments):
    best, _, luck = lucky(arguments)
    second, first = np.sort(arguments["accuracy"].mean(1))[-2:]
    return best, np.array(first - second), luck


def _by_count(count):
    return lambda accuracy: np.sqrt((remainder(accuracy) ** 2).sum() / count(*accuracy.shape))


def _within_ideas(accuracy):
    return np.sqrt(accuracy.var(1, ddof=1).mean())


LUCKS = {
    "lucky-seeds": (_with(spread=_within_ideas), _with(spread=lambda a: a.std(ddof=1))),
    "worth-of-ideas": (
        _with(spread=lambda accuracy: accuracy.mean(1).std(ddof=1), root=lambda n: 1.0),
        _with(spread=lambda accuracy: accuracy.mean(1).std(ddof=1)),
    ),
    "degrees-of-freedom": tuple(
        _with(spread=_by_count(count))
        for count in (
            lambda m, n: m * n,
            lambda m, n: m * n - 1,
            lambda m, n: m * (n - 1),
            lambda m, n: (m - 1) * n,
        )
    ),
    "no-root-n": (_with(root=lambda n: 1.0),),
    "n-for-root": (_with(root=lambda n: n),),
    "best-of-seeds": (
        _with(constant=lambda m, n: expected_max(n)),
        _with(constant=lambda m, n: expected_max(n), root=lambda n: 1.0),
    ),
    "best-of-runs": (
        _with(constant=lambda m, n: expected_max(m * n)),
        _with(constant=lambda m, n: expected_max(m * n), root=lambda n: 1.0),
    ),
    "no-constant": (_with(constant=lambda m, n: 1.0),),
}
# By sizes alone some of these agree with others for every draw, so only those are told apart from
# them that a draw can move: slips in what is the spread.
OTHER_CONSTANTS = (
    _with(constant=lambda m, n: m / (m + 1) * expected_max(m + 1)),
    _with(constant=lambda m, n: expected_max(m) / m),
    _with(constant=lambda m, n: np.sqrt(2 * np.log(m))),
)
M_FOR_N = _with(root=lambda n: 1.0, constant=lambda m, n: expected_max(m) / m**0.5)
PERCENT = altered(lucky, lambda each, a: 100 * each, 1, 2)
SQUARED = _with(spread=lambda accuracy: sigma(accuracy) ** 2)


MISTAKES = ANSWER.diagnoses(
    Mistake("percent", "Lead and luck are in percent.", 1, PERCENT),
    Mistake(
        "axes",
        "Ideas and seeds are exchanged: the first axis counts ideas.",
        1,
        lambda a: lucky({"accuracy": a["accuracy"].T}),
    ),
    Mistake(
        "best-run",
        "It goes by the best single run, of all ideas and seeds. The best *mean* is asked for.",
        1,
        _with(pick=lambda accuracy: accuracy.max(1)),
    ),
    Mistake(
        "counted-from-one",
        "You count ideas from 1; count them from 0.",
        1,
        lambda a: (lucky(a)[0] + 1, *lucky(a)[1:]),
    ),
    Mistake(
        "over-the-rest",
        "The lead is that over all *other* ideas. Take it over the mean of all accuracies.",
        1,
        _over_rest,
    ),
    Mistake(
        "over-the-second",
        "The lead is that over the second best idea. Take it over the mean of all accuracies.",
        1,
        _over_second,
    ),
    Mistake(
        "other-constant",
        "c_m is another one. In the integral stand x, m, φ(x) and Φ(x) to the power m − 1.",
        3,
        OTHER_CONSTANTS,
        tolerance=1e-3,
    ),
    Mistake(
        "m-for-n",
        "It divides by √m. A mean of an idea is one over n seeds.",
        2,
        M_FOR_N,
        tolerance=1e-3,
    ),
    Mistake("squared", "It is σ², where σ belongs.", 2, SQUARED),
    Mistake(
        "lucky-seeds",
        "σ holds the luck of the seeds as well. It is common to all ideas, and can't make one of "
        "them the best.",
        2,
        LUCKS["lucky-seeds"],
    ),
    Mistake(
        "worth-of-ideas",
        "σ is taken from how far the means of the ideas lie apart. That is what is to be "
        "explained: if ideas differ, it holds their worth.",
        2,
        LUCKS["worth-of-ideas"],
    ),
    Mistake(
        "degrees-of-freedom",
        "Σ r² is divided by another number than (m − 1)(n − 1): means of ideas and of seeds have "
        "been taken out.",
        2,
        LUCKS["degrees-of-freedom"],
        tolerance=1e-3,
    ),
    Mistake(
        "no-root-n",
        "The luck of a single run was taken. Means over n seeds vary √n times less.",
        2,
        LUCKS["no-root-n"],
    ),
    Mistake("n-for-root", "It divides by n, where √n belongs.", 2, LUCKS["n-for-root"]),
    Mistake(
        "best-of-seeds",
        "It is c of the number of seeds. Nobody chose a seed: the best of m ideas was chosen.",
        3,
        LUCKS["best-of-seeds"],
    ),
    Mistake(
        "best-of-runs",
        "It is c of the number of all runs. Chosen was among m means.",
        3,
        LUCKS["best-of-runs"],
    ),
    Mistake(
        "no-constant",
        "It is one standard deviation of a mean. The largest of m is expected c_m of them above.",
        3,
        LUCKS["no-constant"],
    ),
)


def case(title, ideas, seeds, seed):
    """The best run is none of the best idea's, and known mistakes give answers of their own.

    For a few pairs of numbers (4 and 3, say) two slips always agree: these never come to an end.
    """
    rng = np.random.default_rng(seed)
    for _ in range(10_000):
        luck = 0.02 * rng.standard_normal(seeds)
        gains = 0.004 * rng.standard_normal((ideas, 1))
        accuracy = 0.6 + gains + luck + 0.01 * rng.standard_normal((ideas, seeds))
        if _best_run(accuracy) != accuracy.mean(1).argmax() and _tells_all_apart(accuracy):
            return Case(title, ({"accuracy": accuracy},))
    raise ValueError(f"{title}: no such case among 10,000 draws; ask for other sizes")


def _best_run(accuracy):
    return accuracy.max(1).argmax()


def _tells_all_apart(accuracy):
    """Whether slips with different names, and the right answer, give different lucks."""

    def luck(slip):
        return float(slip({"accuracy": accuracy})[2])

    lucks = [("", luck(lucky))]
    lucks += [(id, luck(slip)) for id, slips in LUCKS.items() for slip in slips]
    pairs = [(one, other) for (a, one), (b, other) in combinations(lucks, 2) if a != b]
    spreads = [luck(slip) for id in ("lucky-seeds", "worth-of-ideas") for slip in LUCKS[id]]
    pairs += product(spreads, map(luck, (*OTHER_CONSTANTS, M_FOR_N, SQUARED)))
    return all(abs(one - other) > 0.012 * max(one, other) for one, other in pairs)


VISIBLE = (
    case("six ideas, three seeds", 6, 3, 421),
    case("ten ideas, five seeds", 10, 5, 422),
    case("three ideas, eight seeds", 3, 8, 423),
    case("twenty ideas, four seeds", 20, 4, 424),
)


QUESTION = Question(
    id="lucky-idea",
    function="lucky_best",
    signature="lucky_best(accuracy)",
    lesson="07",
    points=4,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="any way to integrate, a million draws in place of the integral, loops, numpy, "
    "float64",
    first_hints={"luck": 2},
)
