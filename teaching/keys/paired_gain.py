"""Key of paired-gain."""

from functools import partial

import torch
from scipy import stats

from minivit.checks.questions.paired_gain import QUESTION, case
from teaching.keys.key import Key, Mutant


def paired_gain(seeds_a, accuracy_a, seeds_b, accuracy_b):
    a, b = (seeds_a[:, None] == seeds_b).nonzero(as_tuple=True)
    difference = accuracy_a[a] - accuracy_b[b]
    n = len(difference)
    half = stats.t.ppf(0.975, n - 1) * difference.std() / n**0.5
    mean = difference.mean()
    return mean, mean - half, mean + half


# Correct, and different.


def by_dictionaries(seeds_a, accuracy_a, seeds_b, accuracy_b):
    of_b = dict(zip(seeds_b.tolist(), accuracy_b.tolist(), strict=True))
    runs = zip(seeds_a.tolist(), accuracy_a.tolist(), strict=True)
    differences = [accuracy - of_b[seed] for seed, accuracy in runs if seed in of_b]
    n = len(differences)
    mean = sum(differences) / n
    squares = sum((each - mean) ** 2 for each in differences)
    half = stats.t.ppf(0.975, n - 1) * (squares / (n - 1) / n) ** 0.5
    return mean, mean - half, mean + half


def by_scipy(seeds_a, accuracy_a, seeds_b, accuracy_b):
    shared = sorted(set(seeds_a.int().tolist()) & set(seeds_b.int().tolist()))
    a, b = (
        [accuracy[seeds == seed].item() for seed in shared]
        for seeds, accuracy in ((seeds_a, accuracy_a), (seeds_b, accuracy_b))
    )
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    return torch.tensor((low + high) / 2), torch.tensor(low), torch.tensor(high)


def by_sorting(seeds_a, accuracy_a, seeds_b, accuracy_b):
    """Those without a partner left out, both sorted by seed; one tensor's rows as the answer."""
    keep_a, keep_b = torch.isin(seeds_a, seeds_b), torch.isin(seeds_b, seeds_a)
    a = accuracy_a[keep_a][seeds_a[keep_a].argsort()].double()
    b = accuracy_b[keep_b][seeds_b[keep_b].argsort()].double()
    error = (a - b).std() / len(a) ** 0.5
    low, high = stats.t.interval(0.95, len(a) - 1, loc=(a - b).mean().item(), scale=error.item())
    return [(a - b).mean(), low, high]


# Wrong.


def variant(
    seeds_a,
    accuracy_a,
    seeds_b,
    accuracy_b,
    *,
    quantile=lambda n: stats.t.ppf(0.975, n - 1),
    std=lambda a, b: (a - b).std(),
    root=lambda n: n**0.5,
    finish=lambda mean, half: (mean, mean - half, mean + half),
):
    """The reference with one step replaced."""
    order = (seeds_a[:, None] == seeds_b).nonzero(as_tuple=True)
    a, b = accuracy_a[order[0]], accuracy_b[order[1]]
    return finish((a - b).mean(), quantile(len(a)) * std(a, b) / root(len(a)))


def by_place(seeds_a, accuracy_a, seeds_b, accuracy_b):
    n = min(len(seeds_a), len(seeds_b))
    return paired_gain(seeds_a[:n], accuracy_a[:n], seeds_a[:n], accuracy_b[:n])


def two_groups(seeds_a, accuracy_a, seeds_b, accuracy_b):
    n = len(seeds_a) + len(seeds_b)
    mean = accuracy_a.mean() - accuracy_b.mean()
    error = (accuracy_a.var() / len(seeds_a) + accuracy_b.var() / len(seeds_b)).sqrt()
    half = stats.t.ppf(0.975, n - 2) * error
    return mean, mean - half, mean + half


def counting(runs):
    """n is how many runs there are, not how many pairs: runs(seeds_a, seeds_b) → n."""

    def answer(seeds_a, accuracy_a, seeds_b, accuracy_b):
        n, four = runs(seeds_a, seeds_b), (seeds_a, accuracy_a, seeds_b, accuracy_b)
        return variant(*four, quantile=lambda _: stats.t.ppf(0.975, n - 1), root=lambda _: n**0.5)

    return answer


def separate_spreads(a, b):
    return (a.var() + b.var()).sqrt()


def mean_of_all(seeds_a, accuracy_a, seeds_b, accuracy_b):
    mean, low, _ = paired_gain(seeds_a, accuracy_a, seeds_b, accuracy_b)
    apart = accuracy_a.mean() - accuracy_b.mean()
    return apart, apart - (mean - low), apart + (mean - low)


def mean_alone(seeds_a, accuracy_a, seeds_b, accuracy_b):
    return paired_gain(seeds_a, accuracy_a, seeds_b, accuracy_b)[0]


def sorts_its_input(seeds_a, accuracy_a, seeds_b, accuracy_b):
    answer = paired_gain(seeds_a, accuracy_a, seeds_b, accuracy_b)
    accuracy_a.copy_(accuracy_a.sort().values)
    accuracy_b.copy_(accuracy_b.sort().values)
    return answer


def hidden(rng):
    """A few seeds in common, others missing on either side, a gain and a loss."""
    cases = []
    for gain in (0.03, -0.02, float(rng.uniform(0.01, 0.03))):
        both, only_a, only_b = int(rng.integers(3, 7)), int(rng.integers(1, 3)), 1
        title = f"{both} pairs of {both + only_a} and {both + only_b} runs"
        seed = int(rng.integers(2**32))
        cases.append(case(title, both, only_a, only_b, seed, gain=gain))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=paired_gain,
    hidden=hidden,
    alternatives={
        "dictionaries and plain numbers": by_dictionaries,
        "scipy's paired test": by_scipy,
        "sorted, float64": by_sorting,
    },
    mutants=(
        Mutant("paired by place", by_place, "by-place"),
        Mutant("two independent groups", two_groups, "not-paired"),
        Mutant("spreads added up", partial(variant, std=separate_spreads), "not-paired"),
        Mutant("1.96", partial(variant, quantile=lambda n: 1.96), "normal-quantile"),
        Mutant(
            "three decimals",
            partial(
                variant,
                finish=lambda mean, half: [
                    round(float(each), 3) for each in (mean, mean - half, mean + half)
                ],
            ),
            "rounded",
        ),
        Mutant(
            "95 % on one side",
            partial(variant, quantile=lambda n: stats.t.ppf(0.95, n - 1)),
            "one-sided",
        ),
        Mutant(
            "n degrees of freedom",
            partial(variant, quantile=lambda n: stats.t.ppf(0.975, n)),
            "degrees-of-freedom",
        ),
        Mutant("n of arm A", counting(lambda a, b: len(a)), "runs-for-pairs"),
        Mutant("n of both arms", counting(lambda a, b: len(a) + len(b)), "runs-for-pairs"),
        Mutant("no √n", partial(variant, root=lambda n: 1.0), "no-root-n"),
        Mutant("n for √n", partial(variant, root=lambda n: n), "n-for-root"),
        Mutant(
            "n in std", partial(variant, std=lambda a, b: (a - b).std(correction=0)), "n-in-std"
        ),
        Mutant("one standard error", partial(variant, quantile=lambda n: 1.0), "no-quantile"),
        Mutant(
            "B − A",
            partial(variant, finish=lambda mean, half: (-mean, -mean - half, -mean + half)),
            "reversed",
        ),
        Mutant(
            "percentage points",
            partial(
                variant,
                finish=lambda mean, half: (100 * mean, 100 * (mean - half), 100 * (mean + half)),
            ),
            "percent",
        ),
        Mutant(
            "the ends exchanged",
            partial(variant, finish=lambda mean, half: (mean, mean + half, mean - half)),
            "other-order",
        ),
        Mutant(
            "low, mean, high",
            partial(variant, finish=lambda mean, half: (mean - half, mean, mean + half)),
            "other-order",
        ),
        Mutant("the means of all runs", mean_of_all, "mean-of-all"),
        Mutant("a variance", partial(variant, std=lambda a, b: (a - b).var()), "variance"),
        Mutant("√(n − 1)", partial(variant, root=lambda n: (n - 1) ** 0.5), "n-less-one-twice"),
        Mutant("the mean alone", mean_alone, "kind"),
        Mutant("sorts its input", sorts_its_input, "untouched"),
    ),
)
