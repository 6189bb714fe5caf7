"""What `check` says before grading does: functions that are withheld there, and too much time."""

from functools import partial
from unittest.mock import MagicMock

import pytest

import minivit
import minivit.checks as checks
import minivit.circuits
from minivit.checks import QUESTIONS, check
from minivit.checks.absent import absent
from minivit.circuits import AttentionWeights, diagonal_stats
from minivit.circuits import split_heads as parts
from teaching.keys import KEYS

WITHHELD = ("circuits.split_heads",)


def helper(weight):
    return [parts(each, each, 2) for each in weight]


def split_heads(weight):
    """The notebook's own, of the same name."""
    return weight.split(2)


def by_name(weight):
    return parts(weight, weight, 2)


def by_module(weight):
    return minivit.circuits.split_heads(weight, weight, 2)


def by_an_import_inside(weight):
    from minivit.circuits import split_heads as inside

    return inside(weight, weight, 2)


def by_a_helper(weight):
    def each(part):
        return helper(part)

    return [each(part) for part in weight]


def by_a_class_that_uses_it(weight):
    return AttentionWeights.of(weight).W_Q


def by_a_closure():
    local = parts

    def answer(weight):
        return local(weight, weight, 2)

    return answer


def by_a_module_imported_inside(weight):
    import minivit.circuits

    return minivit.circuits.split_heads(weight, weight, 2)


@pytest.mark.parametrize(
    "answer",
    [
        by_name,
        by_module,
        by_an_import_inside,
        by_a_module_imported_inside,
        by_a_helper,
        by_a_class_that_uses_it,
        by_a_closure(),
        partial(by_name),
    ],
)
def test_a_withheld_function_is_found(answer):
    assert absent(answer, WITHHELD) == ["circuits.split_heads"]


ANSWER = QUESTIONS["patch-matrix"].judge


def by_a_judge(weight):
    from minivit.checks.questions.diagonal_z import by_loops

    return by_loops({"products": weight, "offset": 0})


def by_a_judge_of_the_notebook(weight):
    return ANSWER, checks.questions.diagonal_z.ANSWER


def by_verdicts(weight):
    return checks.verdicts(QUESTIONS["patch-matrix"], by_verdicts)


@pytest.mark.parametrize("answer", [by_a_judge, by_a_judge_of_the_notebook, by_verdicts])
def test_a_judge_is_found(answer):
    assert absent(answer, WITHHELD) == ["checks"]


def with_check_and_examples(weight):
    check("patch-matrix", with_its_own)
    return checks.examples("patch-matrix")


def with_its_own(weight):
    return split_heads(weight), weight.split_heads


def with_its_own_and_the_module(weight):
    return split_heads(weight), minivit.circuits.qk(weight)


def with_an_attribute_of_that_name(weight):
    minivit.circuits.qk(weight)
    return weight.split_heads


def with_another(weight):
    return diagonal_stats(weight), minivit.sincos_positions(4, 8)


def recursive(n):
    return recursive(n - 1) if n else by_a_lambda(n)


def by_a_lambda(n):
    return (lambda: recursive(n))()


@pytest.mark.parametrize(
    "answer",
    [
        with_its_own,
        with_its_own_and_the_module,
        with_an_attribute_of_that_name,
        with_another,
        with_check_and_examples,
        recursive,
        len,
        MagicMock(),
    ],
)
def test_what_is_not_withheld_is_not_found(answer):
    assert absent(answer, WITHHELD) == []


@pytest.mark.parametrize("id", QUESTIONS)
def test_right_answers_lean_on_nothing_that_is_withheld(id):
    key, lesson = KEYS[id], QUESTIONS[id].lesson
    names = {name for q in QUESTIONS.values() if q.lesson == lesson for name in q.withheld}
    for answer in (key.reference, *key.alternatives.values()):
        assert absent(answer, names) == []


def test_check_says_what_will_not_be_there(capsys):
    """Withheld for one question of a notebook, and so for all of them."""

    def patch_matrix(kernel):
        parts(kernel, kernel, 1)

    check("patch-matrix", patch_matrix)
    text = " ".join(capsys.readouterr().out.split())
    assert "Beware: it uses minivit's split_heads, which is not there while this notebook" in text
    check("patch-matrix", KEYS["patch-matrix"].reference)
    assert "Beware" not in capsys.readouterr().out


def test_check_looks_at_the_slowest_case_and_not_at_the_average(capsys, monkeypatch):
    clock, seconds = [0.0], iter([4.5, 0, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(checks.time, "process_time", lambda: clock[0])

    def slow_at_first(kernel):
        clock[0] += next(seconds)
        return KEYS["patch-matrix"].reference(kernel)

    check("patch-matrix", slow_at_first)
    assert "a call computes for 4.5 seconds" in " ".join(capsys.readouterr().out.split())


def test_a_module_is_followed_under_another_name():
    def renamed(x):
        import minivit.circuits as c

        return c.split_heads(x, x, 1)

    def kept(x):
        m = minivit.circuits
        return m.split_heads(x, x, 1)

    for answer in (renamed, kept):
        assert absent(answer, ["circuits.split_heads"]) == ["circuits.split_heads"], answer


def test_check_says_that_a_call_takes_longer_than_grading_lets_it(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checks.time, "process_time", lambda: clock[0])

    def slow(kernel, seconds):
        clock[0] += seconds
        return KEYS["patch-matrix"].reference(kernel)

    for seconds, said in (
        (3.5, "a call computes for 3.5 seconds here; while grading it may"),
        (2.9, ""),
    ):
        check("patch-matrix", partial(slow, seconds=seconds))
        text = " ".join(capsys.readouterr().out.split())
        assert said in text and ("Beware" in text) == bool(said)


def test_the_seconds_of_a_check_are_those_of_grading():
    from teaching.sandbox.box import LIMITS

    assert LIMITS.call == checks.SECONDS


def test_withheld_functions_are_minivits():
    for question in QUESTIONS.values():
        for name in question.withheld:
            module, function = name.rsplit(".", 1)
            assert callable(getattr(__import__(f"minivit.{module}", fromlist=[""]), function))
