"""Key of ledger-shares."""

from functools import partial
from itertools import combinations, permutations
from math import factorial

import numpy as np
import torch

from minivit.checks.questions.ledger_shares import QUESTION, case
from teaching.keys.key import Key, Mutant


def mean_changes(gains):
    n = gains.ndim
    total = torch.zeros(n)
    orders = list(permutations(range(n)))
    for order in orders:
        kept = [0] * n
        for rule in order:
            before = gains[tuple(kept)]
            kept[rule] = 1
            total[rule] += gains[tuple(kept)] - before
    return total / len(orders)


# Correct, and different.


def by_sets(gains):
    """Each set of other rules, by the number of orders in which it comes just before the rule."""
    n = gains.ndim
    answer = []
    for rule in range(n):
        others = [each for each in range(n) if each != rule]
        worth = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - 1 - size) / factorial(n)
            for chosen in combinations(others, size):
                kept = [int(each in chosen) for each in range(n)]
                before = gains[tuple(kept)].item()
                kept[rule] = 1
                worth += weight * (gains[tuple(kept)].item() - before)
        answer.append(worth)
    return torch.tensor(answer)


def in_numpy(gains):
    levels = gains.numpy().astype(np.float64)
    n = levels.ndim
    orders = np.array(list(permutations(range(n))))
    found = np.zeros((len(orders), n))
    for row, order in enumerate(orders):
        steps = [
            levels[tuple(np.isin(range(n), order[:size]).astype(int))] for size in range(n + 1)
        ]
        found[row, order] = np.diff(steps)
    return found.mean(0)


def by_recursion(gains):
    """The last rule to join is each of them with the same chance; the others as if alone."""
    gains = gains.double()

    def shares(levels):
        n = levels.ndim
        if n == 1:
            return levels[1:] - levels[:1]
        answer = torch.zeros(n, dtype=torch.float64)
        for last in range(n):
            rest = [each for each in range(n) if each != last]
            answer[rest] += shares(levels.select(last, 0)) / n
            without = tuple(0 if each == last else 1 for each in range(n))
            answer[last] += (levels[(1,) * n] - levels[without]) / n
        return answer

    return shares(gains)


# Wrong.


def over(gains, *, orders, finish=lambda changes: changes.mean(0)):
    """The reference over other orders."""
    found = []
    for order in orders(gains.ndim):
        kept, row = [0] * gains.ndim, [0.0] * gains.ndim
        for rule in order:
            before = gains[tuple(kept)]
            kept[rule] = 1
            row[rule] = gains[tuple(kept)] - before
        found.append(row)
    return finish(torch.tensor(found))


def all_orders(n):
    return permutations(range(n))


def both_ways(n):
    return [range(n), range(n)[::-1]]


def cycles(n):
    return [[(start + step) % n for step in range(n)] for start in range(n)]


def joining_first(gains):
    n = gains.ndim
    return torch.stack([gains[tuple(row)] for row in torch.eye(n).int()]) - gains[(0,) * n]


def joining_last(gains):
    n = gains.ndim
    return gains[(1,) * n] - torch.stack([gains[tuple(row)] for row in 1 - torch.eye(n).int()])


def first_and_last(gains):
    return (joining_first(gains) + joining_last(gains)) / 2


def every_set_once(gains):
    return torch.stack([gains.diff(dim=rule).mean() for rule in range(gains.ndim)])


def by_place(gains):
    n = gains.ndim
    rows = over(gains, orders=all_orders, finish=lambda changes: changes)
    return rows.gather(1, torch.tensor(list(permutations(range(n))))).mean(0)


def zeros_for_ones(gains):
    """As if 0 stood for a rule that is kept."""
    return mean_changes(gains.flip(tuple(range(gains.ndim))))


def since_none(gains):
    n = gains.ndim
    found, orders = torch.zeros(n), list(permutations(range(n)))
    for order in orders:
        kept = [0] * n
        before = gains[tuple(kept)]
        for rule in order:
            kept[rule] = 1
            found[rule] += (gains[tuple(kept)] - before) / len(orders)
    return found


def not_begun_anew(gains):
    n = gains.ndim
    kept, found, orders = [0] * n, torch.zeros(n), list(permutations(range(n)))
    for order in orders:
        for rule in order:
            before = gains[tuple(kept)]
            kept[rule] = 1
            found[rule] += (gains[tuple(kept)] - before) / len(orders)
    return found


def as_a_table(gains):
    """The changes of every order, no mean."""
    return over(gains, orders=all_orders, finish=lambda changes: changes)


def in_place(gains):
    answer = mean_changes(gains)
    gains -= gains[(0,) * gains.ndim].item()
    return answer


def hidden(rng):
    cases = []
    for rules in (3, 3, 4):
        cases.append(case(f"{rules} rules", rules, int(rng.integers(2**32))))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=mean_changes,
    hidden=hidden,
    alternatives={
        "sets, weighted by how often they come first": by_sets,
        "numpy, float64": in_numpy,
        "recursion over the last rule": by_recursion,
    },
    mutants=(
        Mutant("one order", partial(over, orders=lambda n: [range(n)]), "one-order"),
        Mutant(
            "one order, backwards", partial(over, orders=lambda n: [range(n)[::-1]]), "one-order"
        ),
        Mutant("forwards and backwards", partial(over, orders=both_ways), "two-orders"),
        Mutant("orders that go round", partial(over, orders=cycles), "two-orders"),
        Mutant("each rule joins first", joining_first, "alone"),
        Mutant("each rule joins last", joining_last, "last"),
        Mutant("the mean of first and last", first_and_last, "first-and-last"),
        Mutant("every set once", every_set_once, "all-sets"),
        Mutant(
            "before minus after",
            partial(over, orders=all_orders, finish=lambda changes: -changes.mean(0)),
            "reversed",
        ),
        Mutant(
            "divided by their sum",
            partial(over, orders=all_orders, finish=lambda c: c.mean(0) / c.mean(0).sum()),
            "shares-of-one",
        ),
        Mutant(
            "the sum over orders",
            partial(over, orders=all_orders, finish=lambda changes: changes.sum(0)),
            "sum-over-orders",
        ),
        Mutant("kept and left out exchanged", zeros_for_ones, "reversed"),
        Mutant("minus the headline without rules", since_none, "since-none"),
        Mutant(
            "divided by n",
            partial(over, orders=all_orders, finish=lambda c: c.sum(0) / c.shape[1]),
            "sum-over-orders",
        ),
        Mutant("nothing begun anew", not_begun_anew, "not-begun-anew"),
        Mutant("by the place in the order", by_place, "by-place"),
        Mutant("the changes of every order", as_a_table, "shape"),
        Mutant("in place", in_place, "untouched"),
    ),
)
