"""The protocol: which runs may read the test set."""

from dataclasses import replace

import pytest

import minivit.compare as compare_module
import minivit.protocol as protocol
from benchmarks import again
from benchmarks.again import largest_difference, run_again, unlike
from minivit.compare import Arm, compare, prepare
from minivit.data import cifar10
from minivit.protocol import check_role, rates
from minivit.recipes import FULL, LAPTOP, SMOKE
from minivit.records import load_records

TABLE = {"smoke": {"torch_default": {"plain": 1e-3, "mimetic": 3e-3}}}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(compare_module, "loaded_commit", lambda: ("abc", False))
    monkeypatch.setattr(protocol, "RATES", TABLE)
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", False))


def arm(attention="plain", base="torch_default", **changes):
    return Arm(base=base, attention=attention, **changes)


def test_a_final_run_takes_the_rates_that_were_chosen():
    assert rates("smoke", "torch_default", "plain") == (1e-3, 1e-3)
    assert rates("smoke", "torch_default", "mimetic") == (3e-3, 1e-3)
    assert rates("smoke", "torch_default", "qk_only") == (3e-3, 1e-3)
    untuned = FULL.training.learning_rate
    assert rates("full", "vit_trunc_normal", "mimetic") == (untuned, untuned)
    named = rates("smoke", "torch_default", "mimetic", "epochs=6,learning_rate=0.02")
    assert named == (0.02, 0.02), "chosen with its variant"
    assert rates("smoke", "torch_default", "mimetic", "epochs=6") == (3e-3, 1e-3)
    with pytest.raises(ValueError, match="vit_trunc_normal: no learning rate was chosen yet"):
        rates("smoke", "vit_trunc_normal", "mimetic")
    with pytest.raises(ValueError, match="base is 'torch_defualt'; it must be one of"):
        rates("smoke", "torch_defualt", "mimetic")
    for rate in (1e-3, 3e-3):
        check_role("final", SMOKE, arm("mimetic", learning_rate=rate))
    check_role("final", SMOKE, arm("mimetic", variant="heads=4", learning_rate=3e-3))
    check_role("final", SMOKE, arm("mimetic", variant="epochs=3,learning_rate=0.002"))


@pytest.mark.parametrize(
    "recipe, changes, sentence",
    [
        (SMOKE, {"learning_rate": 3e-3}, "plain: learning rate 0.003; .* 0.001 was chosen"),
        (SMOKE, {"variant": "heads=4", "learning_rate": 2e-3}, "learning rate 0.002; .* chosen"),
        (SMOKE, {"seed": 100}, "seed 100: final runs take 0 to 99"),
        (replace(SMOKE, subset=100), {}, "a committed recipe; 'smoke' here is another"),
        (replace(LAPTOP, name="mine"), {}, "'mine' here is another"),
    ],
)
def test_any_other_final_run_is_refused(recipe, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_role("final", recipe, arm(**changes))
    check_role("live", recipe, arm(**changes))


def test_a_recipe_that_no_record_could_name_is_refused_before_the_training():
    for name in ("laptop-long", "a look", ""):
        with pytest.raises(ValueError, match="take letters, digits and _"):
            check_role("live", replace(SMOKE, name=name), arm())


def test_uncommitted_code_makes_no_final_run(monkeypatch):
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", True))
    with pytest.raises(ValueError, match="differs from commit abc"):
        check_role("final", SMOKE, arm())
    check_role("tuning", SMOKE, arm(seed=100))


def test_tuning_leaves_the_final_seeds_alone():
    with pytest.raises(ValueError, match="seed 4 is for final runs"):
        check_role("tuning", SMOKE, arm(seed=4))


def test_compare_refuses_before_anything_is_trained(tmp_path):
    data = cifar10(source="synthetic")
    task = prepare(SMOKE, data, tmp_path, role="final")
    with pytest.raises(ValueError, match=r"learning rate 0\.01"):
        compare([arm(), arm(learning_rate=0.01)], task, processes=1)
    assert not list(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="role is 'finale'"):
        prepare(SMOKE, data, tmp_path, role="finale")


def task(data, folder):
    return prepare(SMOKE, data, folder, role="final")


OTHER_ARMS = (
    {"scale": "laptop"},
    {"base": "vit_trunc_normal"},
    {"attention": "rotated"},
    {"variant": "heads=2"},
    {"learning_rate": 1e-3},
)


@pytest.mark.integration
def test_a_run_made_again_gives_the_same_history_and_a_changed_record_does_not(tmp_path):
    data = cifar10(source="synthetic")
    chosen = arm("mimetic", variant="heads=4", learning_rate=3e-3)
    (record,) = compare([chosen], task(data, tmp_path / "a"), processes=1)
    other = run_again(record, task(data, tmp_path / "b"))
    assert largest_difference(record, other) == 0
    epochs = [dict(epoch) for epoch in record.epochs]
    epochs[0]["train_loss"] += 1e-6
    assert largest_difference(replace(record, epochs=epochs), other) == pytest.approx(1e-6)
    assert largest_difference(replace(record, final_accuracy=0.0), other) > 0
    seeds = [replace(record, seed=n, final_accuracy=n / 10) for n in (1, 2, 3)]
    strangers = [replace(record, final_accuracy=0.9, **part) for part in OTHER_ARMS]
    said = unlike(replace(record, epochs=epochs), other, [*seeds, *strangers])
    assert "in epoch 1: 1e-06" in said and "3 seeds have a standard deviation of 10.00%" in said
    assert "rounds otherwise" not in said
    assert "rounds otherwise than cpu: X," in unlike(replace(record, device="cpu: X"), other, [])
    packed = replace(record, data=record.data | {"digest": "of another archive"})
    assert largest_difference(packed, run_again(packed, task(data, tmp_path / "c"))) == 0
    for part in ("train", "validation"):
        other = replace(record, data=record.data | {part: "another"})
        with pytest.raises(ValueError, match=r"others than those here .*; fetch github"):
            run_again(other, task(data, tmp_path / "d"))


@pytest.mark.parametrize("variant", ["", "subset=45000,epochs=2"])
def test_a_record_that_can_not_be_run_again_is_a_sentence(monkeypatch, variant):
    """Also one with more images than there are here."""
    names = [r.filename for r in load_records() if r.role == "final" and r.variant == variant]
    monkeypatch.setattr("benchmarks.again.cifar10", lambda: cifar10(source="synthetic"))
    for words in (["again"], ["again", "--record", names[0]]):
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit, match=r"can't be run again here: .* CIFAR-10"):
            again.main()


def test_a_seed_below_zero_is_no_final_one():
    with pytest.raises(ValueError, match="seed -1: final runs take 0 to 99"):
        check_role("final", SMOKE, arm(seed=-1))
