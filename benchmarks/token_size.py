"""How large tokens are on their way through each arm's network, before training.

Under −I tokens shrink from block to block; in plain and both controls they grow. LayerNorm gives
attention and MLP tokens of one size whatever comes in, so what a block adds counts for more in a
small token than in a large one. `python -m benchmarks.token_size` prints the sizes, and what a
factor on all that enters the first block (`patch_scale` and `position_scale`) makes of them. Below
them stands how alike the tokens of an image are, with the table of positions as it is and without
what all its rows share.
"""

from statistics import fmean

from benchmarks.logit_spread import IMAGES
from benchmarks.rates import SEEDS
from benchmarks.study import BETTER, CENTRED, EQUAL_TOKENS, LOUDEST, ONLY_CENTRED, SMALL_POSITIONS
from minivit.compare import DEFAULT_ARMS
from minivit.data import cifar10, eval_batches
from minivit.diagnostics import mean_share, residual_stream, token_std
from minivit.init import initialize_
from minivit.model import ViT
from minivit.recipes import LAPTOP
from minivit.variants import change_start_, vary


def main():
    train_set, _ = cifar10()
    validation = train_set.split(LAPTOP.validation, seed=0)[1]
    images, _ = next(iter(eval_batches(validation, IMAGES, "cpu")))
    print(f"{BETTER}, seeds {SEEDS}, {IMAGES} validation images")
    print("standard deviation of tokens where they enter a block, first to last | mean over blocks")
    usual = [(arm, "") for arm in DEFAULT_ARMS]
    small = [("mimetic", variant) for variant in (*SMALL_POSITIONS, ONLY_CENTRED)]
    for arm, variant in [*usual, *EQUAL_TOKENS.items(), *small]:
        found = [sizes(arm, seed, images, variant) for seed in SEEDS]
        each = "  ".join(f"{fmean(values):.2f}" for values in zip(*found, strict=True))
        print(f"{arm:>12} {variant:>38}  {each}  | {fmean(map(fmean, found)):.2f}")
    print("part of tokens that an image's tokens share, entering each block, and leaving the last")
    alike = [(arm, variant) for arm in DEFAULT_ARMS for variant in ("", CENTRED)]
    for arm, variant in [*alike, ("plain", LOUDEST["plain"]), *EQUAL_TOKENS.items()]:
        found = [shares(arm, seed, images, variant) for seed in SEEDS]
        each = "  ".join(f"{fmean(values):.2f}" for values in zip(*found, strict=True))
        print(f"{arm:>12} {variant:>38}  {each}")


def sizes(arm, seed, images, variant=""):
    """Standard deviation of the tokens that enter each block, first to last.

    images: (n, 3, height, width), normalized. The network is the recipe's at step 0.
    """
    return token_std(_tokens(arm, seed, images, variant)[:-1]).tolist()


def shares(arm, seed, images, variant=""):
    """How alike an image's tokens are, 0 to 1: those that enter each block, and the last ones."""
    return mean_share(_tokens(arm, seed, images, variant)).tolist()


def _tokens(arm, seed, images, variant):
    model = initialize_(ViT(vary(LAPTOP, variant).model), BETTER, arm, seed=seed)
    return residual_stream(change_start_(model, variant, seed=seed), images)


if __name__ == "__main__":
    main()
