"""Lesson 07: what each fault is worth, whichever is asked first."""

from itertools import combinations, permutations
from math import factorial

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, Question

STATEMENT = """\
In the lesson's ledger the order of the rules decided who got the blame. Here is a ledger without an
order: let every order have its say, and take the mean.

There are n rules, and `gains` has n axes of length 2: `gains[1, 0, 1]` is the headline where rules
0 and 2 are kept and rule 1 is not. In one order the rules join one after the other, beginning with
none; what a rule is worth *in this order* is the headline after it joined minus the headline just
before. Return the mean of it over all n! orders, shape (n,): entry i belongs to rule i.

**Usual trap.** Forwards and backwards are two orders out of n!, and there are more than two as soon
as there are three rules.
"""

HINTS = (
    "One order first. Begin with kept = [0] * n and walk through the order: gains[tuple(kept)] is "
    "the headline, kept[rule] = 1 lets a rule join.",
    "itertools.permutations(range(n)) has all orders. Add up after − before for each rule, over "
    "all orders, and divide by how many there are.",
    "The changes are negative where a rule takes something away. Their sum is gains[1, …, 1] − "
    "gains[0, …, 0] in every order, so it has to be that for your means, too.",
)


def changes(gains, order):
    """What each rule changes in one order, (n,)."""
    kept, found = [0] * gains.ndim, np.zeros(gains.ndim)
    for rule in order:
        before = gains[tuple(kept)]
        kept[rule] = 1
        found[rule] = gains[tuple(kept)] - before
    return found


def over(gains, orders):
    return np.mean([changes(gains, order) for order in orders], 0)


def every_order(gains):
    return over(gains, permutations(range(gains.ndim)))


def _forward(gains):
    return over(gains, [range(gains.ndim)])


def _backward(gains):
    return over(gains, [range(gains.ndim)[::-1]])


def _alone(gains):
    """Each rule as the first one."""
    n = gains.ndim
    return np.array([gains[tuple(np.eye(n, dtype=int)[i])] for i in range(n)]) - gains[(0,) * n]


def _last(gains):
    n = gains.ndim
    return gains[(1,) * n] - np.array([gains[tuple(1 - np.eye(n, dtype=int)[i])] for i in range(n)])


def _cycles(gains):
    n = gains.ndim
    return over(gains, [[*range(i, n), *range(i)] for i in range(n)])


def _by_place(gains):
    """What the first rule to join changes, then the second, whichever they are."""
    orders = list(permutations(range(gains.ndim)))
    return np.mean([changes(gains, order)[list(order)] for order in orders], 0)


def _since_none(gains):
    """What has changed since there was no rule, each time that a rule joins."""
    orders = list(permutations(range(gains.ndim)))
    found = np.zeros(gains.ndim)
    for order in orders:
        steps = changes(gains, order)[list(order)]
        found[list(order)] += np.cumsum(steps) / len(orders)
    return found


def _orders(gains):
    return factorial(gains.ndim)


def _half(gains, rule, kept):
    """The mean headline over all sets in which a rule is kept, or is not."""
    return gains.take(kept, rule).mean()


WRONG = {
    "one-order": _forward,
    "one-order, backward": _backward,
    "two-orders": lambda gains: (_forward(gains) + _backward(gains)) / 2,
    "two-orders, cycles": _cycles,
    "alone": _alone,
    "last": _last,
    "first-and-last": lambda gains: (_alone(gains) + _last(gains)) / 2,
    "all-sets": lambda gains: np.array(
        [_half(gains, i, 1) - _half(gains, i, 0) for i in range(gains.ndim)]
    ),
    "reversed": lambda gains: -every_order(gains),
    "shares-of-one": lambda gains: (
        every_order(gains) / (gains[(1,) * gains.ndim] - gains[(0,) * gains.ndim])
    ),
    "since-none": _since_none,
    "by-place": _by_place,
    "sum-over-orders": lambda gains: every_order(gains) * _orders(gains),
    "sum-over-orders, over n": lambda gains: every_order(gains) * _orders(gains) / gains.ndim,
    "not-begun-anew": lambda gains: _forward(gains) / _orders(gains),
}


def headlines(rules, runs, rng):
    """gains of the best among a heap of runs: a rule throws out all that have its fault."""
    faults = rng.random((runs, rules)) < 0.45
    faults[0] = False  # one fair run
    found = 0.02 + 0.02 * faults.sum(1) + 0.06 * rng.random(runs) * faults.any(1)
    gains = np.empty((2,) * rules)
    for kept in np.ndindex(gains.shape):
        gains[kept] = found[~(faults & np.array(kept, bool)).any(1)].max()
    return gains


def case(title, rules, seed):
    """With three rules or more, all known mistakes give answers of their own."""
    rng = np.random.default_rng(seed)
    while True:
        gains = headlines(rules, 5 * rules, rng)
        if rules == 2 or _tells_all_apart(gains):
            return Case(title, ({"gains": gains},))


def _tells_all_apart(gains):
    found = [every_order(gains), *(wrong(gains) for wrong in WRONG.values())]
    return all(np.abs(one - two).max() > 1e-3 for one, two in combinations(found, 2))


VISIBLE = (
    case("two rules", 2, 411),
    case("three rules", 3, 412),
    case("three rules, other runs", 3, 413),
    case("four rules", 4, 414),
)

ANSWER = Fixed(lambda arguments: (every_order(arguments["gains"]),), ("changes",), tolerance=1e-3)


def _mistake(id, says, hint):
    """All slips whose name begins with the id."""
    slips = [wrong for name, wrong in WRONG.items() if name.split(",")[0] == id]
    return Mistake(
        id, says, hint, tuple(lambda a, wrong=wrong: (wrong(a["gains"]),) for wrong in slips)
    )


MISTAKES = ANSWER.diagnoses(
    _mistake("one-order", "It is the ledger of one order, of n!.", 2),
    _mistake("two-orders", "It is the mean over some orders only. There are n!.", 2),
    _mistake(
        "alone",
        "Each rule joins as the first one. That is what it is worth before all others are kept.",
        1,
    ),
    _mistake(
        "last",
        "Each rule joins as the last one. That is what it is worth after all others are kept.",
        1,
    ),
    _mistake(
        "first-and-last",
        "It is the mean of joining first and joining last. A rule may join in between, too.",
        2,
    ),
    _mistake(
        "all-sets",
        "Every *set* of other rules counts once. But some sets come before a rule in more orders "
        "than others: none and all of them in most.",
        2,
    ),
    _mistake(
        "reversed",
        "Signs are turned or lost: it is the headline before minus the one after, or 1 was taken "
        "for a rule that is not kept, or `abs` was.",
        3,
    ),
    _mistake(
        "since-none",
        "It subtracts the headline without any rule, whoever joined before. Read it anew before "
        "each rule joins.",
        1,
    ),
    _mistake(
        "shares-of-one",
        "The answers are divided by their sum. Return the changes themselves.",
        3,
    ),
    _mistake(
        "by-place",
        "Your entry i holds what changes when the i-th rule joins, whichever that is. Asked for is "
        "what rule i changes, wherever it joins.",
        1,
    ),
    _mistake(
        "sum-over-orders",
        "It is the sum over all orders, divided by nothing or by n. There are n! orders.",
        2,
    ),
    _mistake(
        "not-begun-anew",
        "After the first order all rules are kept, and no other one begins with none.",
        1,
    ),
)


QUESTION = Question(
    id="ledger-shares",
    function="mean_changes",
    signature="mean_changes(gains)",
    lesson="07",
    points=3,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="walks through orders, sets weighted by how often they come first, recursion, "
    "float64",
)
