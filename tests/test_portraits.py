"""Portraits: numbers that no change of basis moves, and files that are of their recipe."""

from dataclasses import replace

import pytest
import torch

import benchmarks.portraits as script
from minivit import AttentionWeights, ViT, ViTConfig, cifar10, diagonal_stats, initialize_, ov, qk
from minivit.compare import Arm, prepare
from minivit.init import random_orthogonal
from minivit.portraits import cosine, load_portraits, numbers_of, portrait, write_portrait
from minivit.recipes import LAPTOP, SMOKE, recipe_digest
from minivit.storage import read_tensors, write_tensors

SHIPPED = load_portraits()


def weights(seed=0):
    torch.manual_seed(seed)
    model = ViT(ViTConfig(dim=24, depth=3, heads=2))
    for block in model.blocks:
        torch.nn.init.normal_(block.norm1.weight, mean=1.0, std=0.3)
    return AttentionWeights.of(model)


def turned(weights, R):
    """The same attention with the gain folded in, for tokens x R in place of x."""
    w = weights.folded()
    return AttentionWeights(
        W_Q=R.T @ w.W_Q,
        W_K=R.T @ w.W_K,
        W_V=R.T @ w.W_V,
        W_O=w.W_O @ R,
        norm_gain=torch.ones(3, 24),
    )


def test_no_number_knows_the_basis():
    R = random_orthogonal(24, torch.Generator().manual_seed(1))
    before, after = weights(), turned(weights(), R)
    assert (qk(before) - qk(after)).norm() > 0.5 * qk(before).norm(), "the raw products do know it"
    found, again = numbers_of(before), numbers_of(after)
    invariant = [name for name in found if not name.endswith("spread")]
    assert {"qk.mean", "ov.cosine", "qk.spectrum", "ov_heads.cosine", "ov.norm"} <= set(invariant)
    for name in invariant:
        assert torch.allclose(found[name], again[name], atol=1e-4), name


def test_the_gain_counts():
    folded = weights().folded()
    found = numbers_of(weights())
    assert torch.allclose(found["qk.mean"], diagonal_stats(qk(folded)).mean)
    assert torch.allclose(found["ov.cosine"], diagonal_stats(ov(folded).sum(1)).cosine)
    assert not torch.allclose(found["qk.mean"], diagonal_stats(qk(weights())).mean)
    assert not any(name.startswith("columns") for name in found)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    task = prepare(SMOKE, cifar10(source="synthetic"), place / "runs")
    arm = Arm(base="torch_default", attention="mimetic", seed=7)
    return script.run(arm, task, place / "portraits"), place, arm, task


def test_a_run_is_measured_at_both_ends(made):
    found = made[0]
    assert found.record.attention == "mimetic" and found.record.seed == 7
    assert (found.start["ov.cosine"] < -0.6).all(), "as it was initialized"
    assert found.start["qk.mean"].shape == found.kept["qk"].shape == (2, 2)
    assert not torch.equal(found.start["qk.mean"], found.end["qk.mean"])
    assert (found.kept["ov"] > 0.9).all() and (found.kept["ov"] < 1 - 1e-6).all()
    assert "mimetic seed 7" in script.describe(found)


def test_a_portrait_comes_back_as_it_was_written_and_is_not_made_twice(made, monkeypatch):
    found, place, arm, task = made
    monkeypatch.setattr(script, "compare", None)  # it would fail
    again = script.run(arm, task, place / "portraits")
    assert again.record == found.record
    for part in ("start", "end", "kept"):
        one, two = getattr(again, part), getattr(found, part)
        assert one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)
    other = replace(task, data=task.data | {"train": "another"})
    with pytest.raises(TypeError):
        script.run(arm, other, place / "portraits")


def test_what_was_kept_is_of_the_same_network(made):
    a, b, record = weights(0), weights(1), made[0].record
    same = portrait(record, a, a).kept
    assert torch.allclose(same["qk"], torch.ones(3, 2), atol=1e-5)
    expected = cosine(qk(a.folded()), qk(b.folded()))
    assert torch.allclose(portrait(record, a, b).kept["qk"], expected)
    expected = cosine(ov(a.folded()).sum(1), ov(b.folded()).sum(1))
    assert torch.allclose(portrait(record, a, b).kept["ov"], expected)
    smaller = AttentionWeights.of(ViT(ViTConfig(dim=12, depth=3, heads=2)))
    with pytest.raises(ValueError, match="one run"):
        portrait(record, a, smaller)


def test_a_file_that_is_no_portrait_is_named(made, tmp_path):
    path = write_portrait(made[0], tmp_path)
    tensors, metadata = read_tensors(path)
    write_tensors(path, {n: t for n, t in tensors.items() if not n.startswith("end/")}, metadata)
    with pytest.raises(ValueError, match=f"{path.name}: not a portrait .*nothing under end/"):
        load_portraits(tmp_path)
    assert load_portraits(tmp_path / "nowhere") == []


def test_the_shipped_portraits_are_of_the_recipe():
    assert SHIPPED
    for found in SHIPPED:
        record = found.record
        assert recipe_digest(record.recipe) == recipe_digest(LAPTOP)
        assert (record.base, record.role, record.variant) == ("torch_default", "live", "")
        assert record.final_accuracy is None and not record.dirty and len(record.commit) == 40
    assert len({tuple(sorted(found.record.data.items())) for found in SHIPPED}) == 1
    runs = [(found.record.attention, found.record.seed) for found in SHIPPED]
    planned = sorted((arm, seed) for arm in script.PAIR for seed in script.SEEDS)
    assert len(runs) == len(set(runs)) and set(runs) <= set(planned)


def test_the_shipped_portraits_start_where_an_initializer_puts_them():
    for found in SHIPPED:
        arm = found.record.attention, found.record.seed
        net = initialize_(ViT(LAPTOP.model), "torch_default", arm[0], seed=arm[1])
        again = numbers_of(AttentionWeights.of(net))
        for name in ("qk.cosine", "ov.cosine", "qk.mean", "ov.spectrum"):
            assert torch.allclose(found.start[name], again[name], atol=1e-3), name


def test_every_seed_that_was_planned_is_shipped():
    there = {(made.record.attention, made.record.seed) for made in SHIPPED}
    assert there == {(attention, seed) for attention in script.PAIR for seed in script.SEEDS}
