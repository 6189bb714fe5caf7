"""Lesson 06: the part of a gap that is closed, where the gap is uncertain itself."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Diagnosis, Question
from minivit.checks.questions.paired_gain import quantile

STATEMENT = """\
"The method closes this part of the gap": (method − plain) / (pretrained − plain). The lesson took
it for each seed, and an interval of these fractions. But a fraction of two noisy numbers has no
good mean: a seed with a small gap by chance counts most. There is a better way, and you have all
that it takes.

`plain`, `method`, `pretrained` have shape (seeds,): accuracies, in the same order of seeds. Say
that the method closes the part f of the gap. Then (method − plain) − f · (pretrained − plain) is 0
on average. So ask a *paired interval* about every f, as in lesson 05: f is believable as long as
the 95 % interval of these differences holds 0, that is, |mean| ≤ t · std / √n, with t the quantile
that leaves 2.5 % on either side with n − 1 degrees of freedom, and std that of the n differences
for this f, with n − 1 in it.

Return a tuple `(f, low, high)`: the f for which the mean is 0, and the smallest and the
largest f that are believable, all to three digits behind the point or better. (They may lie below 0
or above 1, even below −1. You may count on a gap whose own interval does not hold 0. Without that
there are no two ends.)

**Usual trap.** The std depends on f, too. So the interval isn't f ± something: it reaches further
on one side than on the other.
"""

HINTS = (
    "Let a = method − plain and g = pretrained − plain, both (seeds,). The mean is ā − f ḡ, so the "
    "first answer is the quotient of two means. It is not the mean of the quotients.",
    "At both ends mean² = t² std² / n. Left: (ā − f ḡ)². On the right, the variance of a − f g is "
    "Var a − 2 f Cov(a, g) + f² Var g. That is a quadratic equation for f.",
    "With c = t² / n: (ḡ² − c Var g) f² − 2 (ā ḡ − c Cov) f + (ā² − c Var a) = 0. "
    "torch.cov(torch.stack([a, g])) has Var a, Cov and Var g. The two roots are low and high.",
)


def ends(mean, cov, c):
    """low, high where mean = (ā, ḡ), cov the 2 × 2 matrix, and c = t² / n."""
    (A, B), (_, D) = np.outer(mean, mean) - c * cov
    # A − 2 B f + D f² = 0. Inputs of a wrong answer may leave no root: not a number then.
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(B**2 - A * D)
    return (B - spread) / D, (B + spread) / D


def case(title, seeds, seed, *, fraction, gap=0.1, unsure=(0.3, 0.6)):
    """unsure: between which ends the half-width of the gap's interval lies, as a share of it."""
    rng = np.random.default_rng(seed)
    levels = 0.4 + gap * np.array([[0.0], [fraction], [1.0]])
    t = quantile(0.975, seeds - 1)
    spread = sum(unsure) / 2 * gap * (seeds / 2) ** 0.5 / t  # of one run within its seed
    for _ in range(10_000):
        luck = 0.03 * rng.standard_normal(seeds)
        plain, method, pretrained = levels + luck + spread * rng.standard_normal((3, seeds))
        gaps = pretrained - plain
        share = t * gaps.std(ddof=1) / seeds**0.5 / gaps.mean()
        both = np.stack([method - plain, gaps])
        known = np.isfinite(ends(both.mean(1), np.cov(both), t**2)).all()  # a slip has ends, too
        if unsure[0] < share < unsure[1] and gaps.min() > 0.2 * gap and known:
            return Case(title, ({"plain": plain, "method": method, "pretrained": pretrained},))
    raise ValueError(f"{title}: no such case among 10,000 draws; ask for other sizes")


VISIBLE = (
    case("five seeds, about half of the gap", 5, 341, fraction=0.5),
    case("three seeds, a tenth", 3, 342, fraction=0.1),
    case("four seeds, worse than plain", 4, 343, fraction=-0.4),
    case("eight seeds, a small gap", 8, 344, fraction=0.7, gap=0.03),
)


def differences(arguments):
    plain = arguments["plain"]
    return np.stack([arguments["method"] - plain, arguments["pretrained"] - plain])


def closed(
    arguments,
    *,
    of=differences,
    factor=lambda n: quantile(0.975, n - 1),
    change=lambda cov: cov,
    over=lambda n: n,
    ddof=1,
):
    """The three numbers. The keywords let mistakes in."""
    both = of(arguments)
    n, mean, cov = both.shape[1], both.mean(1), change(np.cov(both, ddof=ddof))
    low, high = ends(mean, cov, factor(n) ** 2 / over(n))
    return np.array(mean[0] / mean[1]), np.array(low), np.array(high)


ANSWER = Fixed(closed, ("f", "low", "high"), tolerance=2e-3, floor=0.5)


def _with(**slips):
    return lambda arguments: closed(arguments, **slips)


def _symmetric(spread, centre=lambda a, g: a.mean() / g.mean()):
    """centre ± t · spread / √n."""

    def wrong(arguments):
        a, g = differences(arguments)
        middle = centre(a, g)
        half = quantile(0.975, len(a) - 1) * spread(a, g) / len(a) ** 0.5
        return np.array(middle), np.array(middle - half), np.array(middle + half)

    return wrong


def _each(a, g):
    return (a / g).mean()


def _mean_first(arguments):
    """The right ends, around the mean of the fractions."""
    a, g = differences(arguments)
    return np.array((a / g).mean()), *closed(arguments)[1:]


def _own_spread(a, g):
    return (a - a.mean() / g.mean() * g).std(ddof=1) / g.mean()


def _end_by_end(crossed):
    """Ends of the numerator's interval divided by those of the gap's: all, or low by high alone."""

    def wrong(arguments):
        numbers = differences(arguments)
        mean, n = numbers.mean(1), numbers.shape[1]
        half = quantile(0.975, n - 1) * numbers.std(1, ddof=1) / n**0.5
        (low, bottom), (high, top) = mean - half, mean + half
        quotients = [low / top, high / bottom] + [low / bottom, high / top] * (not crossed)
        ends = quotients if crossed else (min(quotients), max(quotients))
        return np.array(mean[0] / mean[1]), *map(np.array, ends)

    return wrong


def _from_method(arguments):
    """The rest of the gap as its whole: pretrained − method below the line."""
    plain, method, pretrained = (arguments[name] for name in ("plain", "method", "pretrained"))
    return np.stack([method - plain, pretrained - method])


def _left_open(arguments):
    plain, method, pretrained = (arguments[name] for name in ("plain", "method", "pretrained"))
    return np.stack([pretrained - method, pretrained - plain])


def _sorted(arguments):
    return differences({name: np.sort(each) for name, each in arguments.items()})


def _middle(arguments):
    _, low, high = closed(arguments)
    return (low + high) / 2, low, high


def _cut(arguments):
    f, *ends = closed(arguments)
    return f, *(np.array(each.clip(0, 1)) for each in ends)


def _nearly(case, results):
    numbers = [array.values for array in results[0].returned]
    return bool(np.abs(np.subtract(numbers, closed(case.calls[0]))).max() < 0.03)


SAYS = "All three are near. If you search for the ends, take finer steps."
ROUGH = Diagnosis("rough-search", SAYS, 2, _nearly, ("f", "low", "high"))  # asked last
MISTAKES = ANSWER.diagnoses(
    Mistake(
        "sorted",
        "The accuracies were sorted, each tensor by itself. Those of one seed belong together.",
        1,
        _with(of=_sorted),
        tolerance=1e-4,
    ),
    Mistake(
        "fractions",
        "It is the lesson's: a fraction for each seed, their mean, their interval. Here the two "
        "differences are averaged before they are divided.",
        1,
        (_symmetric(lambda a, g: (a / g).std(ddof=1), _each), _mean_first),
    ),
    Mistake(
        "gap-for-certain",
        "It takes the gap for certain: the interval of method − plain, divided by the mean gap.",
        2,
        _symmetric(lambda a, g: a.std(ddof=1) / g.mean()),
    ),
    Mistake(
        "same-std",
        "The std is that of one f, the first answer, for all f. It changes with f, so the interval "
        "isn't even on both sides.",
        2,
        _symmetric(_own_spread),
    ),
    Mistake(
        "end-by-end",
        "Ends of one interval are divided by ends of the other. Numerator and gap share their "
        "seeds, and both at their worst at once is not what the 95 % are about.",
        2,
        (_end_by_end(crossed=False), _end_by_end(crossed=True)),
    ),
    Mistake(
        "not-paired",
        "The covariance is missing: it takes method − plain and pretrained − plain for "
        "independent. A lucky plain run makes both smaller.",
        3,
        _with(change=lambda cov: cov * np.eye(2)),
    ),
    Mistake(
        "normal-quantile",
        "Its quantile is that of the normal distribution, 1.96. With so few seeds the spread is "
        "not known that well.",
        2,
        _with(factor=lambda n: 1.96),
    ),
    Mistake(
        "degrees-of-freedom",
        "t is taken with other degrees of freedom than n − 1: of n differences, one goes into the "
        "mean.",
        2,
        (
            _with(factor=lambda n: quantile(0.975, n)),
            _with(factor=lambda n: quantile(0.975, max(n - 2, 1))),
            _with(factor=lambda n: quantile(0.975, 2 * n - 2)),
        ),
        tolerance=1e-4,
    ),
    Mistake(
        "one-sided",
        "t leaves 5 % on one side. It should leave 2.5 % on either side.",
        2,
        _with(factor=lambda n: quantile(0.95, n - 1)),
    ),
    Mistake(
        "cut",
        "The ends were cut to 0 … 1. A method may do harm, or more than pretraining.",
        2,
        _cut,
        tolerance=1e-4,
    ),
    Mistake(
        "no-root-n",
        "The spread of single differences was taken. Their mean varies √n times less.",
        2,
        _with(over=lambda n: 1.0),
    ),
    Mistake("n-in-std", "The std has n in it, not n − 1.", 2, _with(ddof=0)),
    Mistake(
        "rest-for-whole",
        "Below the line stands pretrained − method, what is left of the gap, not the gap.",
        1,
        _with(of=_from_method),
    ),
    Mistake(
        "left-open",
        "It is the part of the gap that is left open. What is asked for is the part closed.",
        1,
        _with(of=_left_open),
    ),
    Mistake(
        "percent", "The numbers are in percent.", 1, altered(closed, lambda each, a: 100 * each)
    ),
    ANSWER.other_order(3),
    Mistake(
        "middle",
        "f is the middle of the interval. It reaches further on one side than on the other.",
        1,
        _middle,
    ),
)
MISTAKES += (ROUGH,)


QUESTION = Question(
    id="gap-closed",
    function="gap_closed",
    signature="gap_closed(plain, method, pretrained)",
    lesson="06",
    points=4,
    minutes=30,
    difficulty=4,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="the quadratic formula, a search for both ends, loops, numpy, float64",
    first_hints={"low": 2, "high": 2},
    withheld=("records.summarise", "records.paired_difference", "evidence.contrast"),
)
