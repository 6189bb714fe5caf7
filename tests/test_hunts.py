"""Hidden patients of the two bug hunts find who knows only the visible ones, or stands too near."""

import pytest
import torch

from minivit.checks import verdicts
from minivit.model import sincos_positions
from teaching.keys import hunt, miswritten, sick_layer
from teaching.term import hidden_cases

SEEDS = range(12)


def border_at(number):
    """Content is called loud from this standard deviation on."""

    def doctor(content, **rest):
        fault, *tensors = sick_layer.treat(content=content, **rest)
        if fault != 1 and content.std() > number:
            return 2, content / 8, *(rest[name] for name in sick_layer.NAMES[1:])
        return (0, content, *tensors[1:]) if fault == 2 else (fault, *tensors)

    return doctor


def positions_unlike(differ):
    """Positions are called shuffled where `differ(positions, table)`."""

    def doctor(positions, **rest):
        table = sincos_positions(rest["grid"], positions.shape[1])
        if differ(positions, table):
            return 1, rest["content"], table, rest["qk"], rest["ov"]
        fault, *tensors = sick_layer.treat(positions=table, **rest)
        tensors[1] = positions
        return fault, *tensors

    return doctor


VISIBLE_TABLE = sincos_positions(6, 32)
SICK = {
    "a border below what a healthy layer may have": border_at(0.8),
    "a border above what an ill one may have": border_at(4.5),
    "the table of the visible size": positions_unlike(
        lambda p, _: p.shape == (36, 32) and not torch.allclose(p, VISIBLE_TABLE, atol=1e-3)
    ),
    "the first row": positions_unlike(
        lambda p, table: not torch.allclose(p[0], table[0], atol=1e-3)
    ),
    "two heads": hunt.instead(
        sick_layer.treat, 3, 3, lambda qk, **rest: torch.cat([qk[:2] / 10, qk[2:]])
    ),
}


def three_heads_rolled(qkv, **rest):
    query, key, value = qkv.chunk(3)
    return torch.cat([query, key.roll(len(key) // 3, 0), value])


def four_heads_reshaped(qkv, out, **rest):
    return qkv.reshape(4, 3, -1, len(out)).transpose(0, 1).reshape(qkv.shape)


def heads_of_16_reshaped(qkv, out, **rest):
    return qkv.reshape(-1, 3, 16, len(out)).transpose(0, 1).reshape(qkv.shape)


MISWRITTEN = {
    "three heads": hunt.instead(miswritten.mend, 2, 1, three_heads_rolled),
    "four heads": hunt.instead(miswritten.mend, 4, 1, four_heads_reshaped),
    "heads of 16": hunt.instead(miswritten.mend, 4, 1, heads_of_16_reshaped),
}
ALL = [(sick_layer.KEY, name) for name in SICK] + [(miswritten.KEY, name) for name in MISWRITTEN]


@pytest.mark.integration
@pytest.mark.parametrize(("key", "name"), ALL, ids=[name for _, name in ALL])
def test_what_fits_the_visible_patients_alone_fails_on_hidden_ones(key, name):
    answer = (SICK | MISWRITTEN)[name]

    def passes(cases):
        return all(verdict.name == "passed" for verdict in verdicts(key.question, answer, cases))

    assert passes(key.question.visible), "or it is a mutant for the kill matrix"
    sets = [hidden_cases(key, f"hunts {seed}".encode(), "class") for seed in SEEDS]
    assert not any(map(passes, sets))
