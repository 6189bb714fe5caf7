"""What chance allows: bounds that a right answer keeps, so far out that luck decides nothing.

An order drawn at random keeps about one image at its place, and about one pair of neighbours side
by side; more than 20 of either have a probability below 1 / 21! = 2e-20. A correlation of n numbers
that have nothing to do with each other has a standard deviation of 1 / √n, and 7 of them are passed
with a probability of 3e-12.
"""

import numpy as np

FAR = 7  # standard deviations
KEPT = 20  # images


def correlation(one, two):
    """Of two arrays of numbers; 0 where one of them is constant."""
    one, two = one - one.mean(), two - two.mean()
    size = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / size) if size else 0.0


def related(one, two):
    """The correlation of two arrays where it is beyond chance, else 0."""
    found = correlation(one, two)
    return found if abs(found) > FAR / np.sqrt(len(one)) else 0.0


def inverse(order):
    """Its entry i is the place of image i."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def leftover(order):
    """What is left of 0, 1, 2, … in an order, in words; empty where chance leaves as much."""
    in_turn = np.arange(len(order))
    steps = np.diff(order)
    kept, neighbours = int((order == in_turn).sum()), int((np.abs(steps) == 1).sum())
    drift = related(order, in_turn)
    if kept > KEPT:
        return f"{kept} of {len(order)} stand where they stood"
    if neighbours > 2 * KEPT:  # two ways to be neighbours
        return f"{neighbours} of {len(order)} still follow their neighbour"
    return f"places correlate by {drift:+.2f}" if drift else ""


def moved(one, two):
    """What is left of order `one` in order `two`, in words: by places, and by images."""
    return leftover(inverse(one)[two]) or leftover(two[inverse(one)])
