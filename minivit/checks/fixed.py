"""Questions whose answer follows from the arguments: one target, and known ways to miss it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from minivit.checks.measures import close, returned, untouched
from minivit.checks.question import Diagnosis, Finding

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Mistake:
    """A known mistake: `wrong(arguments)` is what it returns in place of the target.

    wrong may be several functions, any of which will do. tolerance: Fixed's own by default.
    whole: what the mistake leaves right has to be right, since the message says so.
    """

    id: str
    says: str
    hint: int
    wrong: Callable[[dict], Arrays] | tuple[Callable[[dict], Arrays], ...]
    tolerance: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Fixed:
    """Judge and diagnoses of a question whose answer is one array for each of `names`.

    target(arguments) → these arrays. axis: what their first axis counts ("head"), for messages; it
    is judged item by item then. An entry may be off by `tolerance` times the largest of the target,
    or of `floor` where that is larger. seen(arguments, *arrays) → the arrays that are compared, for
    `sights`, where an answer is free in some way; by default they are those that came back.
    """

    target: Callable[[dict], Arrays]
    names: tuple[str, ...]
    axis: str = ""
    tolerance: float = 1e-4
    floor: float = 1e-12
    seen: Callable[..., Arrays] = lambda arguments, *arrays: arrays
    sights: tuple[str, ...] = ()

    def judge(self, case, results):
        for arguments, result in zip(case.calls, results, strict=True):
            finding = self._of_call(arguments, result)
            if finding:
                return finding
        return None

    def _of_call(self, arguments, result):
        targets = self.target(arguments)
        shapes = [target.shape for target in targets]
        finding = returned((result,), len(targets), shapes, self.names)
        finding = finding or untouched(arguments, result)
        if finding:
            return finding
        own, wanted = self._seen(arguments, _values(result)), self._seen(arguments, targets)
        triples = zip(self.sights or self.names, own, wanted, strict=True)
        found = (self._compare(*triple) for triple in triples)
        return next((finding for finding in found if finding), None)

    def other_order(self, hint):
        """The mistake of returning the right arrays in another order."""
        orders = list(permutations(range(len(self.names))))[1:]
        says = "All of it is right, and in another order. Asked for are, in this order: "
        wrongs = tuple(
            lambda arguments, order=order: tuple(self.target(arguments)[each] for each in order)
            for order in orders
        )
        return Mistake("other-order", f"{says}{', '.join(self.names)}.", hint, wrongs, whole=True)

    def rounded(self):
        """The Diagnosis of an answer that may be right and rounded. To be asked before others."""
        says = "It is as near to the right answer as rounding would leave it. If you round, return "
        says += "the numbers as they were computed; if not, something is a little off."
        return Diagnosis("rounded", says, None, self._is_rounded, self.names)

    def _is_rounded(self, case, results):
        both = [
            (own, wanted)
            for arguments, result in zip(case.calls, results, strict=True)
            for own, wanted in zip(_values(result), self.target(arguments), strict=True)
        ]
        whole = [pair for pair in both if pair[1].dtype.kind == "i"]
        rest = [pair for pair in both if pair[1].dtype.kind != "i"]
        return all(np.array_equal(*pair) for pair in whole) and any(
            _is_grid(rest, step) for step in 10.0 ** -np.arange(1, 7)
        )

    def diagnoses(self, *mistakes):
        """A Diagnosis for each Mistake, asked in this order."""
        return tuple(
            Diagnosis(each.id, each.says, each.hint, self._matches(each), self.sights or self.names)
            for each in mistakes
        )

    def _seen(self, arguments, arrays):
        return self.seen(arguments, *arrays)

    def _compare(self, name, mine, target):
        items = zip(mine, target, strict=True) if self.axis else [(mine, target)]
        for number, (own, wanted) in enumerate(items):
            if not close(own, wanted, self.tolerance, self.floor):
                where = f"{self.axis} {number}: " if self.axis else ""
                square = own.ndim == 2 and own.shape[0] == own.shape[1] > 1
                picture = {"mine": own, "target": wanted} if square else {}
                return Finding(name, where + self._gap(own, wanted), **picture)
        return None

    def _gap(self, mine, target):
        """The entry that is furthest off, and how many are."""
        gaps = np.abs(mine - target)
        at = np.unravel_index(np.argmax(gaps), gaps.shape)
        shown = "g" if target.dtype.kind == "i" else "+.4g"  # an index has no sign
        text = f"{mine[at]:{shown}}, target {target[at]:{shown}}"
        if mine.size == 1:
            return text
        allowed = self.tolerance * max(np.abs(target).max(), self.floor)
        place = ", ".join(str(index) for index in at)
        count = int((gaps > allowed).sum())
        return f"{count} of {mine.size} entries are off, most at [{place}]: {text}"

    def _matches(self, mistake):
        wrongs = mistake.wrong if isinstance(mistake.wrong, tuple) else (mistake.wrong,)
        tolerance = self.tolerance if mistake.tolerance is None else mistake.tolerance
        return lambda case, results: any(
            self._explains(wrong, tolerance, mistake.whole, case, results) for wrong in wrongs
        )

    def _explains(self, wrong, tolerance, whole, case, results):
        """Does the answer equal the mistake in each array that the mistake changes?

        The other arrays may be wrong for a reason of their own, unless it is the whole that counts.
        """
        seen = False
        for arguments, result in zip(case.calls, results, strict=True):
            arrays = _values(result), wrong(arguments), self.target(arguments)
            parts = zip(*(self._seen(arguments, each) for each in arrays), strict=True)
            for own, missed, target in parts:
                differs = not self._alike(missed, target, self.tolerance)
                seen = seen or differs
                if (differs or whole) and not self._alike(own, missed, tolerance):
                    return False
        return seen

    def _alike(self, mine, target, tolerance):
        """Item by item where the judge looks at items: a small one must not hide in a large one."""
        if not self.axis or mine.shape != target.shape:
            return close(mine, target, tolerance, self.floor)
        items = zip(mine, target, strict=True)
        return all(close(own, wanted, tolerance, self.floor) for own, wanted in items)


def _is_grid(pairs, step):
    """Whether all first are the second, rounded to multiples of `step`, and two digits are left."""
    largest = max((np.abs(own).max(initial=0) for own, _ in pairs), default=0)
    off = min(1e-2, 1e-4 + largest / step * np.finfo(np.float32).eps)  # the answer may be float32
    return largest >= 10 * step and all(
        own.shape == wanted.shape
        and np.abs(own / step - np.round(own / step)).max(initial=0) < off
        and np.abs(own - wanted).max(initial=0) <= 0.51 * step
        for own, wanted in pairs
    )


def _values(result):
    return tuple(array.values for array in result.returned)


def changed(target, **changes):
    """The mistake of changing some of the arguments first: name → function of all arguments."""
    return lambda arguments: target(
        {**arguments, **{name: change(arguments) for name, change in changes.items()}}
    )


def altered(target, alter, *which):
    """The mistake of changing the result: alter(array, arguments), in the arrays numbered `which`.

    All of them where no number is given.
    """

    def wrong(arguments):
        arrays = target(arguments)
        chosen = which or range(len(arrays))
        return tuple(
            alter(array, arguments) if number in chosen else array
            for number, array in enumerate(arrays)
        )

    return wrong
