"""What a check says when no known mistake fits: it must be true, and lead on."""

import math
from functools import partial

import pytest
import torch

from minivit.checks import QUESTIONS, check, examples, verdicts
from teaching.keys import KEYS
from teaching.term import hidden_cases


def said(id, answer, capsys):
    check(id, answer)
    return capsys.readouterr().out


def test_other_names_for_the_arguments_are_told(capsys):
    text = said("gap-closed", lambda p, m, q: (0.5, 0.4, 0.6), capsys)
    words = " ".join(text.split())  # lines break where a notebook's page ends
    assert "called by name, with plain, method, pretrained: keep the names" in words
    text = said("gap-closed", lambda plain, **_: plain + "x", capsys)
    assert "TypeError" in text and "by name" not in text  # an error of its own


@pytest.mark.parametrize(
    "id, answer, words",
    [
        ("gap-closed", torch.zeros(3), "one tensor of shape (3,); expected 3 numbers: f, low"),
        ("gap-closed", 0.5, "one number; expected 3 numbers: f, low, high"),
        ("identity-kept", {"identity": 1}, "a dict; expected 3 tensors: identity, noise, new"),
        ("ledger-shares", [0.1, 0.2], "2 tensors or numbers; expected one tensor: changes"),
        ("miswritten", ("fault 1", torch.ones(2), torch.ones(2)), "a tuple of str, Tensor, Tensor"),
        ("miswritten", 1, "expected 3 numbers and tensors: fault, qkv, out"),
        ("gap-closed", None, "it returned nothing; is there a return?"),
    ],
)
def test_what_came_back_instead_is_named(id, answer, words, capsys):
    text = said(id, lambda **_: answer, capsys)
    assert words in text and "Hint" not in text  # no hint is about that


@pytest.mark.parametrize(
    "id, place, hint",
    [("gap-closed", 0, 1), ("gap-closed", 2, 2), ("identity-kept", 1, 2), ("identity-kept", 2, 3)],
)
def test_the_first_hint_is_about_what_is_off(id, place, hint, capsys):
    def answer(**given):
        found = list(KEYS[id].reference(**given))
        found[place] = found[place] + 0.77
        return found

    assert f"Hint {hint}: read it below" in said(id, answer, capsys)


def test_transposed_or_halved_begins_with_the_hint_on_axes(capsys):
    turned = said("spectrum-gap", lambda **g: KEYS["spectrum-gap"].reference(**g).T, capsys)
    halved = said("wave-gain", lambda weights, **_: torch.fft.rfft2(weights).real, capsys)
    assert all("shape: " in text and "Hint 3: read it" in text for text in (turned, halved))


def test_a_control_that_chance_drew_is_not_called_the_target():
    """The learner's own control would be another one, and as right."""
    given = QUESTIONS["rotated-control"], lambda first, second, generator: (first, second)
    finding = verdicts(*given)[0].finding
    assert finding.aspect == "alignment" and finding.shows == "one possible control"


def test_a_wrong_shape_of_many_axes_begins_with_the_hint_on_shapes(capsys):
    text = said("masked-reading", lambda x, **_: x[0], capsys)
    assert "shape: output has shape (3, 8)" in text and "Hint 2: read it below" in text


def test_a_parameter_is_changed_without_gradients(capsys):
    def answer(qkv, **_):
        qkv[0] = 0

    text = " ".join(said("qk-head", answer, capsys).split())
    assert "RuntimeError" in text and "inside `with torch.no_grad():`" in text


def test_heads_that_are_exactly_alike_need_no_turn(capsys):
    """Whoever turns them divides by 0: better here than in one class of a hundred."""

    answer = partial(KEYS["even-heads"].reference, stop=-math.inf)
    assert "✗ no noise: the heads are alike already" in said("even-heads", answer, capsys)


def test_what_is_given_is_not_to_be_changed(capsys):
    text = said("wave-gain", lambda weights, **_: weights.mul_(2), capsys)
    assert "weights was changed by the call; work on a copy, weights.clone()" in text


def test_a_complex_tensor_has_a_real_part(capsys):
    text = said("wave-gain", lambda weights, **_: torch.fft.fft2(weights), capsys)
    assert "gain is complex64; expected float32 or float64; take its real part" in text
    assert "real part" not in said("wave-gain", lambda weights, **_: weights.int(), capsys)


def test_who_returns_zeros_is_not_told_to_have_looked_elsewhere(capsys):
    """Where everybody may be looked at, they are what the table read the other way round gives."""
    text = said("masked-reading", lambda x, **_: torch.zeros_like(x), capsys)
    assert "where it must not, or nowhere:" in text


def test_what_is_only_near_to_right_is_not_called_by_a_mistake_that_is_near():
    key = KEYS["diagonal-z"]
    found = verdicts(key.question, lambda **given: 1.01 * key.reference(**given))
    assert {verdict.name for verdict in found} == {"score"}


@pytest.mark.parametrize("given", [float, torch.tensor, torch.float64])
def test_near_to_right_is_called_rounded_where_it_lies_on_the_grid(given):
    """A number that lies near a multiple of 0.001 by accident was called rounded to it."""
    question = QUESTIONS["fair-choice"]
    case = question.visible[0]
    plain, new, gain = KEYS["fair-choice"].reference(**examples("fair-choice")[case.title])
    on_grid = round(float(gain), 3)
    dress = (lambda x: torch.tensor(x, dtype=given)) if given is torch.float64 else given
    for off, name in ((0, "rounded"), (5e-6, "gain")):
        (verdict,) = verdicts(
            question, lambda off=off, **_: (plain, new, dress(on_grid + off)), [case]
        )
        assert verdict.name == name


def test_every_learners_hidden_cases_show_that_a_gain_was_rounded():
    """It passed three draws of a hundred, and was called something else in every fourth."""
    key = KEYS["fair-choice"]
    (mutant,) = [each for each in key.mutants if each.expects == "rounded"]
    for learner in range(8):
        for case in hidden_cases(key, b"s" * 32, str(learner)):
            assert verdicts(key.question, mutant.answer, [case])[0].name == "rounded"


def test_what_cannot_be_read_stands_in_no_line_of_an_answer(capsys):
    text = said("patch-matrix", lambda **given: torch.eye(3).to_sparse(), capsys)
    assert "Sparse layout" in text and "in the line" not in text


def test_the_right_numbers_in_another_order_are_told(capsys):
    def answer(**given):
        mean, low, high = KEYS["paired-gain"].reference(**given)
        return low, mean, high

    text = " ".join(said("paired-gain", answer, capsys).split())
    assert "All of it is right" in text and "in this order: mean, low, high." in text


def test_where_no_known_mistake_fits_the_arguments_are_to_be_had(capsys):
    text = said("wave-gain", lambda weights, **_: weights + 7, capsys)
    assert 'examples("wave-gain")["everywhere equally"]' in text
    named = said("wave-gain", lambda **given: KEYS["wave-gain"].reference(**given) - 1, capsys)
    assert "residual" in named and "examples(" not in named
    assert "examples(" not in said("own-stream", lambda **_: (torch.ones(1), torch.ones(1)), capsys)


@pytest.mark.parametrize("id", QUESTIONS)
def test_every_case_can_be_asked_for_by_its_title(id):
    titles = [case.title for case in QUESTIONS[id].visible]
    assert len(set(titles)) == len(titles) and not any('"' in title for title in titles)


@pytest.mark.parametrize("id", QUESTIONS)
def test_first_hints_are_hints(id):
    assert set(QUESTIONS[id].first_hints.values()) <= {1, 2, 3}


@pytest.mark.parametrize("id, size", [("miswritten", "heads"), ("sick-layer", "grid")])
def test_nothing_is_called_named_or_mended_that_is_not(id, size, capsys):
    def answer(**given):
        fault = KEYS[id].reference(**given)[0]
        return (fault + 1 if fault else 0, *(each for name, each in given.items() if name != size))

    text = said(id, answer, capsys)
    assert "fault: 2, target 1" in text and "mended" not in text and "right name" not in text
