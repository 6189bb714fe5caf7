"""Lesson 05: an epoch's order and flips, from seed and epoch alone."""

from minivit.checks.plans import (
    drawn_place_by_place,
    from_one,
    judge,
    plans,
    shared,
    unset,
)
from minivit.checks.question import Case, Diagnosis, Question

STATEMENT = """\
Two arms can be compared only if they see the same batches. Write the function that decides on them
for one epoch, without minivit's `stream`: in which order the images come, and which are mirrored.

`plan(seed, epoch, images, flip)` gets three whole numbers (seed and epoch from 0 to 9999, and at
least 64 images) and True or False. Return two tensors `(order, flipped)`, both of shape (images,):
`order`, of integers, has each of 0, …, images − 1 once; `flipped`, of bools, says for each place in
this order whether the image there is mirrored.

- **Repeatable.** The same four arguments give the same answer, whatever was drawn before and
  whichever epochs were asked for before: a run that starts again at epoch 7 goes on as it would
  have. This holds in any other process too.
- **Flips beside the order.** With `flip=False` nothing is mirrored, and the order is the one that
  `flip=True` gives. With `flip=True` a fair coin of its own decides for each place; coins have
  nothing to do with each other, nor with the order.
- **New each time.** Two different pairs (seed, epoch) have nothing to do with each other: neither
  their orders, nor their coins, nor coins of one and order of the other. All orders are equally
  likely.
- **Nobody is disturbed.** torch's global generator is afterwards as it was before.

**Usual trap.** Seed 0 in epoch 1 and seed 1 in epoch 0 are two pairs, with one sum. And coins that
are drawn before the order, from the same generator, move the order.
"""

HINTS = (
    "torch.Generator().manual_seed(number) makes a generator that nobody else draws from; hand it "
    "on as generator=…. Make it anew in each call. What must the number depend on?",
    "torch looks at the lowest 32 bits of the number only. Take a sum with a factor so large that "
    "no two pairs have one number, or a digest (hashlib) of a text with both in it and a sign "
    "between them: there practically no two have. hash() of a text is another number in each "
    "process.",
    "Draw the order first, whether there are flips or not, then the coins. Or make two generators, "
    "with the purpose in their numbers: two that begin with one number may draw the same. A + 1 is "
    "no purpose, as it makes the number of the next epoch.",
)


def _calls(images, *wanted):
    names = ("seed", "epoch", "images", "flip")
    return tuple(
        dict(zip(names, (seed, epoch, images, flip), strict=True)) for seed, epoch, flip in wanted
    )


def interrupted(title, images, seed, other, epochs):
    """A run with flips, another seed's first epoch, two epochs without flips, then a new start."""
    run = [(seed, epoch, True) for epoch in epochs]
    beside = [(other, epochs[0], True), *((seed, epoch, False) for epoch in epochs[-2:])]
    return Case(title, _calls(images, *run, *beside, run[2], run[0]))


def switched(title, images, seeds, epochs):
    """Each seed in each epoch, flips on and off by turns."""
    pairs = [(seed, epoch) for seed in seeds for epoch in epochs]
    wanted = [
        (*pair, (number + again) % 2 == 0) for again in (0, 1) for number, pair in enumerate(pairs)
    ]
    return Case(title, _calls(images, *wanted, wanted[0]))


def mixed_up(title, seed, digits):
    """Two pairs for each m from 1 to 9999 that agree in m · seed + epoch, and in seed + m · epoch.

    By small steps beside one seed and large ones beside the next: m is the difference of one of
    each. Two pairs are 2¹³ apart, too: shifted by 19 bits or more they agree in the lowest 32.

    digits: a, b, c, for two pairs that read the same, a bc and ab c; and for bc a, with the sum
    and the product of a bc.
    """
    a, b, c = digits
    pairs = [(a, 10 * b + c), (10 * a + b, c), (10 * b + c, a)]
    pairs += [(seed, large) for large in (*range(0, 10_000, 100), 2**13, 9_999)]
    pairs += [(seed + 1, small) for small in range(100)]
    pairs = list(dict.fromkeys([*pairs, *((epoch, seed) for seed, epoch in pairs)]))
    given = _calls(64, *((*pair, True) for pair in pairs), (*pairs[0], True))
    return Case(title, given, together=True)


VISIBLE = (
    interrupted("a run that starts again", 2000, 3, 4, (1, 2, 7, 8, 12)),
    switched("with flips and without", 1501, (0, 5), (0, 3)),
    mixed_up("four hundred pairs of seed and epoch", 0, (1, 1, 2)),
    interrupted("a coin for each of many images", 4001, 11, 2, (40, 41, 42, 43, 90)),
)


def _known(id, hint, aspect, says, predicate=lambda found: True):
    """predicate(plans); by default the aspect alone says what it is."""
    return Diagnosis(id, says, hint, lambda *given: predicate(plans(*given)), (aspect,))


DIAGNOSES = (
    _known("from-one", 3, "order", "You count images from 1; count them from 0.", from_one),
    _known(
        "with-replacement",
        3,
        "order",
        "Some images come twice, and others not at all: each place drew for itself. An order is a "
        "permutation.",
        drawn_place_by_place,
    ),
    _known("flips-though-off", 3, "off", "Images are mirrored although flip is False."),
    _known(
        "no-generator",
        1,
        "global",
        "Numbers come from torch's global generator, which neither seed nor epoch has set. What "
        "others drew before decides on them.",
        unset,
    ),
    _known(
        "manual-seed",
        1,
        "global",
        "torch's global generator is set, or drawn from: whoever uses it after this call gets "
        "other numbers than without it. Make a generator of your own.",
    ),
    _known(
        "history",
        1,
        "repeatable",
        "It depends on the calls before: a generator is kept from one to the next, or others draw "
        "from it, too.",
    ),
    _known(
        "flips-first",
        3,
        "switch",
        "Flips move the order: the coins are drawn before it from the same generator, or flip has "
        "a say in the generator's number.",
    ),
    _known(
        "constant",
        1,
        "pairs",
        "Every call gives one and the same order: neither seed nor epoch has a say in it.",
        shared,
    ),
    _known(
        "epoch-ignored",
        1,
        "pairs",
        "All epochs of a seed have one order: the epoch has no say in it.",
        lambda found: shared(found, 0),
    ),
    _known(
        "seed-ignored",
        2,
        "pairs",
        "In one epoch all seeds have the same order. The seed is not in the generator's number, or "
        "stands where torch does not look, above the lowest 32 bits.",
        lambda found: shared(found, 1),
    ),
    _known(
        "collision",
        2,
        "pairs",
        "Different pairs of seed and epoch come to one number: by a sum, a product, a factor that "
        "is too small, or digits side by side (1 and 12, 11 and 2).",
    ),
    _known(
        "hardly-shuffled",
        3,
        "shuffled",
        "The order is not drawn evenly from all orders: images stay near their places or beside "
        "their neighbours, or some places know some images better than others.",
    ),
    _known(
        "moved-on",
        1,
        "moved",
        "The order of one epoch is made from that of another, and shows it. Draw each anew.",
    ),
    _known(
        "neighbours",
        3,
        "beside",
        "Neighbours share a coin, or take turns. Each place has a coin of its own.",
    ),
    _known(
        "same-flips",
        2,
        "again",
        "The coins of one pair of seed and epoch come again in another pair: their generator's "
        "number needs both.",
    ),
    _known(
        "coupled",
        3,
        "coupled",
        "Who is mirrored can be read from the order: coins are made from it, or both come from two "
        "generators that begin with the same number.",
    ),
    _known(
        "coupled-between",
        3,
        "between",
        "Who is mirrored can be read from the order of *another* pair of seed and epoch: the coins "
        "of one and the order of the other come from generators that begin with one number.",
    ),
    _known(
        "unfair",
        3,
        "coin",
        "The coin has to fall on either side as often, and for each image anew.",
    ),
    _known(
        "exactly-half",
        3,
        "half",
        "Exactly half of the images are mirrored, in every epoch. Coins that know nothing of each "
        "other hardly ever do that.",
    ),
)


QUESTION = Question(
    id="own-stream",
    function="plan",
    signature="plan(seed, epoch, images, flip)",
    lesson="05",
    points=4,
    minutes=20,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=judge,
    hints=HINTS,
    diagnoses=DIAGNOSES,
    tolerates="any generator (torch's, numpy's, Python's), one that draws the order first or two, "
    "any way to make a number of a pair, the global generator put back as it was, numpy arrays",
    withheld=("runtime.stream",),
)
