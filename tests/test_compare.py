"""A comparison: what its arms share, what it keeps, and what it says when something goes wrong."""

import math
import multiprocessing
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from evidence_records import final

import minivit.compare as module
import minivit.protocol as protocol
import minivit.records as records_module
from minivit.compare import Arm, compare, prepare, run_arm
from minivit.data import cifar10
from minivit.init import initialize_
from minivit.model import ViT, ViTConfig
from minivit.outcome import curves, last_accuracy, table
from minivit.recipes import SMOKE
from minivit.records import load_records
from minivit.runtime import one_thread
from minivit.train import evaluate, train
from minivit.variants import change_start_

RECIPE = replace(
    SMOKE,
    model=ViTConfig(dim=16, depth=1, heads=2, patch_size=8),
    training=replace(SMOKE.training, epochs=2, batch_size=20, warmup_epochs=0.5),
    subset=40,
    validation=20,
)


@pytest.fixture(scope="module")
def data():
    return cifar10(source="synthetic")


@pytest.fixture
def task(data, tmp_path):
    return prepare(RECIPE, data, tmp_path / "runs")


def arm(attention="plain", seed=0):
    return Arm(base="torch_default", attention=attention, seed=seed)


def untimed(record):
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record.epochs]


def test_validation_images_are_no_training_images_and_the_test_set_stays_closed(
    data, task, monkeypatch
):
    monkeypatch.setattr(protocol, "SCALES", {RECIPE.name: RECIPE})  # as if it were committed
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", False))
    monkeypatch.setattr(module, "loaded_commit", lambda: ("abc", False))

    def rows(images):
        return {bytes(image.numpy()) for image in images.images.flatten(1)}

    assert not rows(task.train) & rows(task.validation)
    assert task.test is None
    assert prepare(RECIPE, data, task.folder, role="tuning").test is None
    final = prepare(RECIPE, data, task.folder, role="final")
    assert final.test is data[1]
    record = run_arm(arm(), final)
    assert record.role == "final" and 0 <= record.final_accuracy <= 1
    assert run_arm(arm(), task).final_accuracy is None


def test_the_test_set_is_read_in_the_precision_of_the_recipe(data, task, monkeypatch):
    rough = replace(RECIPE, training=replace(RECIPE.training, precision="bfloat16", epochs=1))
    final = replace(task, recipe=rough, test=data[1].subset(40, seed=0))  # as only role final has
    computed, read = set(), []

    def spied(model, images, **how):
        read.append(images)
        model.head.register_forward_hook(lambda _, __, output: computed.add(output.dtype))
        return evaluate(model, images, **how)

    monkeypatch.setattr(module, "evaluate", spied)
    assert run_arm(arm(), final).final_accuracy is not None
    assert computed == {torch.bfloat16}
    assert len(read) == 1 and read[0] is final.test, "the test images, once"


def test_a_record_names_the_code_that_was_loaded_not_what_the_checkout_is_later(task, monkeypatch):
    found = [("loaded", False)]
    monkeypatch.setattr(records_module, "current_commit", lambda: found[-1])
    monkeypatch.setattr(records_module, "LOADED", math.inf)  # whatever is edited meanwhile
    records_module.loaded_commit.cache_clear()
    try:
        record = run_arm(arm(), task, callback=lambda _: found.append(("pulled", True)))
        again = run_arm(arm("mimetic"), task)  # the same process: its memory is as old
    finally:
        records_module.loaded_commit.cache_clear()
    assert len(found) == 3
    assert [(r.commit, r.dirty) for r in (record, again)] == [("loaded", False)] * 2


def test_code_that_was_written_after_the_process_began_is_not_that_of_its_commit(monkeypatch):
    """A notebook that stays open while its package is edited and committed."""
    monkeypatch.setattr(records_module, "current_commit", lambda: ("committed", False))
    newest = max(p.stat().st_mtime for p in Path(records_module.__file__).parent.rglob("*.py"))
    try:
        for loaded, dirty in ((newest + 1, False), (newest - 1, True)):
            records_module.loaded_commit.cache_clear()
            monkeypatch.setattr(records_module, "LOADED", loaded)
            assert records_module.loaded_commit() == ("committed", dirty)
    finally:
        records_module.loaded_commit.cache_clear()


@pytest.mark.parametrize("checkout", [("committed", True), (None, False)])
def test_edited_code_and_code_without_a_commit_stay_what_they_are(checkout, monkeypatch):
    monkeypatch.setattr(records_module, "current_commit", lambda: checkout)
    for loaded in (math.inf, 0):
        monkeypatch.setattr(records_module, "LOADED", loaded)
        records_module.loaded_commit.cache_clear()
        try:
            assert records_module.loaded_commit() == checkout
        finally:
            records_module.loaded_commit.cache_clear()


def test_a_final_run_of_code_that_was_changed_under_it_is_refused_before_it_trains(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr(protocol, "SCALES", {RECIPE.name: RECIPE})
    monkeypatch.setattr(protocol, "current_commit", lambda: ("committed", False))
    monkeypatch.setattr(module, "loaded_commit", lambda: ("committed", True))
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained"))
    final = prepare(RECIPE, data, tmp_path / "final", role="final")
    with pytest.raises(ValueError, match="was changed since this process began: start again"):
        run_arm(arm(), final)


def test_an_editors_lock_in_the_package_is_no_code(monkeypatch):
    """Emacs' is a link to nowhere, beside the file that is being edited."""
    monkeypatch.setattr(records_module, "current_commit", lambda: ("committed", False))
    monkeypatch.setattr(records_module.Path, "rglob", lambda *_: [Path("nowhere/.#init.py")])
    records_module.loaded_commit.cache_clear()
    try:
        assert records_module.loaded_commit() == ("committed", False)
    finally:
        records_module.loaded_commit.cache_clear()


def test_evidence_goes_on_with_what_the_same_code_did_in_the_same_role(task, monkeypatch):
    """A final run must not find a look's checkpoint, nor one that other code left."""
    tuning = replace(task, role="tuning")
    paths = {module.checkpoint_path(arm(), each) for each in (task, tuning)}
    assert module.checkpoint_path(arm(), task, role="tuning") in paths
    monkeypatch.setattr(module, "package_digest", lambda: "0" * 64)
    paths |= {module.checkpoint_path(arm(), each) for each in (task, tuning)}
    assert len(paths) == 3, "a look goes on"
    assert len({path.name for path in paths}) == 1


def test_images_that_are_packed_another_way_are_the_same_run(task):
    record = run_arm(arm(), task)
    packed = replace(task, data=task.data | {"digest": "0" * 64, "name": "a folder"})
    assert module.finished(arm(), packed) == record
    other = replace(task, data=task.data | {"train": "0" * 64})
    assert module.finished(arm(), other) is None


def test_a_final_run_is_made_once(task, data, monkeypatch):
    monkeypatch.setattr(protocol, "SCALES", {RECIPE.name: RECIPE})
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", False))
    monkeypatch.setattr(module, "loaded_commit", lambda: ("abc", False))
    final = prepare(RECIPE, data, task.folder, role="final")
    first = run_arm(arm(), final)
    with pytest.raises(ValueError, match="has this final run: the test images are read once"):
        run_arm(arm(), final)
    assert compare([arm()], final, processes=1) == [first]
    run_arm(arm(), task), run_arm(arm(), task)  # a look may be taken again


@pytest.mark.integration
def test_processes_give_the_same_records_as_one(task, data, tmp_path):
    arms = [arm("plain"), arm("mimetic")]
    heard = []
    with one_thread():  # as each process has it: sums of more threads are rounded otherwise
        here = compare(arms, task, processes=1, progress=lambda a, e: heard.append((a, e.epoch)))
    other = prepare(RECIPE, data, tmp_path / "other")
    there = compare(arms, other, processes=2)
    assert [untimed(r) for r in here] == [untimed(r) for r in there]
    assert [r.attention for r in there] == ["plain", "mimetic"]
    assert heard == [(arms[0], 1), (arms[0], 2), (arms[1], 1), (arms[1], 2)]


def test_a_record_holds_what_its_base_attention_variant_and_seed_give(task, data):
    """Written out: an arm that forgot one of them would still give a record like any other."""
    recipe = replace(RECIPE, model=replace(RECIPE.model, positions="sincos_learned"))
    base, variant = "vit_trunc_normal", "positions=shuffled,patch_scale=4,batch_size=10"
    chosen = Arm(base=base, attention="qk_only", seed=3, variant=variant, learning_rate=3e-3)
    record = run_arm(chosen, prepare(recipe, data, task.folder))
    config = replace(recipe.training, batch_size=10, learning_rate=3e-3)
    model = initialize_(ViT(recipe.model), base, "qk_only", seed=3)
    change_start_(model, variant, seed=3)
    history = train(model, task.train, task.validation, config, seed=3)
    expected = [{**asdict(epoch), "seconds": None} for epoch in history.epochs]
    assert [{**epoch, "seconds": None} for epoch in record.epochs] == expected
    assert (record.base, record.attention, record.variant) == (base, "qk_only", variant)
    assert (record.seed, record.learning_rate, record.role) == (3, 3e-3, "live")
    assert record.recipe["training"]["batch_size"] == 10


@pytest.mark.parametrize(("role", "seed"), [("live", 0), ("tuning", 100)])
def test_what_is_finished_is_not_run_again(data, tmp_path, monkeypatch, role, seed):
    task = prepare(RECIPE, data, tmp_path / "runs", role=role)
    first = compare([arm(seed=seed)], task, processes=1)
    monkeypatch.setattr(module, "run_arm", lambda *_, **__: pytest.fail("ran again"))
    assert compare([arm(seed=seed)], task, processes=1) == load_records(task.folder)
    assert untimed(first[0]) == untimed(load_records(task.folder)[0])
    reworded = prepare(replace(RECIPE, minutes="other words"), data, tmp_path / "runs", role=role)
    assert compare([arm(seed=seed)], reworded, processes=1) == load_records(task.folder)


def test_another_recipe_or_other_data_is_another_run(task, data):
    compare([arm()], task, processes=1)
    faster = replace(RECIPE, training=replace(RECIPE.training, learning_rate=3e-3))
    smaller = replace(RECIPE, subset=20)
    for recipe in (faster, smaller):
        compare([arm()], prepare(recipe, data, task.folder), processes=1)
    assert len(load_records(task.folder)) == 3


def test_a_variant_is_another_run_on_its_own_subset_and_says_so(task, data):
    half, rate = replace(arm(), variant="subset=20,epochs=1"), replace(arm(), learning_rate=3e-3)
    whole, small, faster = compare([arm(), half, rate], task, processes=1)
    assert (small.variant, len(small.epochs), small.recipe["subset"]) == (half.variant, 1, 20)
    assert faster.learning_rate == 3e-3 and whole.learning_rate == 1e-3
    assert faster.data == whole.data and small.data["train"] != whole.data["train"]
    assert small.data["validation"] == whole.data["validation"]
    alone = prepare(replace(RECIPE, subset=20), data, task.folder).data
    assert alone == small.data, "the same images as a recipe of that size takes"
    assert compare([half, rate], task, processes=1) == [small, faster]
    shuffled = replace(arm(), variant="heads=4")
    (record,) = compare([shuffled], task, processes=1)
    assert untimed(record) != untimed(whole)


def test_an_interrupted_comparison_goes_on(task, data, tmp_path):
    def stop(_, epoch):
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        compare([arm()], task, processes=1, progress=stop)
    assert "run the same again to go on" in " ".join(stopped.value.__notes__)
    epochs = []
    again = compare([arm()], task, processes=1, progress=lambda _, e: epochs.append(e.epoch))
    assert epochs == [2]
    whole = compare([arm()], prepare(RECIPE, data, tmp_path / "whole"), processes=1)
    assert untimed(again[0]) == untimed(whole[0])


def test_ctrl_c_says_how_to_go_on(task, monkeypatch):
    def start(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", start)
    with pytest.raises(KeyboardInterrupt) as stopped:
        compare([arm("plain"), arm("mimetic")], task, processes=2)
    assert "run the same again to go on" in " ".join(stopped.value.__notes__)


@pytest.mark.integration
def test_a_failing_run_is_named(task):
    broken = replace(task, train=replace(task.train, images=task.train.images[..., :24, :24]))
    with pytest.raises(
        RuntimeError, match=r"torch_default, (plain|mimetic), seed 0: ValueError: .*24"
    ):
        compare([arm("plain"), arm("mimetic")], broken, processes=2)


@pytest.mark.parametrize(
    "change, sentence",
    [({"variant": "heads=3"}, "not divisible by heads 3"), ({"learning_rate": 0.0}, "rate is 0")],
)
def test_a_run_that_the_recipe_can_not_give_is_refused_before_any_starts(task, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare([arm(), replace(arm(), **change)], task, processes=1)
    assert not task.folder.exists()


def test_names_and_numbers_that_make_no_sense(task):
    with pytest.raises(ValueError, match="'mimetc' is not one of plain"):
        arm("mimetc")
    with pytest.raises(ValueError, match="processes is 0"):
        compare([arm()], task, processes=0)


def test_the_table_pairs_seeds(task):
    records = compare([arm(a, s) for a in ("plain", "mimetic") for s in (0, 1)], task, processes=1)
    values = {(r.attention, r.seed): 0.0 for r in records}
    values |= {("plain", 0): 0.2, ("plain", 1): 0.4, ("mimetic", 0): 0.3, ("mimetic", 1): 0.5}
    made = [
        replace(r, epochs=[{**r.epochs[0], "validation_accuracy": values[r.attention, r.seed]}])
        for r in records
    ]
    text = table(made)
    assert "30.0 ± 14.1" in text and "40.0 ± 14.1" in text
    assert "+10.0  [+10.0, +10.0]" in text, "paired: the spread over seeds cancels"
    for odd in ([], [*made, replace(made[0], role="tuning", seed=100)]):
        with pytest.raises(ValueError, match="a table takes one or more, all of one role"):
            table(odd)
    assert "One seed" not in text and "One seed is a look" in table(made[:1])
    assert curves(made)["torch_default"]["mimetic"] == [[0.3], [0.5]]
    second = {**made[0].epochs[0], "epoch": 2}
    falling = replace(made[0], epochs=[*made[-1].epochs, second])  # 0.5, then 0.2
    assert last_accuracy(falling) == 0.2, "of the last epoch, not the best"
    assert last_accuracy(replace(falling, final_accuracy=0.1)) == 0.1


def test_runs_of_several_variants_or_rates_are_not_taken_for_seeds_of_one_arm():
    """Each is compared with the plain one of its variant; of several rates with that of its own."""
    runs = [
        replace(arm(name, seed), variant=variant, learning_rate=rate)
        for name in ("plain", "mimetic")
        for seed in (0, 1)
        for variant, rate in (("", 1e-3), ("heads=4", 1e-3), ("heads=4", 3e-3))
    ]

    def accuracy(run):
        gain = {("", 1e-3): 0.1, ("heads=4", 1e-3): 0.2, ("heads=4", 3e-3): 0.3}
        level = 0.2 + 0.1 * run.seed
        return level + gain[run.variant, run.learning_rate] * (run.attention == "mimetic")

    made = final(accuracy, runs)
    lines = [re.sub(" +", " ", line) for line in table(made).splitlines()]
    assert "torch_default mimetic 2 35.0 ± 7.1 +10.0 [+10.0, +10.0]" in lines
    assert "torch_default mimetic heads=4 0.001 2 45.0 ± 7.1 +20.0 [+20.0, +20.0]" in lines
    assert "torch_default mimetic heads=4 0.003 2 55.0 ± 7.1 +30.0 [+30.0, +30.0]" in lines
    names = {"plain", "mimetic"} | {
        f"{name} heads=4 {rate}" for name in ("plain", "mimetic") for rate in (0.001, 0.003)
    }
    lines = curves(made)["torch_default"]
    assert lines.keys() == names and all(len(rows) == 2 for rows in lines.values())
    # Arms at their own rates, in one variant: nothing but the arm has to be said.
    best = {"plain": 1e-3, "mimetic": 3e-3}
    own = [r for r in made if r.variant and r.learning_rate == best[r.attention]]
    assert curves(own)["torch_default"].keys() == {"plain", "mimetic"}
    assert "+30.0  [+30.0, +30.0]" in table(own)


def test_the_global_seed_plays_no_part(task):
    plain, other = (run_arm(arm(name), task) for name in ("plain", "norm_matched"))
    assert untimed(plain) != untimed(other)
    torch.manual_seed(123)
    assert untimed(run_arm(arm(), replace(task, folder=task.folder / "b"))) == untimed(plain)


def test_a_seed_is_an_int():
    odd = arm()
    object.__setattr__(odd, "seed", 1.0)  # as it were made without the tests' check of types
    with pytest.raises(ValueError, match=r"seed is 1\.0; it must be an int"):
        odd.__post_init__()
