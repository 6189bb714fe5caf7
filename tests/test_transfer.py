"""Fine-tuning: what is kept, what is new, and that the shipped records are of its recipe."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmarks import few_images
from minivit import ViT, ViTConfig, cifar10, evaluate, train
from minivit.catalog import CATALOG, Preprocessing
from minivit.compare import Arm, prepare
from minivit.recipes import LAPTOP, SMOKE, as_json, recipe_digest
from minivit.records import PRETRAINED, load_records
from minivit.transfer import (
    FINE_TUNING,
    FOLDER,
    IMAGES,
    VALIDATED,
    adapted,
    enlarged,
    few,
    fine_tune,
    recorded,
    resized_positions,
)
from minivit.variants import vary

SMALL = ViTConfig(image_size=24, patch_size=8, dim=24, depth=2, heads=2, pool="cls", classes=7)
LOOK = Preprocessing(resize=30, interpolation="bicubic", crop=24)
TINY = replace(
    SMOKE,
    model=replace(SMALL, classes=10),
    training=replace(SMOKE.training, batch_size=10, epochs=2),
    subset=20,
    validation=30,
)


def pretrained(config=SMALL):
    torch.manual_seed(5)
    model = ViT(config).eval()
    torch.nn.init.normal_(model.pos_embed, std=0.5)
    model.preprocessing = LOOK
    return model


@pytest.fixture(scope="module")
def data():
    return cifar10(source="synthetic")


def test_everything_but_the_head_is_kept_and_the_head_comes_from_the_seed():
    model = pretrained()
    first, again, other = (adapted(model, 24, 10, seed=seed) for seed in (0, 0, 1))
    images = torch.randn(2, 3, 24, 24)
    assert torch.equal(first.features(images), model.features(images))
    assert first.head.weight.shape == (10, 24) and not first.head.bias.any()
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    with torch.no_grad():
        first.blocks[0].attn.proj.weight.zero_()
    assert model.blocks[0].attn.proj.weight.any(), "the pretrained model is a model of its own"


@pytest.mark.parametrize("before, after, extra", [(14, 6, 1), (4, 9, 0), (5, 5, 1)])
def test_positions_are_resized_as_timm_does(before, after, extra):
    from timm.layers import resample_abs_pos_embed

    table = torch.randn(1, before**2 + extra, 8)
    theirs = resample_abs_pos_embed(table, [after, after], num_prefix_tokens=extra)
    assert torch.allclose(resized_positions(table, after), theirs, atol=1e-5)


def test_another_size_of_image_is_another_grid():
    model = pretrained()
    smaller = adapted(model, 16, 10, seed=0)
    assert smaller(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert torch.equal(smaller.pos_embed[:, 0], model.pos_embed[:, 0]), "the class token's row"
    with pytest.raises(ValueError, match="patch_size 8 does not divide image_size 20"):
        adapted(model, 20, 10, seed=0)
    fixed = ViT(replace(SMALL, positions="sincos"))
    with pytest.raises(ValueError, match="positions are 'sincos'; only learned ones"):
        adapted(fixed, 16, 10, seed=0)


def test_an_enlarged_image_is_the_whole_image(data):
    few_of_them = data[0].subset(30, seed=0)
    large = enlarged(few_of_them, 64, LOOK)
    back = F.interpolate(large.images.float(), (32, 32), mode="area")
    assert (back - few_of_them.images.float()).abs().mean() < 6
    assert (back - few_of_them.images.float()).mean().abs() < 0.2, "rounded, not cut off"
    assert large.images.dtype == torch.uint8 and large.images.shape == (30, 3, 64, 64)
    assert (large.mean, large.std) == (LOOK.mean, LOOK.std)
    assert torch.equal(large.labels, few_of_them.labels)


def test_fine_tuning_trains_a_copy_and_looks_once(data, tmp_path, monkeypatch):
    seeds = []  # of order and augmentation; that of the head is tested above

    def spied(*sets, seed, **how):
        seeds.append(seed)
        return train(*sets, seed=seed, **how)

    monkeypatch.setattr("minivit.transfer.train", spied)
    rough = replace(TINY, training=replace(TINY.training, precision="bfloat16"))
    model, task = pretrained(), prepare(rough, data, tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned, history = fine_tune(model, task, seed=3, device="cpu", checkpoint=tmp_path / "file")
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    moved = [name for name, t in tuned.state_dict().items() if not torch.equal(before[name], t)]
    assert set(before) == set(moved), "all of it is trained"
    first, last = history.epochs
    assert first.validation_accuracy is None
    judged = evaluate(tuned, enlarged(task.validation, 24, LOOK), precision="bfloat16")
    assert (last.validation_accuracy, last.validation_loss) == pytest.approx(
        (judged.accuracy, judged.loss)
    )
    again, repeated = fine_tune(model, task, seed=3, device="cpu", checkpoint=tmp_path / "file")
    assert torch.equal(again.head.weight, tuned.head.weight), "read from the checkpoint"
    assert repeated.final.validation_accuracy == last.validation_accuracy
    assert seeds == [3, 3]


def test_few_takes_a_part_of_the_validation_images(data, tmp_path):
    task = prepare(SMOKE, data, tmp_path)
    assert len(few(task).validation) == len(task.validation), "there are no more"
    large = prepare(replace(SMOKE, validation=1500), data, tmp_path)
    part = few(large)
    assert len(part.validation) == VALIDATED == part.data["validated"]
    assert part.validation.labels.bincount().tolist() == [VALIDATED // 10] * 10
    held_out = {image.numpy().tobytes() for image in large.validation.images}
    assert all(image.numpy().tobytes() in held_out for image in part.validation.images)
    assert part.data["validation"] == part.validation.subset_digest != large.data["validation"]


def test_a_run_is_recorded_once_and_then_read(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(few_images, "load_pretrained", lambda name: pretrained())
    given = {"recipe": TINY, "folder": tmp_path / "records"}
    record = few_images.pretrained_run(data, 4, **given)
    monkeypatch.setattr(few_images, "load_pretrained", None)  # it would fail
    assert few_images.pretrained_run(data, 4, **given) == record
    assert recorded(tmp_path / "records")["pretrained"] == [record]
    with pytest.raises(ValueError, match="base is 'torch_default'; it must be one of"):
        replace(record, base="torch_default")
    with pytest.raises(ValueError, match="base is 'gpt2'"):
        replace(record, base="gpt2", attention="mimetic")
    assert recorded(tmp_path / "nowhere") == {"plain": [], "mimetic": [], "pretrained": []}


def test_the_shipped_records_are_of_the_recipes():
    runs = recorded()
    shipped = load_records(FOLDER)
    for record in shipped:
        is_tuned = record.attention == PRETRAINED
        recipe = FINE_TUNING if is_tuned else vary(LAPTOP, few_images.VARIANT)
        assert recipe_digest(record.recipe) == recipe_digest(recipe)
        assert record.variant == ("" if is_tuned else few_images.VARIANT)
        assert record.role == "live" and record.final_accuracy is None and not record.dirty
        assert len(record.commit) == 40
    (digests,) = {tuple(sorted(record.data.items())) for record in shipped}
    assert dict(digests)["validated"] == VALIDATED, "all are judged on the same images"
    for name, own in runs.items():
        assert [record.seed for record in own] == list(few_images.SEEDS), name


def test_the_recipe_keeps_what_it_says():
    taken = replace(CATALOG[few_images.NAME].config, image_size=112, classes=10)
    assert FINE_TUNING.model == taken
    assert FINE_TUNING.subset == IMAGES and IMAGES % FINE_TUNING.training.batch_size == 0
    assert vary(LAPTOP, few_images.VARIANT).subset == IMAGES
    assert all(isinstance(arm, Arm) for arm in few_images.pair()) and as_json(FINE_TUNING)
