"""The size of tokens at the start, and the factors that make two arms alike in it."""

import pytest
import torch

from benchmarks.logit_spread import IMAGES
from benchmarks.rates import SEEDS
from benchmarks.study import BETTER, CENTRED, EQUAL_TOKENS, ONLY_CENTRED, SMALL_POSITIONS
from benchmarks.token_size import shares, sizes
from minivit.data import cifar10, eval_batches
from minivit.diagnostics import mean_share
from minivit.init import initialize_
from minivit.model import ViT, sincos_positions
from minivit.recipes import LAPTOP


def test_it_is_what_each_block_divides_by():
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model, found = initialize_(ViT(LAPTOP.model), BETTER, "mimetic", seed=5), []

    def keep(module, inputs):
        found.append(inputs[0].var(-1, unbiased=False).mean().sqrt().item())

    for block in model.blocks:
        block.register_forward_pre_hook(keep)
    with torch.no_grad():
        model(images)
    assert sizes("mimetic", 5, images) == pytest.approx(found, rel=1e-4)


@pytest.mark.integration
def test_the_factors_make_tokens_alike_as_the_protocol_says(real_data):
    validation = cifar10(real_data / "cifar10-jpeg.tar.xz")[0].split(LAPTOP.validation, seed=0)[1]
    images, _ = next(iter(eval_batches(validation, IMAGES, "cpu")))

    def mean(arm, variant=""):
        found = [size for seed in SEEDS for size in sizes(arm, seed, images, variant)]
        return sum(found) / len(found)

    usual = [mean("mimetic"), mean("rotated")]
    equal = [mean(arm, EQUAL_TOKENS[arm]) for arm in ("plain", "mimetic")]
    assert usual == pytest.approx([0.57, 1.14], abs=0.006)
    assert equal == pytest.approx([0.59, 1.15], abs=0.006)
    assert mean("plain") > 1.5 * usual[0]  # without the factor they are not alike


@pytest.mark.integration
def test_small_positions_do_not_keep_tokens_from_shrinking_and_centred_ones_share_less(real_data):
    """What README and the protocol say of untrained networks, and of the table of positions."""
    table = sincos_positions(LAPTOP.model.grid, LAPTOP.model.dim)
    assert mean_share(table[None]) > 0.6, "most of it is one vector in every row"
    validation = cifar10(real_data / "cifar10-jpeg.tar.xz")[0].split(LAPTOP.validation, seed=0)[1]
    images, _ = next(iter(eval_batches(validation, IMAGES, "cpu")))
    for seed in SEEDS:
        for variant, left in (*dict.fromkeys(SMALL_POSITIONS, 0.95).items(), (ONLY_CENTRED, 0.85)):
            entering = sizes("mimetic", seed, images, variant)
            assert all(size < left * entering[0] for size in entering[1:])
        for arm in ("plain", "rotated"):
            usual, centred = (shares(arm, seed, images, v) for v in ("", CENTRED))
            assert usual[-1] > 1.2 * usual[0], "more alike when they leave than when they enter"
            assert all(less < 0.7 * more for less, more in zip(centred, usual, strict=True))
