"""How large tokens are on their way through each arm's network, before training.

Under −I tokens shrink from block to block; in plain and both controls they grow. LayerNorm gives
attention and MLP tokens of one size whatever comes in, so what a block adds counts for more in a
small token than in a large one. `python -m benchmarks.token_size` prints the sizes, and what a
factor on all that enters the first block (`patch_scale` and `position_scale`) makes of them.
"""

from statistics import fmean

from benchmarks.logit_spread import IMAGES
from benchmarks.rates import SEEDS
from benchmarks.study import BETTER, EQUAL_TOKENS
from minivit.compare import DEFAULT_ARMS
from minivit.data import cifar10, eval_batches
from minivit.diagnostics import residual_stream, token_std
from minivit.init import initialize_
from minivit.model import ViT
from minivit.recipes import LAPTOP
from minivit.variants import change_start_


def main():
    train_set, _ = cifar10()
    validation = train_set.split(LAPTOP.validation, seed=0)[1]
    images, _ = next(iter(eval_batches(validation, IMAGES, "cpu")))
    print(f"{BETTER}, seeds {SEEDS}, {IMAGES} validation images")
    print("standard deviation of tokens where they enter a block, first to last | mean over blocks")
    for arm, variant in [(arm, "") for arm in DEFAULT_ARMS] + [*EQUAL_TOKENS.items()]:
        found = [sizes(arm, seed, images, variant) for seed in SEEDS]
        each = "  ".join(f"{fmean(values):.2f}" for values in zip(*found, strict=True))
        print(f"{arm:>12} {variant:>34}  {each}  | {fmean(map(fmean, found)):.2f}")


def sizes(arm, seed, images, variant=""):
    """Standard deviation of the tokens that enter each block, first to last.

    images: (n, 3, height, width), normalized. The network is the recipe's at step 0.
    """
    model = initialize_(ViT(LAPTOP.model), BETTER, arm, seed=seed)
    tokens = residual_stream(change_start_(model, variant, seed=seed), images)
    return token_std(tokens[:-1]).tolist()


if __name__ == "__main__":
    main()
