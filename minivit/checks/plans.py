"""Judges orders and coins that are to follow from a seed and an epoch, and from nothing else.

It knows no right numbers, only what two calls must and must not have in common. While grading each
call runs in a fork of its own, but for the case with many: what an answer keeps from call to call
shows in a notebook's check, and there as epochs that are alike. Of global generators it watches
torch's only.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from minivit.checks.chance import FAR, inverse, leftover, moved, related
from minivit.checks.measures import returned
from minivit.checks.question import Finding

MANY = 100  # calls; of so many no two are held against each other number by number


class Plan(NamedTuple):
    """One call, and what came of it."""

    pair: tuple[int, int]  # seed, epoch
    flip: bool
    order: np.ndarray
    flipped: np.ndarray

    @property
    def name(self):
        return "seed {}, epoch {}".format(*self.pair)


def plans(case, results):
    pairs = [(call["seed"], call["epoch"]) for call in case.calls]
    flips = [call["flip"] for call in case.calls]
    orders = [result.returned[0].values.astype(int) for result in results]
    coins = [result.returned[1].values for result in results]
    return [Plan(*each) for each in zip(pairs, flips, orders, coins, strict=True)]


def judge(case, results):
    for call, result in zip(case.calls, results, strict=True):
        shapes, names = [(call["images"],)] * 2, ("order", "flipped")
        finding = returned((result,), 2, shapes, names, dtypes=("int", "bool"))
        if finding:
            return finding
    if any(result.global_drawn for result in results):
        return Finding("global", "a call leaves torch's global generator in another state")
    found = plans(case, results)
    tests = [_each, _repeatable, _switch, _shuffled, _pairs]
    between = _moved, _coupled, _between, _beside, _again, _coin, _half
    tests += between if len(found) < MANY else (_evenly, _coin, _again_to_the_last)
    return next((finding for test in tests if (finding := test(found))), None)


def _each(found):
    for plan in found:
        size = len(plan.order)
        there = int(np.isin(np.arange(size), plan.order).sum())
        if there < size:
            return Finding("order", f"{plan.name}: {there} of the {size} images are in it")
        if plan.flipped.any() and not plan.flip:
            text = f"{plan.name}, flip=False: {int(plan.flipped.sum())} images are mirrored"
            return Finding("off", text)
    return None


def _repeatable(found):
    first = {}
    for plan in found:
        one = first.setdefault((plan.pair, plan.flip), plan)
        for part in ("order", "flipped"):
            if not np.array_equal(getattr(one, part), getattr(plan, part)):
                text = f"{one.name}, flip={one.flip}: asked for twice, {part} is another"
                return Finding("repeatable", text)
    return None


def _switch(found):
    first = {}
    for plan in found:
        if not np.array_equal(first.setdefault(plan.pair, plan).order, plan.order):
            return Finding("switch", f"{plan.name}: with flips and without, the orders differ")
    return None


def _once(found):
    """A plan for each pair of seed and epoch."""
    return list({plan.pair: plan for plan in found}.values())


def _tossed(found):
    """Likewise, of those with flips."""
    return _once([plan for plan in found if plan.flip])


def _pairs(found):
    if two := _alike(_once(found), "order"):
        return Finding("pairs", "{} and {} have the same order".format(*two))
    return None


def _again_to_the_last(found):
    if two := _alike(_tossed(found), "flipped"):
        return Finding("again", "{} and {} have the same coins".format(*two))
    return None


def _alike(found, part):
    """Names of two plans that share it, or nothing."""
    first = {}
    for plan in found:
        one = first.setdefault(getattr(plan, part).tobytes(), plan)
        if one is not plan:
            return one.name, plan.name
    return ()


def _shuffled(found):
    for plan in _once(found):
        if left := leftover(plan.order):
            return Finding("shuffled", f"{plan.name}, beside 0, 1, 2, …: {left}")
    return None


def _evenly(found):
    """Over many orders: which image stands where, and how many stand where they stood.

    Of n fair orders of 64 images about n / 64 have a certain one at a certain place, and n images
    in all stand at their own, give or take √n.
    """
    orders = np.stack([plan.order for plan in _once(found)])
    places = np.arange(orders.shape[1])
    there = np.stack([(orders == image).sum(0) for image in places])  # (image, place)
    most, (image, place) = there.max(), np.unravel_index(there.argmax(), there.shape)
    if most > len(orders) / 4:
        text = f"image {image} is number {place} in {most} of {len(orders)} orders"
        return Finding("shuffled", text)
    stay = int(there.trace())
    if abs(stay - len(orders)) > FAR * np.sqrt(len(orders)):
        text = f"over {len(orders)} orders {stay} images stand where they stood"
        return Finding("shuffled", f"{text}; chance leaves about {len(orders)}")
    return None


def _moved(found):
    for one, two in combinations(_once(found), 2):
        if left := moved(one.order, two.order):
            return Finding("moved", f"{two.name}, beside {one.name}: {left}")
    return None


def _coupled(found):
    for plan in _tossed(found):
        if share := _told_by(plan.order, plan.flipped):
            return Finding("coupled", f"{plan.name}: coins and order correlate by {share:+.2f}")
    return None


def _between(found):
    """Coins of one pair, by the order of another."""
    for plan in _tossed(found):
        for other in _once(found):
            if other.pair != plan.pair and (share := _told_by(other.order, plan.flipped)):
                text = f"coins of {plan.name} and the order of {other.name} correlate by "
                return Finding("between", f"{text}{share:+.2f}")
    return None


def _told_by(order, coins):
    """How far coins follow an order, by images or by places, large or odd; 0 where by chance."""
    for numbers in (order, inverse(order)):
        if share := related(coins, numbers) or related(coins, numbers % 2):
            return share
    return 0.0


def _beside(found):
    for plan in _tossed(found):
        if share := related(plan.flipped[1:], plan.flipped[:-1]):
            return Finding("beside", f"{plan.name}: coins of neighbours correlate by {share:+.2f}")
    return None


def _again(found):
    """Coins of two epochs that agree too often, or too seldom: by places, or by images."""
    for one, two in combinations(_tossed(found), 2):
        by_image = one.flipped[inverse(one.order)], two.flipped[inverse(two.order)]
        if share := related(one.flipped, two.flipped) or related(*by_image):
            text = f"coins of {one.name} and of {two.name} correlate by {share:+.2f}"
            return Finding("again", text)
    return None


def _coin(found):
    coins = [plan.flipped for plan in _tossed(found)]
    share, count = np.mean(coins), np.size(coins)
    if abs(share - 0.5) <= FAR * 0.5 / np.sqrt(count):
        return None
    return Finding("coin", f"of {count} images {share:.1%} are mirrored")


def _half(found):
    """One half each time, to the image. Of 1000 fair coins that happens once in 40 times, of 1001
    (500 or 501) once in 20; five times in a row with a probability below 1e-6."""
    coins = [plan.flipped for plan in _tossed(found)]
    few = len(coins) < 5 or len(coins[0]) < 1000
    if few or any(abs(2 * each.sum() - len(each)) > 1 for each in coins):
        return None
    return Finding("half", f"in each of {len(coins)} epochs half of the images, to the image")


# What a mistake looks like, over all plans of a case.


def shared(found, axis=None):
    """Whether any two pairs with the same seed (axis 0) or the same epoch (axis 1) have one order.

    None: any two whatever. False where there are no such two.
    """
    together = {}
    for plan in _once(found):
        key = None if axis is None else plan.pair[axis]
        together.setdefault(key, []).append(plan.order.tobytes())
    several = [orders for orders in together.values() if len(orders) > 1]
    return bool(several) and all(len(set(orders)) == 1 for orders in several)


def unset(found):
    """Neither seed nor epoch has set the generator that numbers came from.

    In a notebook a call can't be repeated then; while grading each call starts from one state.
    """
    coins = [plan.flipped for plan in _tossed(found)]
    alike = len(np.unique(coins, axis=0)) == 1 < len(np.unique(coins))
    return shared(found) or bool(_repeatable(found)) or alike


def from_one(found):
    return all(
        np.array_equal(np.sort(plan.order), 1 + np.arange(len(plan.order))) for plan in found
    )


def drawn_place_by_place(found):
    """Where each place draws for itself, 1 / e of the images, 37 of a hundred, are left out."""
    orders = [plan.order for plan in found]
    inside = all(order.min() >= 0 and order.max() < len(order) for order in orders)
    return inside and 0.5 < np.mean([len(set(order)) / len(order) for order in orders]) < 0.75
