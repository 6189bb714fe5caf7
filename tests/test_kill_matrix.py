"""The graders' own test: right answers pass, wrong ones fail with the message meant for them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from minivit.checks.questions import QUESTIONS
from teaching import kill_matrix
from teaching.keys import KEYS
from teaching.term import hidden_cases, read_secret, variant_rng, write_secret

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "teaching" / "kill_matrix.md"


def survivors(seeds, keys=None):
    return [row for row in kill_matrix.rows(seeds, keys) if row.wrong]


@pytest.mark.parametrize("id", KEYS)
def test_kill_matrix(id):
    assert survivors(5, {id: KEYS[id]}) == []


@pytest.mark.slow
@pytest.mark.parametrize("id", KEYS)
def test_kill_matrix_over_a_hundred_variants(id):
    assert survivors(100, {id: KEYS[id]}) == []


@pytest.mark.parametrize("id", KEYS)
def test_a_key_has_enough_of_each(id):
    key = KEYS[id]
    assert len(key.mutants) >= 4 and len(key.alternatives) >= 2
    named = {diagnosis.id for diagnosis in key.question.diagnoses}
    assert named <= {mutant.expects for mutant in key.mutants}, "a message that nothing tests"


def test_a_judge_that_passes_everything_is_caught():
    key = KEYS["other-layout"]
    blind = dataclasses.replace(key.question, judge=lambda case, results: None)
    found = survivors(1, {"blind": dataclasses.replace(key, question=blind)})
    assert {row.kind for row in found} == {"mutant"} and len(found) == len(key.mutants)


def test_a_judge_that_is_too_strict_is_caught():
    key = KEYS["qk-head"]
    strict = dataclasses.replace(
        key, alternatives={"a wrong one": key.mutants[0].answer}, mutants=()
    )
    assert [row.name for row in survivors(1, {"strict": strict})] == ["a wrong one"]


def test_a_message_meant_for_another_mistake_is_caught():
    key = KEYS["diagonal-z"]
    renamed = dataclasses.replace(key.mutants[0], expects="pooled")
    found = survivors(1, {"renamed": dataclasses.replace(key, mutants=(renamed,))})
    assert [row.name for row in found] == [renamed.name]


def test_page_lists_every_answer():
    text = PAGE.read_text(encoding="utf-8")
    for key in KEYS.values():
        for name in (*key.alternatives, *(mutant.name for mutant in key.mutants)):
            assert f"| {name} |" in text, f"{name}: make the page again: make matrix"
    assert "survivors: 0." in text


def test_variants_differ_by_learner_question_and_term_and_repeat():
    first = variant_rng(b"s" * 32, "qk-head", "ann").integers(2**32, size=4)
    assert np.array_equal(first, variant_rng(b"s" * 32, "qk-head", "ann").integers(2**32, size=4))
    others = [
        (b"s" * 32, "qk-head", "bob"),
        (b"s" * 32, "other", "ann"),
        (b"t" * 32, "qk-head", "ann"),
    ]
    for other in others:
        assert not np.array_equal(first, variant_rng(*other).integers(2**32, size=4))
    assert all(len(hidden_cases(key, b"s" * 32, "ann")) == 3 for key in KEYS.values())


def test_a_term_has_one_secret(tmp_path):
    path = tmp_path / ".term"
    with pytest.raises(ValueError, match="make term"):
        read_secret(path)
    write_secret(path)
    assert len(read_secret(path)) == 64 and path.stat().st_mode & 0o077 == 0
    with pytest.raises(ValueError, match="exists"):
        write_secret(path)
    path.write_text("short")
    with pytest.raises(ValueError, match="32 or more"):
        read_secret(path)


def test_every_question_is_in_the_list_and_has_its_key():
    """A module that no list names would never be asked, and the matrix would not miss it."""
    names = {id.replace("-", "_") for id in QUESTIONS}
    for folder, others in (("minivit/checks/questions", set()), ("teaching/keys", {"key", "hunt"})):
        modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"} - others
        assert modules == names, f"{folder}: {modules ^ names}"
