import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from benchmarks.recipe_search import chosen
from benchmarks.time_to import operations
from minivit.data import cifar10
from minivit.init import initialize_
from minivit.model import ViT, ViTConfig
from minivit.outcome import last_accuracy
from minivit.recipes import (
    COLAB,
    FULL,
    LAPTOP,
    SCALES,
    SMOKE,
    Recipe,
    as_json,
    pick_scale,
    recipe_digest,
)
from minivit.records import load_records
from minivit.train import train


@pytest.fixture(autouse=True)
def no_scale_set(monkeypatch):
    monkeypatch.delenv("MINIVIT_SCALE", raising=False)


@pytest.mark.parametrize("recipe", [COLAB, FULL], ids=lambda recipe: recipe.name)
def test_planned_minutes_come_from_operations(recipe):
    minutes = 2 * operations(recipe) / 4.3e12 / 60
    assert re.search(rf"about {minutes:.0f} (minutes )?on a T4 \(planned", recipe.minutes)


def test_the_scales_fit_cifar10():
    assert list(SCALES) == ["smoke", "laptop", "colab", "full"]
    for name, recipe in SCALES.items():
        assert recipe.name == name
        assert (recipe.subset or 45_000) + recipe.validation <= 50_000
        assert (recipe.model.image_size, recipe.model.classes) == (32, 10)
        json.dumps(asdict(recipe))


def test_laptop_is_what_the_search_chose():
    records = load_records(Path(__file__).parents[1] / "benchmarks/records/recipe_search")
    best = chosen(records)
    assert recipe_digest(best.recipe) == recipe_digest(LAPTOP)
    assert {r.attention for r in records} == {"plain"} and {r.role for r in records} == {"tuning"}
    before = {r.base: last_accuracy(r) for r in records if not r.variant}
    assert best.base == max(before, key=before.get), "on the base on which plain does better"


@pytest.mark.integration
def test_smoke_runs_from_data_to_history():
    train_set, validation = cifar10(source="synthetic")[0].split(SMOKE.validation, seed=0)
    model = initialize_(ViT(SMOKE.model), "torch_default", "mimetic", seed=0)
    history = train(model, train_set.subset(SMOKE.subset, seed=0), validation, SMOKE.training)
    assert len(history.epochs) == SMOKE.training.epochs


def test_name_then_environment_then_device_decides(monkeypatch):
    assert pick_scale("full") is FULL and pick_scale("Smoke") is SMOKE
    assert pick_scale(device="cpu") is LAPTOP
    assert pick_scale() is (COLAB if torch.cuda.is_available() else LAPTOP)
    monkeypatch.setenv("MINIVIT_SCALE", "smoke")
    assert pick_scale() is SMOKE and pick_scale("full") is FULL
    monkeypatch.setenv("MINIVIT_SCALE", "")
    assert pick_scale(device="cpu") is LAPTOP
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_scale() is COLAB and pick_scale(device="cpu") is LAPTOP


def test_a_misspelt_scale_is_named_with_the_nearest(monkeypatch):
    with pytest.raises(ValueError, match=r"'labtop'; it must be one of .*did you mean 'laptop'"):
        pick_scale("labtop")
    monkeypatch.setenv("MINIVIT_SCALE", "SMOK")
    with pytest.raises(ValueError, match=r"MINIVIT_SCALE is 'SMOK'.*did you mean 'smoke'"):
        pick_scale()
    with pytest.raises(ValueError, match=r"'zzz'; it must be one of \[[^]]*\]$"):
        pick_scale("zzz")


def test_digest_changes_with_what_changes_a_run_only():
    digest = recipe_digest(LAPTOP)
    assert digest == recipe_digest(replace(LAPTOP, name="other", minutes="an hour"))
    assert digest == recipe_digest(as_json(LAPTOP))
    others = [
        replace(LAPTOP, subset=9_999),
        replace(LAPTOP, validation=4_999),
        replace(LAPTOP, model=replace(LAPTOP.model, depth=5)),
        replace(LAPTOP, training=replace(LAPTOP.training, learning_rate=3e-3)),
        replace(
            LAPTOP,
            training=replace(LAPTOP.training, augment=replace(LAPTOP.training.augment, crop=2)),
        ),
    ]
    assert len({digest, *map(recipe_digest, others)}) == len(others) + 1
    assert digest == recipe_digest(
        Recipe(**{**vars(LAPTOP), "model": ViTConfig(**vars(LAPTOP.model))})
    )


@pytest.mark.parametrize(("name", "value"), [("subset", 31), ("subset", 0), ("validation", 0)])
def test_a_recipe_without_a_batch_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value} images"):
        replace(LAPTOP, **{name: value})
    assert replace(LAPTOP, subset=32, validation=1).subset == 32


def test_full_is_what_vit_tiny_for_100_epochs():
    training = FULL.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (100, 512, 1e-3)
    assert (training.warmup_epochs, training.weight_decay) == (5.0, 0.05)
    assert (FULL.model.dim, FULL.model.depth, FULL.model.heads) == (192, 12, 3)
    assert FULL.subset is None and FULL.validation == 5_000
