"""Orders and coins from seed and epoch: what chance allows, and what the judge must tell apart."""

from functools import partial

import numpy as np
import pytest
import torch

from minivit.checks import QUESTIONS, examples, run_case, verdicts
from minivit.checks.calls import Array, Result
from minivit.checks.chance import inverse, leftover, moved, related
from minivit.checks.measures import returned
from minivit.checks.plans import Plan, shared
from teaching.keys import KEYS, own_stream

pytestmark = pytest.mark.integration

QUESTION, KEY = QUESTIONS["own-stream"], KEYS["own-stream"]


def test_chance_passes_its_bounds():
    rng = np.random.default_rng(0)
    for size in (64, 1000, 1001):
        one, two = rng.permutation(size), rng.permutation(size)
        assert np.array_equal(one[inverse(one)], np.arange(size))
        assert leftover(one) == moved(one, two) == ""
        assert related(one, two) == related(one % 2, two) == 0


@pytest.mark.parametrize("size", [100, 1000])
def test_what_chance_does_not_do_is_seen(size):
    rng = np.random.default_rng(0)
    one = rng.permutation(size)
    for order in (np.arange(size), np.arange(size)[::-1], np.roll(np.arange(size), 9)):
        assert leftover(order) and moved(one, one[order])
    assert moved(one, (one + 5) % size)  # by images: each is replaced by the fifth after it
    assert related(one, one) and related(one < size // 2, one) < 0
    assert related(np.ones(size), one) == 0  # a constant has no correlation, and raises nothing


def test_what_plans_share():
    """Along an axis all of them, in every group of two or more; and nothing where none is."""

    def made(orders):
        coins = np.zeros(3, bool)
        return [Plan(pair, True, np.array(order), coins) for pair, order in orders.items()]

    a, b = (0, 1, 2), (2, 1, 0)
    by_seed = made({(0, 0): a, (0, 1): a, (1, 0): b, (1, 1): b})
    assert shared(by_seed, 0) and not shared(by_seed, 1) and not shared(by_seed)
    assert shared(made({(0, 0): a, (1, 1): a})) and not shared(made({(0, 0): a, (1, 1): a}), 0)
    assert not shared(made({(0, 0): a, (0, 1): a, (1, 0): a, (1, 1): b}), 0)
    assert not shared(made({(0, 0): a}))


def test_arrays_may_be_asked_to_be_whole_numbers():
    def arrays(*dtypes):
        return (Result(returned=tuple(Array(np.ones(2), dtype, "cpu") for dtype in dtypes)),)

    shapes, names, dtypes = [(2,), (2,)], ("order", "flipped"), ("int", "bool")
    assert returned(arrays("int32", "bool"), 2, shapes, names, dtypes) is None
    assert "expected bool" in returned(arrays("int64", "uint8"), 2, shapes, names, dtypes).text
    assert "expected float32" in returned(arrays("int64", "float32"), 2, shapes, names).text


FACTORS = (1, 2, 3, 9, 10, 50, 60, 99, 100, 101, 200, 999, 1000, 1337, 5000, 7919, 9900, 9973, 9999)


@pytest.mark.parametrize("factor", FACTORS)
def test_factors_that_are_too_small_collide(factor):
    """So does every other: the pairs hold each difference of epochs beside seeds one apart."""
    cases = KEY.hidden(np.random.default_rng(factor))
    for number in (lambda seed, epoch: factor * seed + epoch, lambda s, e: s + factor * e):
        answer = own_stream.pairing(number)
        assert "collision" in [verdict.name for verdict in verdicts(QUESTION, answer, cases)]


def test_pairs_tell_every_factor_apart():
    pairs = {(call["seed"], call["epoch"]) for call in QUESTION.visible[2].calls}
    for factor in range(1, 10_000):
        for number in (lambda s, e, m=factor: m * s + e, lambda s, e, m=factor: s + m * e):
            assert len({number(*pair) for pair in pairs}) < len(pairs), factor


@pytest.mark.parametrize(
    "answer, name",
    [
        (own_stream.pairing(lambda seed, epoch: seed * epoch), "collision"),
        (own_stream.pairing(lambda seed, epoch: 1000 * seed + epoch), "collision"),
        (
            partial(own_stream.variant, coins=lambda n, g: torch.rand(n, generator=g) < 0.4),
            "unfair",
        ),
        (lambda **given: tuple(each.float() for each in own_stream.plan(**given)), "dtype"),
        # No place has drawn for itself here, and the message for that one would not be true.
        (partial(own_stream.variant, order=lambda n, g: torch.zeros(n, dtype=int)), "order"),
        (
            partial(own_stream.variant, order=lambda n, g: 2 * torch.randperm(n, generator=g)),
            "order",
        ),
    ],
    ids=["product", "1000", "two in five", "floats", "one image alone", "even numbers"],
)
def test_more_wrong_answers(answer, name):
    for cases in (QUESTION.visible, KEY.hidden(np.random.default_rng(5))):
        assert name in [verdict.name for verdict in verdicts(QUESTION, answer, cases)]


@pytest.mark.parametrize("bits", range(19, 33))
def test_shifts_beyond_what_torch_looks_at_collide(bits):
    cases = KEY.hidden(np.random.default_rng(bits))
    for number in (lambda seed, epoch: seed << bits | epoch, lambda s, e: e << bits | s):
        answer = own_stream.pairing(number)
        assert verdicts(QUESTION, answer, cases)[1].name in (
            "collision",
            "seed-ignored",
            "epoch-ignored",
        )


def test_what_is_kept_shows_where_each_call_is_a_fork():
    """So it is while grading: every call begins with the state that the cells have left."""

    def forked(**given):
        own_stream.KEPT.manual_seed(0)
        return own_stream.kept(**given)

    names = [verdict.name for verdict in verdicts(QUESTION, forked)]
    assert set(names) == {"constant"}
    torch.manual_seed(0)
    state = torch.get_rng_state()

    def from_one_state(**given):
        torch.set_rng_state(state)
        return own_stream.no_generator(**given)

    assert run_case(QUESTION, from_one_state, QUESTION.visible[0]).name == "no-generator"


def test_examples_show_four_arguments():
    for given in examples("own-stream").values():
        assert list(given) == ["seed", "epoch", "images", "flip"]
        order, flipped = KEY.reference(**given)
        assert order.shape == flipped.shape == (given["images"],)
