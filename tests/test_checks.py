"""Checks in the notebook: what a judge sees, what it says, and what it must not be fooled by."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from minivit.checks import QUESTIONS, check, examples, explain, report, run_case, verdicts
from minivit.checks.calls import Array, Result, Seed, Weight, call, pack, unpack
from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, judge
from minivit.checks.questions import qk_head
from teaching.keys import KEYS
from teaching.keys.key import stub

HEAD = KEYS["qk-head"]


def five_rows(dim=192, k=64, alpha=0.7, beta=0.7):
    """Five answers whose W_Q and W_K have the same sizes; only the first is right."""
    g = torch.Generator().manual_seed(0)
    target = alpha * torch.randn(dim, dim, generator=g) / dim**0.5 + beta * torch.eye(dim)
    left, s, right = torch.linalg.svd(target)
    W_Q, W_K = left[:, :k] * s[:k].sqrt(), right[:k].T * s[:k].sqrt()
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=g))[0]
    return {
        "correct": (W_Q, W_K),
        "W_K rotated": (W_Q, turn @ W_K),
        "columns of W_K shuffled": (W_Q, W_K[:, torch.randperm(k, generator=g)]),
        "normal entries": tuple(torch.randn(2, dim, k, generator=g) * W_Q.std()),
        "sign flipped": (W_Q, -W_K),
    }


@pytest.mark.parametrize("name", five_rows())
def test_judge_sees_structure_where_marginals_agree(name):
    rows = five_rows()
    W_Q, W_K = rows[name]
    assert abs(W_K.std() / rows["correct"][1].std() - 1) < 0.02  # what a marginal grader would see

    def answer(qkv, generator, **_):
        torch.randn(1, generator=generator)
        with torch.no_grad():
            qkv[64:128], qkv[192 + 64 : 192 + 128] = W_Q.T, W_K.T

    case = qk_head.case("five rows", 192, 3, 1, 0.7, 0.7, (0,))
    verdict = run_case(QUESTIONS["qk-head"], answer, case)
    expected = {"correct": "passed", "W_K rotated": "unaligned", "sign flipped": "sign"}
    assert verdict.passed == (name == "correct"), verdict.finding
    assert verdict.name == expected.get(name, verdict.name)


@pytest.mark.parametrize("id", QUESTIONS)
def test_question_says_what_a_learner_needs(id):
    question = QUESTIONS[id]
    assert "Usual trap" in question.statement and len(question.hints) == 3
    assert {d.hint for d in question.diagnoses} <= {1, 2, 3, None}
    assert len({d.id for d in question.diagnoses}) == len(question.diagnoses) >= 4
    assert question.function in question.signature


@pytest.mark.parametrize("id", QUESTIONS)
def test_last_line_never_says_that_all_is_right(id):
    found = verdicts(QUESTIONS[id], KEYS[id].reference)
    last = report(QUESTIONS[id], found).splitlines()[-1]
    n = len(found)
    assert last == f"{n} of {n} visible checks; 3 hidden cases are graded later"


@pytest.mark.integration
@pytest.mark.parametrize("id", QUESTIONS)
def test_what_is_drawn_has_a_target_of_its_own_shape(id):
    """A figure that can't be drawn would end a check with an error, after the message."""
    for mutant in KEYS[id].mutants:
        finding = verdicts(QUESTIONS[id], mutant.answer, stop=True)[-1].finding
        if finding is not None and finding.mine is not None:
            assert finding.mine.shape == finding.target.shape, mutant.name


def test_check_names_the_mistake_the_size_and_the_hint(capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("minivit.figures.show", drawn.append)
    check("qk-head", next(m.answer for m in HEAD.mutants if m.expects == "sign"))
    text = capsys.readouterr().out
    assert "mean of the diagonal -0.7" in text and "target +0.7" in text and "head 0" in text
    assert "sign flipped" in text and "Hint 1" in text and text.strip().endswith("graded later")
    assert [trace.z.shape for trace in drawn[0].data] == [(64, 64), (64, 64)]
    assert len({trace.coloraxis for trace in drawn[0].data}) == 1


def test_an_answer_that_ends_the_program_ends_the_case_alone(capsys):
    check("other-layout", lambda qkv, out, heads: sys.exit("done"))
    said = capsys.readouterr().out
    assert "raised SystemExit: done" in said and "0 of 4 visible checks" in said


@pytest.mark.integration
def test_no_line_of_a_message_is_wider_than_a_notebook(capsys):
    for id, key in KEYS.items():
        for mutant in key.mutants[:4]:
            check(id, mutant.answer)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100 and "✗" in "".join(lines)


def test_stub_is_told_from_a_crash(capsys):
    check("other-layout", stub)
    said = capsys.readouterr().out
    assert "still raises NotImplementedError" in said and "Hint" not in said  # try it first
    check("other-layout", lambda qkv, out, heads: undefined)  # noqa: F821
    assert "raised NameError: name 'undefined' is not defined" in capsys.readouterr().out

    def not_in_torch(qkv, out, heads):
        return torch.linalg.svd(qkv.bfloat16())  # a NotImplementedError of torch's

    check("other-layout", not_in_torch)
    said = capsys.readouterr().out
    assert "not implemented for 'BFloat16'" in said and "qkv.bfloat16()" in said


@pytest.mark.parametrize(
    "arguments, words",
    [(("no-such", stub), "the questions are"), (("qk-head", 3), "it got a int")],
)
def test_check_refuses_what_it_cannot_check(arguments, words):
    with pytest.raises(ValueError, match=words):
        check(*arguments)


def double(arguments):
    return arguments["x"] * 2, arguments["x"].sum(0)


TWO = Fixed(double, ("twice", "sum"), axis="row")
ONCE = Mistake("once", "It is x.", 1, lambda arguments: (arguments["x"], arguments["x"].sum(0)))
X = Case("x", ({"x": np.arange(6.0).reshape(3, 2)},))


def answered(*arrays):
    return (Result(returned=tuple(Array(np.asarray(a, float), "float32", "cpu") for a in arrays)),)


def test_finding_says_which_item_how_many_entries_and_where():
    right, total = double(X.calls[0])
    assert TWO.judge(X, answered(right, total)) is None
    wrong = right.copy()
    wrong[2, 1] += 1
    finding = TWO.judge(X, answered(wrong, total))
    assert (finding.aspect, finding.text[:6]) == ("twice", "row 2:")
    assert "1 of 2 entries are off, most at [1]: +11, target +10" in finding.text
    assert TWO.judge(X, answered(right, total + 1)).aspect == "sum"
    assert TWO.judge(X, answered(right)).aspect == "kind"


def test_a_mistake_is_seen_beside_another_and_not_where_it_changes_nothing():
    (once,) = TWO.diagnoses(ONCE)
    x, total = X.calls[0]["x"], double(X.calls[0])[1]
    assert once.matches(X, answered(x, total)) and once.matches(X, answered(x, total + 1))
    assert not once.matches(X, answered(x + 1, total))
    zeros = Case("zeros", ({"x": np.zeros((3, 2))},))  # where x and 2 x are the same
    assert not once.matches(zeros, answered(np.ones((3, 2)), np.zeros(2)))


def test_whole_numbers_numpy_numbers_and_complex_ones():
    kinds = [call(lambda x: x, {"x": x}).returned for x in (3, np.float32(0.5), np.int64(2))]
    assert [array.dtype for (array,) in kinds] == ["int64", "float32", "int64"]
    result = call(lambda x: x + 1j, {"x": np.ones(2)})
    assert unpack(pack(result)).returned[0].dtype == "complex64"


def test_arrays_are_read_whichever_way_they_lie():
    ways = [lambda x: x.numpy()[::-1], lambda x: x.numpy()[:, ::-1], lambda x: x.numpy().T]
    for way in (*ways, lambda x: np.broadcast_to(x.numpy()[0], (3, 2))):
        given = np.arange(6.0).reshape(3, 2)
        (array,) = call(way, {"x": given}).returned
        assert np.array_equal(array.values, way(torch.tensor(given)))
    (array,) = call(lambda x: (x.double() * -1j).conj().imag, {"x": np.ones(2)}).returned
    assert np.array_equal(array.values, np.ones(2))


def test_a_number_of_a_fault_has_no_sign():
    question = QUESTIONS["sick-layer"]
    patient = question.visible[1]
    answer = [np.array(0), *(patient.calls[0][name] for name in ("content", "positions"))]
    answer += [patient.calls[0][name] for name in ("qk", "ov")]
    assert question.judge(patient, answered(*answer)).text == "0, target 1"


def test_examples_are_what_the_visible_checks_pass():
    patients = examples("sick-layer")
    assert list(patients) == [case.title for case in QUESTIONS["sick-layer"].visible]
    assert all(KEYS["sick-layer"].reference(**patient) for patient in patients.values())
    with pytest.raises(ValueError, match="the questions are"):
        examples("no-such")


class AlwaysEqual:
    """Equal to everything, close to everything, true."""

    def __eq__(self, other):
        return True

    def __getattr__(self, name):
        return lambda *_, **__: self

    def __array__(self, *_):
        return np.zeros(3)


class Liar(torch.Tensor):
    """A tensor that answers every torch function with itself."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return args[0]


@pytest.mark.parametrize("id", [id for id in QUESTIONS if id != "qk-head"])  # works in place
@pytest.mark.parametrize("answer", [AlwaysEqual(), torch.zeros(3).as_subclass(Liar), "x", [None]])
def test_objects_that_claim_to_be_right_gain_nothing(id, answer):
    found = verdicts(QUESTIONS[id], lambda **_: answer)
    assert not any(verdict.passed for verdict in found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308, 1e38])
@pytest.mark.parametrize("id", QUESTIONS)
def test_wild_numbers_are_a_verdict_not_a_crash(id, value):
    def answer(generator=None, **given):
        tensors = [each for each in given.values() if isinstance(each, torch.Tensor)]
        with torch.no_grad():
            for tensor in tensors:
                tensor.fill_(value)
        return tensors + tensors

    assert not any(verdict.passed for verdict in verdicts(QUESTIONS[id], answer))


@pytest.mark.integration
@pytest.mark.parametrize("id", QUESTIONS)
def test_what_is_said_of_hidden_cases_holds_nothing_of_the_answer(id):
    """No number and no text of the learner's: neither may carry a hidden input out."""
    for mutant in KEYS[id].mutants:
        for verdict in verdicts(QUESTIONS[id], mutant.answer):
            if not verdict.passed:
                said = explain(verdict, numbers=False)
                assert said in ("", *(d.says for d in QUESTIONS[id].diagnoses))


def test_frames_carry_what_they_are_given():
    values = {
        "qkv": Weight(np.arange(6.0).reshape(2, 3), "bfloat16"),
        "seed": Seed(3),
        "x": np.zeros((0, 2)),
        "n": [1, 2.5, None, True, "ü"],
    }
    back = unpack(pack(values))
    assert np.array_equal(back["qkv"].values, values["qkv"].values) and back["seed"] == Seed(3)
    assert back["x"].shape == (0, 2) and back["n"] == (1, 2.5, None, True, "ü")
    result = call(lambda a, g: a + torch.rand(2, generator=g), {"a": np.ones(2), "g": Seed(1)})
    again = unpack(pack(result))
    assert again.generators == {"g": True} and again.returned[0].dtype == "float32"
    assert np.array_equal(again.returned[0].values, result.returned[0].values)


@pytest.mark.parametrize("id", QUESTIONS)
def test_right_answers_are_right_on_the_way_out_of_the_sandbox(id):
    """There, arguments and results go through frames: a number has to stay a number."""
    question = QUESTIONS[id]
    for case in question.visible:
        sent = [unpack(pack(arguments)) for arguments in case.calls]
        results = (unpack(pack(call(KEYS[id].reference, each))) for each in sent)
        assert judge(question, case, tuple(results)).passed, case.title


GOOD = pack(Result(returned=(Array(np.ones(2), "float32", "cpu"),)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"x",
        b"\xff\xff\xff\xff" + GOOD[4:],
        GOOD.replace(b"[2]", b"[9]"),
        GOOD.replace(b'"float32"', b'"<b>at1"'),
        GOOD.replace(b"false", b'"yes"'),
        pack({"a": 1}).replace(b'"dict"', b'"evil"'),
        (200_000).to_bytes(4, "little") + b"[" * 200_000,
        pack([{"result": 1}]).replace(b'"dict"', b'"result"'),
    ],
)
def test_forged_frames_are_a_value_error(data):
    with pytest.raises(ValueError):
        unpack(data)


@pytest.mark.integration
def test_checks_need_nothing_but_the_package(tmp_path):
    """From another folder, the network refused, no plotly: text, and no picture.

    Nor do all questions wait for what one of them needs: scipy.stats takes a second.
    """
    code = (
        "import sys, socket\n"
        "sys.modules['plotly'] = None\n"
        "socket.socket.connect = None\n"
        "from minivit.checks import check\n"
        "check('other-layout', lambda qkv, out, heads: (qkv[:16][None], out[None]))\n"
        "assert not {'teaching', 'scipy.stats'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "0 of 4 visible checks" in done.stdout and "minivit[course]" in done.stdout
