"""The spread of logits at the start, and the factors that make two arms alike in it."""

import pytest
import torch

from benchmarks.logit_spread import IMAGES, spread
from benchmarks.rates import SEEDS
from benchmarks.study import BETTER, EQUAL
from minivit.data import cifar10, eval_batches
from minivit.init import initialize_
from minivit.model import ViT
from minivit.recipes import LAPTOP


def test_it_is_the_standard_deviation_over_keys():
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model, found = initialize_(ViT(LAPTOP.model), BETTER, "mimetic", seed=5), []

    def keep(module, inputs):
        query, key, _ = module.qkv(inputs[0]).unflatten(2, (3, module.num_heads, -1)).unbind(2)
        logits = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        found.append((logits - logits.mean(-1, keepdim=True)).square().mean().sqrt())

    for block in model.blocks:
        block.attn.register_forward_pre_hook(keep)
    with torch.no_grad():
        model(images)
    assert spread("mimetic", 5, images) == pytest.approx(torch.stack(found).mean().item(), rel=1e-3)


@pytest.mark.integration
def test_the_factors_make_arms_alike_as_the_protocol_says(real_data):
    validation = cifar10(real_data / "cifar10-jpeg.tar.xz")[0].split(LAPTOP.validation, seed=0)[1]
    images, _ = next(iter(eval_batches(validation, IMAGES, "cpu")))

    def mean(arm, variant=""):
        return sum(spread(arm, seed, images, variant) for seed in SEEDS) / len(SEEDS)

    mimetic, rotated = mean("mimetic"), mean("rotated")
    assert round(mimetic / rotated, 1) == 2.6
    wanted = {"rotated": mimetic, "plain": mimetic, "mimetic": rotated}
    for arm, variant in EQUAL.items():
        assert mean(arm, variant) == pytest.approx(wanted[arm], rel=0.05), arm
