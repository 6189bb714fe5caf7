"""Time to an accuracy: the cheapest recipe that is good enough, and no time before ten seeds."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks import time_to
from benchmarks.time_to import CPU, arm
from minivit.protocol import FIRST_TUNING_SEED
from tests.evidence_records import final, tuning


def tried(*accuracies):
    arms = [arm(v, FIRST_TUNING_SEED) for v in CPU.candidates[: len(accuracies)]]
    given = dict(zip(arms, accuracies, strict=True))
    return tuning(given.get, arms)


def runs(variant, accuracy, seeds=CPU.seeds):
    return final(lambda _: accuracy, [arm(variant, seed) for seed in seeds])


def test_the_cheapest_that_is_good_enough_is_chosen_and_only_on_validation_images():
    assert time_to.chosen([]) is None
    assert time_to.chosen(tried(CPU.to_reach - 0.001)) is None
    assert time_to.chosen(tried(0.5, CPU.to_reach, CPU.to_reach + 0.1)) == CPU.candidates[1]
    assert time_to.chosen(tried(0.5, CPU.to_reach, CPU.to_reach + 0.1)[::-1]) == CPU.candidates[1]
    assert time_to.chosen(tried(0.5) + runs(CPU.candidates[0], 0.9)) is None


def test_the_search_stops_at_the_first_that_is_good_enough(monkeypatch):
    asked = []

    def compare(arms, task, progress):
        asked.extend(a.variant for a in arms)
        assert {a.seed for a in arms} == {FIRST_TUNING_SEED}
        return [SimpleNamespace(final_accuracy=None, epochs=[{"validation_accuracy": found.pop()}])]

    found = [0.99, CPU.to_reach, 0.4]
    monkeypatch.setattr(time_to, "compare", compare)
    time_to.search(task=None)
    assert asked == list(CPU.candidates[:2])


def test_there_is_no_time_before_every_seed_has_run():
    for others in (runs(CPU.candidates[0], 0.9, CPU.seeds[1:]), runs(CPU.candidates[1], 0.9), []):
        assert "no time yet" in time_to.lines(tried(CPU.to_reach) + others)[-1]


@pytest.mark.parametrize(
    "accuracy, word", [(CPU.accuracy, "65 % reached"), (CPU.accuracy - 0.001, "not reached")]
)
def test_the_mean_of_test_images_decides(accuracy, word):
    said = time_to.lines(tried(CPU.to_reach) + runs(CPU.candidates[0], accuracy))
    assert word in said[1] and f"{100 * accuracy:.2f} %" in said[1] and "n = 10" in said[1]
    epochs = int(CPU.candidates[0].rpartition("=")[2])
    assert said[2].startswith(f"{epochs} s of training")  # a made-up epoch takes one second
    assert said[-1].startswith("mimetic on torch_default; ")  # whose time it is


def test_seconds_of_one_device_are_not_mixed_with_those_of_another():
    found = runs(CPU.candidates[0], CPU.accuracy)
    devices = ["a card"] * 4 + ["another card"] * 5 + ["a card, then another card"]
    slow = [
        replace(
            r,
            device=device,
            epochs=[e | {"seconds": 10.0 if device == "another card" else 1.0} for e in r.epochs],
        )
        for r, device in zip(found, devices, strict=True)
    ]
    _, _, one, other, moved, *_ = time_to.lines(tried(CPU.to_reach) + slow)
    epochs = len(found[0].epochs)
    assert one.startswith(f"{epochs} s of training a run, mean of 4 (") and "on a card" in one
    assert other.startswith(f"{10 * epochs} s of training a run, mean of 5 (")
    assert moved == "went from one device to another, seconds not quoted: 1 of 10 runs"


def test_one_good_seed_is_not_enough():
    found = tried(CPU.to_reach) + runs(CPU.candidates[0], 0.5)
    found[-1] = replace(found[-1], final_accuracy=0.9)
    assert "not reached" in time_to.lines(found)[1]


def test_candidates_stand_in_the_order_of_their_cost():
    epochs = [int(variant.rpartition("=")[2]) for variant in CPU.candidates]
    assert epochs == sorted(epochs)
