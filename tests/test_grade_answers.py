"""What a learner's code sends back can be anything: it costs its own question, never the class."""

from dataclasses import replace

import numpy as np
import pytest
from test_grade import ANSWERS, SECRET, InProcess, in_process, run, submission  # noqa: F401

from minivit.checks.calls import Array, Problem, Result, call, pack
from teaching.keys import KEYS
from teaching.sandbox.box import LIMITS, Sandbox
from teaching.session import MOST_PROBLEMS, MOST_WORDS, grade_one

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("cell", ["raise ValueError({})", "def patch_matrix(kernel): raise E({})"])
@pytest.mark.parametrize("text", [r"'\ud800'", "10**6 * 'x'"], ids=["no character", "long"])
def test_words_that_cant_be_written_do_not_end_the_grading(tmp_path, cell, text):
    code = "class E(Exception): pass\n" + cell.format(text)
    run([submission("eve", *ANSWERS, code), submission("bob", *ANSWERS)], tmp_path)
    pages = [tmp_path / f"feedback/{name}.md" for name in ("eve", "bob")]
    assert all(0 < path.stat().st_size < 10 * MOST_WORDS for path in pages)
    assert "16 of 16 points" in pages[1].read_text("utf-8")


def test_a_name_of_an_exception_can_be_long(tmp_path):
    code = "def patch_matrix(kernel): raise type(10**6 * 'E', (Exception,), {})()"
    run([submission("eve", *ANSWERS, code)], tmp_path)
    assert (tmp_path / "feedback/eve.md").stat().st_size < 10 * MOST_WORDS


def test_no_end_of_problems_is_cut(monkeypatch):
    told = [(1, "raised", "x")] * 10_000
    monkeypatch.setattr(InProcess, "open", lambda self, *_: (told, []))
    given = (InProcess(()), submission("eve", *ANSWERS), [], SECRET, LIMITS)
    assert len(grade_one(*given)["cells"]) == MOST_PROBLEMS


@pytest.mark.parametrize("id", KEYS)
def test_an_answer_with_other_names_than_it_was_asked_for_is_none(id):
    """Judges look tensors and generators up by name, so a forged answer would end the grading."""
    key = KEYS[id]
    arguments = key.question.visible[0].calls[0]
    result = call(key.reference, arguments)
    assert result.problem is None and told_back(result, arguments) is None
    other = {"other": Array(np.zeros(2), "float32", "cpu")}
    forged = [replace(result, arguments=other)]
    if result.arguments:  # of whole numbers alone nothing is sent back
        forged.append(Result(result.returned))
    for each in forged:
        assert told_back(each, arguments).kind == "stopped"
    assert told_back(Result(problem=Problem("raised", "x")), arguments).kind == "raised"
    box = Sandbox(())
    for told in ([result], [result, result, result], [result, forged[0]], [], result):
        box._send, box._receive = (
            lambda *_: None,
            lambda *_, told=told: (b"r", pack({"results": told})),
        )
        found = box.call_all("f", (arguments, arguments))
        assert [each.problem.kind for each in found] == ["stopped", "stopped"], "one for each call"


def told_back(result, arguments):
    """The problem that the grader sees where the sandbox sends this result."""
    box = Sandbox(())
    box._send, box._receive = lambda *_: None, lambda *_: (b"r", pack({"results": [result]}))
    return box.call("f", arguments).problem
