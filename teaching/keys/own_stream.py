"""Key of own-stream."""

import hashlib
import random
from functools import partial

import numpy as np
import torch

from minivit.checks.questions.own_stream import QUESTION, interrupted, mixed_up
from teaching.keys.key import Key, Mutant


def own(*parts):
    """A generator for these parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def plan(seed, epoch, images, flip):
    order = torch.randperm(images, generator=own("order", seed, epoch))
    coins = torch.rand(images, generator=own("flips", seed, epoch)) < 0.5
    return order, coins & flip


# Correct, and different.


def order_first(seed, epoch, images, flip):
    """One generator, which draws coins only where they are wanted; a sum that is large enough."""
    generator = torch.Generator().manual_seed(10_000 * seed + epoch)
    order = torch.randperm(images, generator=generator)
    if not flip:
        return order, torch.zeros(images, dtype=torch.bool)
    return order, torch.randint(2, (images,), generator=generator).bool()


def by_numpy(seed, epoch, images, flip):
    """Spawned seeds; coins for images, read in the order of places; arrays, an order of int32."""
    first, second = (
        np.random.default_rng(s) for s in np.random.SeedSequence([seed, epoch]).spawn(2)
    )
    order = first.permutation(images)
    coins = second.integers(2, size=images).astype(bool) if flip else np.zeros(images, bool)
    return order.astype(np.int32), coins[order]


def by_python(seed, epoch, images, flip):
    """random.Random with texts, and a list that is shuffled."""
    order = list(range(images))
    random.Random(f"{seed}, {epoch}: order").shuffle(order)
    toss = random.Random(f"{seed}, {epoch}: flips").random
    return torch.tensor(order), torch.tensor([flip and toss() < 0.5 for _ in order])


def forked(seed, epoch, images, flip):
    """torch's global generator, borrowed and put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(epoch << 14 | seed)
        keys, coins = torch.rand(2, images)
    return keys.argsort(), (coins > 0.5) & flip


def counted(seed, epoch, images, flip):
    """The seed's generator is wound on to the epoch: an order and coins for each."""
    generator = np.random.RandomState(seed)
    for _ in range(epoch + 1):
        order, coins = generator.permutation(images), generator.rand(images)
    return torch.from_numpy(order), torch.from_numpy(coins < 0.5) & flip


# Wrong.


def variant(
    seed,
    epoch,
    images,
    flip,
    *,
    number=lambda seed, epoch: 10_000 * seed + epoch,
    flips=lambda seed, epoch: 10_000 * seed + epoch + 2**31,
    order=lambda images, g: torch.randperm(images, generator=g),
    coins=lambda images, g: torch.rand(images, generator=g) < 0.5,
    always=False,
):
    """Two generators, with a step replaced: what they are made from, what they draw."""
    first, second = (torch.Generator().manual_seed(make(seed, epoch)) for make in (number, flips))
    return order(images, first), coins(images, second) & (flip or always)


def next_number_for_coins(seed, epoch, images, flip):
    order, coins = (torch.rand(images, generator=own(seed, epoch + each)) for each in (0, 1))
    return order.argsort(), (coins < 0.5) & flip


def pairing(number):
    """The number of a pair, for both generators."""
    return partial(variant, number=number, flips=lambda seed, epoch: number(seed, epoch) + 2**31)


def no_generator(seed, epoch, images, flip):
    return torch.randperm(images), (torch.rand(images) < 0.5) & flip


def manual_seed(seed, epoch, images, flip):
    torch.manual_seed(10_000 * seed + epoch)
    return no_generator(seed, epoch, images, flip)


def coins_of_anybody(seed, epoch, images, flip):
    order, _ = plan(seed, epoch, images, flip)
    return order, (torch.rand(images) < 0.5) & flip


KEPT = torch.Generator().manual_seed(0)


def kept(seed, epoch, images, flip):
    order = torch.randperm(images, generator=KEPT)
    return order, (torch.rand(images, generator=KEPT) < 0.5) & flip


OF_SEEDS = {}


def kept_for_each_seed(seed, epoch, images, flip):
    generator = OF_SEEDS.setdefault(seed, own(seed))
    order = torch.randperm(images, generator=generator)
    return order, (torch.rand(images, generator=generator) < 0.5) & flip


def numpys_global(seed, epoch, images, flip):
    return np.random.permutation(images), (np.random.rand(images) < 0.5) & flip


def flips_first(seed, epoch, images, flip):
    generator = own(seed, epoch)
    coins = torch.zeros(images, dtype=torch.bool)
    if flip:
        coins = torch.rand(images, generator=generator) < 0.5
    return torch.randperm(images, generator=generator), coins


def flip_in_the_number(seed, epoch, images, flip):
    generator = own(seed, epoch, flip)
    order = torch.randperm(images, generator=generator)
    return order, (torch.rand(images, generator=generator) < 0.5) & flip


def of_images(seed, epoch, images, flip):
    """A coin for each image, once and for all."""
    order, _ = plan(seed, epoch, images, flip)
    coins = torch.rand(images, generator=own(seed)) < 0.5
    return order, coins[order] & flip


def rolled(seed, epoch, images, flip):
    _, flipped = plan(seed, epoch, images, flip)
    return torch.randperm(images, generator=own(seed)).roll(epoch), flipped


def read_from_order(seed, epoch, images, flip):
    order, _ = plan(seed, epoch, images, flip)
    return order, (order % 2 == 0) & flip


def one_number_for_both(seed, epoch, images, flip):
    keys, coins = (torch.rand(images, generator=own(seed, epoch)) for _ in range(2))
    return keys.argsort(), (coins < 0.5) & flip


def in_blocks(images, g):
    """Shuffled within blocks of 50."""
    return torch.cat(
        [b[torch.randperm(len(b), generator=g)] for b in torch.arange(images).split(50)]
    )


def one_cut(images, g):
    """Begun at a random image, and in turn from there."""
    return torch.arange(images).roll(torch.randint(images, (), generator=g).item())


def never_at_home(images, g):
    """Sattolo's shuffle: no image stays where it was."""
    order = list(range(images))
    for last in range(images - 1, 0, -1):
        other = torch.randint(last, (), generator=g).item()
        order[last], order[other] = order[other], order[last]
    return torch.tensor(order)


def one_coin_for(each):
    return lambda n, g: (torch.rand(n // each + 1, generator=g) < 0.5).repeat_interleave(each)[:n]


def half_of(images, g):
    return torch.randperm(images, generator=g) < images // 2


def mirrored_images(seed, epoch, images, flip):
    order, flipped = plan(seed, epoch, images, flip)
    return order, order[flipped]


def hidden(rng):
    """Two runs that were interrupted, of an even and of an odd number of images; and pairs."""

    def run(images):
        seed, other = (int(each) for each in 1 + rng.choice(100, 2, replace=False))
        epochs = sorted(int(each) for each in 1 + rng.choice(60, 4, replace=False))
        epochs.append(epochs[-1] + 1)  # what one epoch takes from the next has to show
        return interrupted(f"{images} images, seed {seed}", images, seed, other, epochs)

    even, odd = (2 * int(half) for half in rng.integers(1000, 1500, size=2))
    seed = int(rng.integers(1, 1000))
    digits = tuple(int(each) for each in rng.integers(1, 10, size=3))
    pairs = mixed_up("pairs", seed, digits)
    return run(even), pairs, run(odd + 1)


KEY = Key(
    question=QUESTION,
    reference=plan,
    hidden=hidden,
    misses="hash() of a text in the number (all graded processes hash alike), torch.initial_seed() "
    "in it, coins that come from the order's own number by another function, a digest that is too "
    "short",
    alternatives={
        "one generator, the order first": order_first,
        "numpy, spawned seeds, coins for images": by_numpy,
        "Python's random, with texts": by_python,
        "the global generator, put back": forked,
        "wound on to the epoch": counted,
    },
    mutants=(
        Mutant("no generator", no_generator, "no-generator"),
        Mutant("coins without a generator", coins_of_anybody, "no-generator"),
        Mutant("torch.manual_seed", manual_seed, "manual-seed"),
        Mutant("a generator kept between calls", kept, "history"),
        Mutant("a generator kept for each seed", kept_for_each_seed, "history"),
        Mutant("numpy's global generator", numpys_global, "history"),
        Mutant("flips drawn first", flips_first, "flips-first"),
        Mutant("flip in the generator's number", flip_in_the_number, "flips-first"),
        Mutant("flip not looked at", partial(variant, always=True), "flips-though-off"),
        Mutant(
            "with replacement",
            partial(variant, order=lambda n, g: torch.randint(n, (n,), generator=g)),
            "with-replacement",
        ),
        Mutant(
            "counted from 1",
            partial(variant, order=lambda n, g: 1 + torch.randperm(n, generator=g)),
            "from-one",
        ),
        Mutant("always one number", pairing(lambda seed, epoch: 0), "constant"),
        Mutant("the epoch left out", pairing(lambda seed, epoch: seed), "epoch-ignored"),
        Mutant("the seed left out", pairing(lambda seed, epoch: epoch), "seed-ignored"),
        Mutant(
            "the seed in bits that are not looked at",
            pairing(lambda seed, epoch: seed << 32 | epoch),
            "seed-ignored",
        ),
        Mutant("seed + epoch", pairing(lambda seed, epoch: seed + epoch), "collision"),
        Mutant("7919 seed + epoch", pairing(lambda seed, epoch: 7919 * seed + epoch), "collision"),
        Mutant("2²⁴ seed + epoch", pairing(lambda seed, epoch: 2**24 * seed + epoch), "collision"),
        Mutant("seed xor epoch", pairing(lambda seed, epoch: seed ^ epoch), "collision"),
        Mutant(
            "digits side by side", pairing(lambda seed, epoch: int(f"{seed}{epoch}")), "collision"
        ),
        Mutant("shuffled in blocks", partial(variant, order=in_blocks), "hardly-shuffled"),
        Mutant("begun somewhere", partial(variant, order=one_cut), "hardly-shuffled"),
        Mutant("Sattolo's shuffle", partial(variant, order=never_at_home), "hardly-shuffled"),
        Mutant("one order, rolled on", rolled, "moved-on"),
        Mutant(
            "the same places in every epoch",
            partial(variant, flips=lambda seed, epoch: seed),
            "same-flips",
        ),
        Mutant("the same images in every epoch", of_images, "same-flips"),
        Mutant(
            "coins of seed + epoch",
            partial(variant, flips=lambda seed, epoch: 2**31 + seed + epoch),
            "same-flips",
        ),
        Mutant("even images mirrored", read_from_order, "coupled"),
        Mutant("one number for both", one_number_for_both, "coupled"),
        Mutant("the next epoch's number for coins", next_number_for_coins, "coupled-between"),
        Mutant(
            "one image in four",
            partial(variant, coins=lambda n, g: torch.rand(n, generator=g) < 0.25),
            "unfair",
        ),
        Mutant(
            "all images",
            partial(variant, coins=lambda n, g: torch.ones(n, dtype=torch.bool)),
            "unfair",
        ),
        Mutant("one coin for two", partial(variant, coins=one_coin_for(2)), "neighbours"),
        Mutant("one coin for a batch", partial(variant, coins=one_coin_for(32)), "neighbours"),
        Mutant("half of the images", partial(variant, coins=half_of), "exactly-half"),
        Mutant("the mirrored images alone", mirrored_images, "shape"),
    ),
)
