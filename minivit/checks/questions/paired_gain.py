"""Lesson 05: a paired interval, from runs that came in any order."""

from dataclasses import replace

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
Two arms were trained with several seeds each. The runs finished in any order, and some are missing.
By how much is arm A above arm B, and how sure is that?

`seeds_a` and `accuracy_a` have shape (runs of A,): the seed of each run and its accuracy; `seeds_b`
and `accuracy_b` are the same for B. All four hold floats. No seed comes twice in one arm. Use the
seeds that both arms have, and no others. Return a tuple `(mean, low, high)`: the mean of the
differences A − B within each seed, and the ends of their 95 % interval, mean ± t · std / √n, where
n counts the pairs and t is the quantile that leaves 2.5 % on either side with n − 1 degrees of
freedom. Four digits behind the point will do, or more.

**Usual trap.** The first run of A and the first run of B need not have the same seed.
"""

HINTS = (
    "Two runs belong together when their seeds are equal. seeds_a[:, None] == seeds_b has shape "
    "(runs of A, runs of B), and is True where they do.",
    "std is that of the differences, with n − 1 in it, as torch's std has it. The mean of n of "
    "them varies √n times less.",
    "from scipy import stats, then stats.t.ppf(0.975, n - 1): with few seeds it is well above "
    "1.96.",
)


def case(title, both, only_a, only_b, seed, *, gain=0.02):
    """both, only_a, only_b: how many seeds. Lucky seeds are lucky for both arms."""
    rng = np.random.default_rng(seed)
    seeds = rng.choice(40, size=both + only_a + only_b, replace=False)
    luck = 0.03 * rng.standard_normal(len(seeds))
    noise = 0.008 * rng.standard_normal((2, len(seeds)))
    accuracy = 0.55 + luck + np.array([[gain], [0.0]]) + noise
    of_a = rng.permutation(both + only_a)
    of_b = rng.permutation(np.r_[:both, both + only_a : len(seeds)])
    if both > 1:  # in no case do the orders agree
        while len(of_a) == len(of_b) and np.array_equal(of_a, of_b):
            of_b = rng.permutation(of_b)
    arguments = {
        "seeds_a": seeds[of_a].astype(float),
        "accuracy_a": accuracy[0, of_a],
        "seeds_b": seeds[of_b].astype(float),
        "accuracy_b": accuracy[1, of_b],
    }
    return Case(title, (arguments,))


VISIBLE = (
    case("five seeds in both arms", 5, 0, 0, 121),
    case("four seeds, a loss", 4, 0, 0, 122, gain=-0.03),
    case("a run of B is missing", 5, 1, 0, 123),
    case("other runs are missing in either arm", 6, 2, 1, 124),
)


def quantile(part, freedom):
    """Of Student's t, as scipy.stats' t.ppf, which takes a second to import."""
    from scipy.special import stdtrit

    return stdtrit(freedom, part)


def pairs(arguments):
    a, b = (
        dict(zip(arguments[f"seeds_{arm}"], arguments[f"accuracy_{arm}"], strict=True))
        for arm in "ab"
    )
    return np.array([[a[seed], b[seed]] for seed in sorted(a.keys() & b.keys())]).T


def interval(
    arguments,
    *,
    spread=lambda a, b: (a - b).std(ddof=1),
    factor=lambda n: quantile(0.975, n - 1),
    root=np.sqrt,
    match=pairs,
    count=len,
):
    """The three numbers. The keywords let mistakes in."""
    a, b = match(arguments)
    mean = (a - b).mean()
    n = count(a)
    half = factor(n) * spread(a, b) / root(n)
    return np.array(mean), np.array(mean - half), np.array(mean + half)


ANSWER = Fixed(interval, ("mean", "low", "high"), tolerance=3e-3, floor=2e-2)
EXACT = replace(ANSWER, tolerance=3e-4)  # some mistakes are nearer to each other than that


def _with(**slips):
    return lambda arguments: interval(arguments, **slips)


def _by_place(arguments):
    """The runs paired as they stand."""
    n = min(len(arguments["seeds_a"]), len(arguments["seeds_b"]))
    return arguments["accuracy_a"][:n], arguments["accuracy_b"][:n]


def _sorted_places(arguments):
    """The runs sorted by seed, then paired as they stand: the missing ones shift the rest."""
    a, b = (arguments[f"accuracy_{arm}"][np.argsort(arguments[f"seeds_{arm}"])] for arm in "ab")
    n = min(len(a), len(b))
    return a[:n], b[:n]


def _of_all(arguments):
    """Means over all runs of each arm, those without a partner too, and an unpaired interval."""
    a, b = arguments["accuracy_a"], arguments["accuracy_b"]
    mean = a.mean() - b.mean()
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    half = quantile(0.975, len(a) + len(b) - 2) * error
    return np.array(mean), np.array(mean - half), np.array(mean + half)


def _runs_counted(*arms):
    """n is how many runs these arms have, with a partner or without."""
    return lambda arguments: interval(
        arguments, count=lambda a: sum(len(arguments[f"seeds_{arm}"]) for arm in arms)
    )


def _mean_of_all(arguments):
    """The means of all runs of each arm, and the half-width of the pairs."""
    mean, low, high = interval(arguments)
    apart = arguments["accuracy_a"].mean() - arguments["accuracy_b"].mean()
    return np.array(apart), low - mean + apart, high - mean + apart


def _unpaired(a, b):
    return np.sqrt(a.var(ddof=1) + b.var(ddof=1))


MISTAKES = EXACT.diagnoses(
    Mistake(
        "by-place",
        "Runs are paired by their place in the list, not by their seed.",
        1,
        (_with(match=_by_place), _with(match=_sorted_places)),
    ),
    Mistake(
        "not-paired",
        "It is the interval of two independent groups. Take differences within seeds, and their "
        "own spread, which is smaller here: a lucky seed is lucky for both arms.",
        2,
        (
            _with(spread=_unpaired),
            _with(spread=_unpaired, factor=lambda n: quantile(0.975, 2 * n - 2)),
            _of_all,
        ),
    ),
    Mistake(
        "normal-quantile",
        "Its quantile is that of the normal distribution, 1.96. With so few seeds the spread is "
        "not known that well.",
        3,
        _with(factor=lambda n: 1.96),
    ),
    Mistake(
        "one-sided",
        "Its quantile leaves 5 % on either side. That is a 90 % interval.",
        3,
        _with(factor=lambda n: quantile(0.95, n - 1)),
    ),
    Mistake(
        "degrees-of-freedom",
        "t has a degree of freedom too many. It has n − 1, and n counts the pairs.",
        3,
        _with(factor=lambda n: quantile(0.975, n)),
    ),
    Mistake(
        "runs-for-pairs",
        "n counts the runs of an arm, or of both. A run without a partner makes no difference: n "
        "is how many pairs there are.",
        1,
        (_runs_counted("a"), _runs_counted("b"), _runs_counted("a", "b")),
    ),
    Mistake(
        "mean-of-all",
        "The mean takes in runs without a partner. Take the mean of the differences, one for each "
        "seed that both arms have.",
        1,
        _mean_of_all,
    ),
    Mistake(
        "variance",
        "The variance stands where the standard deviation, its root, belongs.",
        2,
        _with(spread=lambda a, b: (a - b).var(ddof=1)),
    ),
    Mistake(
        "n-less-one-twice",
        "It divides by √(n − 1). The n − 1 is in std already, and the mean is one of n.",
        2,
        _with(root=lambda n: np.sqrt(n - 1)),
    ),
    Mistake(
        "no-root-n",
        "The spread of single differences was taken. Their mean varies √n times less.",
        2,
        _with(root=lambda n: 1.0),
    ),
    Mistake("n-for-root", "It divides by n, where √n belongs.", 2, _with(root=lambda n: n)),
    Mistake(
        "n-in-std",
        "The standard deviation has n in it, not n − 1 (numpy's std does that).",
        2,
        _with(spread=lambda a, b: (a - b).std()),
    ),
    Mistake(
        "no-quantile",
        "Its half-width is one standard error. The quantile t is missing.",
        3,
        _with(factor=lambda n: 1.0),
    ),
    Mistake(
        "reversed",
        "Yours is B − A; asked for is A − B.",
        1,
        lambda a: tuple(-each for each in (interval(a)[0], interval(a)[2], interval(a)[1])),
    ),
    Mistake(
        "percent",
        "The numbers are in percentage points. Accuracies came in as fractions.",
        1,
        altered(interval, lambda each, a: 100 * each),
    ),
    ANSWER.other_order(2),
)
MISTAKES = (ANSWER.rounded(), *MISTAKES)


QUESTION = Question(
    id="paired-gain",
    function="paired_gain",
    signature="paired_gain(seeds_a, accuracy_a, seeds_b, accuracy_b)",
    lesson="05",
    points=4,
    minutes=20,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="numbers or tensors, dictionaries, loops, scipy's test of paired samples, float64",
    withheld=("records.summarise", "evidence.contrast"),
)
