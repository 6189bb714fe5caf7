"""Time to an accuracy: the cheapest recipe that is good enough, and no time before ten seeds."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks import time_to
from benchmarks.time_to import CANDIDATES, MARK, SEEDS, TO_REACH, arm
from minivit.protocol import FIRST_TUNING_SEED
from tests.evidence_records import final, tuning


def tried(*accuracies):
    arms = [arm(v, FIRST_TUNING_SEED) for v in CANDIDATES[: len(accuracies)]]
    given = dict(zip(arms, accuracies, strict=True))
    return tuning(given.get, arms)


def runs(variant, accuracy, seeds=SEEDS):
    return final(lambda _: accuracy, [arm(variant, seed) for seed in seeds])


def test_the_cheapest_that_is_good_enough_is_chosen_and_only_on_validation_images():
    assert time_to.chosen([]) is None
    assert time_to.chosen(tried(TO_REACH - 0.001)) is None
    assert time_to.chosen(tried(0.5, TO_REACH, TO_REACH + 0.1)) == CANDIDATES[1]
    assert time_to.chosen(tried(0.5, TO_REACH, TO_REACH + 0.1)[::-1]) == CANDIDATES[1]
    assert time_to.chosen(tried(0.5) + runs(CANDIDATES[0], 0.9)) is None


def test_the_search_stops_at_the_first_that_is_good_enough(monkeypatch):
    asked = []

    def compare(arms, task, progress):
        asked.extend(a.variant for a in arms)
        assert {a.seed for a in arms} == {FIRST_TUNING_SEED}
        return [SimpleNamespace(final_accuracy=None, epochs=[{"validation_accuracy": found.pop()}])]

    found = [0.99, TO_REACH, 0.4]
    monkeypatch.setattr(time_to, "compare", compare)
    time_to.search(task=None)
    assert asked == list(CANDIDATES[:2])


def test_there_is_no_time_before_every_seed_has_run():
    for others in (runs(CANDIDATES[0], 0.9, SEEDS[1:]), runs(CANDIDATES[1], 0.9), []):
        assert "no time yet" in time_to.lines(tried(TO_REACH) + others)[-1]


@pytest.mark.parametrize("accuracy, word", [(MARK, "65 % reached"), (MARK - 0.001, "not reached")])
def test_the_mean_of_test_images_decides(accuracy, word):
    said = time_to.lines(tried(TO_REACH) + runs(CANDIDATES[0], accuracy))
    assert word in said[1] and f"{100 * accuracy:.2f} %" in said[1] and "n = 10" in said[1]
    epochs = int(CANDIDATES[0].rpartition("=")[2])
    assert said[2].startswith(f"{epochs} s of training")  # a made-up epoch takes one second


def test_one_good_seed_is_not_enough():
    found = tried(TO_REACH) + runs(CANDIDATES[0], 0.5)
    found[-1] = replace(found[-1], final_accuracy=0.9)
    assert "not reached" in time_to.lines(found)[1]


def test_candidates_stand_in_the_order_of_their_cost():
    epochs = [int(variant.rpartition("=")[2]) for variant in CANDIDATES]
    assert epochs == sorted(epochs)
