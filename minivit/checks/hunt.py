"""Bug hunts: one fault of several has to be named, and what it did has to be mended.

An answer is the number of the fault, then the tensors as they were before it happened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Hunt:
    """fault_of(arguments) → its number, 0 where nothing is wrong; names: of the tensors.

    cure(arguments, fault) → the tensors after the treatment of that fault. The methods other than
    `answer` and `given` make known mistakes: functions of the arguments, as `fixed.Mistake` wants.
    """

    fault_of: Callable[[dict], int]
    names: tuple[str, ...]
    cure: Callable[[dict, int], tuple[np.ndarray, ...]]

    def answer(self, arguments):
        fault = self.fault_of(arguments)
        return np.array(fault), *self.cure(arguments, fault)

    def given(self, arguments):
        return tuple(arguments[name] for name in self.names)

    def named_only(self, arguments):
        return np.array(self.fault_of(arguments)), *self.given(arguments)

    def renamed(self, rename):
        """Another number for the fault, everything else right."""
        return lambda a: (np.array(rename(self.fault_of(a))), *self.answer(a)[1:])

    def off_by_one(self):
        return self.renamed(lambda fault: fault + 1), self.renamed(lambda fault: max(fault - 1, 0))

    def exchanged(self, faults):
        """Of `faults` numbers, two in each other's place: one function for each pair."""
        return tuple(
            self.renamed(lambda fault, swap={a: b, b: a}: swap.get(fault, fault))
            for a, b in combinations(range(faults), 2)
        )

    def instead(self, place, treat, fault):
        """Another treatment of tensor `place` (the first is 1), where this fault is there."""

        def wrong(arguments):
            arrays = list(self.answer(arguments))
            if self.fault_of(arguments) == fault:
                arrays[place] = treat(self.given(arguments)[place - 1], arguments)
            return tuple(arrays)

        return wrong

    def swapped(self, first, second):
        """Two tensors in each other's place, everything right."""

        def wrong(arguments):
            arrays = list(self.answer(arguments))
            arrays[first], arrays[second] = arrays[second], arrays[first]
            return tuple(arrays)

        return wrong

    def taken_for(self, fault, other):
        """This fault is called, and treated as, another. 0: it is missed."""

        def wrong(arguments):
            if self.fault_of(arguments) == fault:
                return np.array(other), *self.cure(arguments, other)
            return self.answer(arguments)

        return wrong

    def all_treated(self, faults):
        """Every treatment at once, one after the other, whatever is there."""

        def wrong(arguments):
            found = self.given(arguments)
            for fault in faults:
                found = self.cure({**arguments, **dict(zip(self.names, found, strict=True))}, fault)
            return np.array(self.fault_of(arguments)), *found

        return wrong
