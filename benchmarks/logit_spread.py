"""How sharply each arm's attention starts: the spread of its logits on images, before training.

The weights of `rotated` and `norm_matched` are as large as mimetic's, and their logits still spread
less: W_Q W_Kᵀ ≈ I multiplies a token with itself. `python -m benchmarks.logit_spread` prints by how
much, and what the variant `qk_scale`, a factor on W_Q W_Kᵀ, makes of it.
"""

from statistics import fmean

from benchmarks.rates import SEEDS
from benchmarks.study import BETTER, EQUAL, ONLY_CENTRED
from minivit.circuits import attention_maps
from minivit.compare import DEFAULT_ARMS
from minivit.data import cifar10, eval_batches
from minivit.init import initialize_
from minivit.model import ViT
from minivit.recipes import LAPTOP
from minivit.variants import change_start_

IMAGES = 64


def main():
    train_set, _ = cifar10()
    validation = train_set.split(LAPTOP.validation, seed=0)[1]
    images, _ = next(iter(eval_batches(validation, IMAGES, "cpu")))
    found = {arm: [spread(arm, seed, images) for seed in SEEDS] for arm in DEFAULT_ARMS}
    print(f"{BETTER}, seeds {SEEDS}, {IMAGES} validation images: spread of logits")
    for arm, values in found.items():
        ratio = fmean(found["mimetic"]) / fmean(values)
        print(f"{arm:>12} {'':>17}  {_both(values)}  mimetic's / this: {ratio:.2f}")
    for arm, variant in [*EQUAL.items(), *((arm, ONLY_CENTRED) for arm in ("rotated", "mimetic"))]:
        print(f"{arm:>12} {variant:>17}  {_both(spread(arm, s, images, variant) for s in SEEDS)}")


def spread(arm, seed, images, variant=""):
    """Standard deviation of an attention logit over keys: root mean square over all else.

    images: (n, 3, height, width), normalized. The network is the recipe's at step 0; the mean is
    taken over its layers.
    """
    model = initialize_(ViT(LAPTOP.model), BETTER, arm, seed=seed)
    maps = attention_maps(change_start_(model, variant, seed=seed), images)
    # The logarithm of a softmax differs from its logits by a constant for each query.
    variance = maps.clamp_min(1e-30).log().var(-1, unbiased=False)
    return variance.mean((1, 2, 3)).sqrt().mean().item()


def _both(values):
    return "  ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
