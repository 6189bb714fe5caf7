"""The small language model of lesson 08: its text, its mask, its arms, its plan."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch

from benchmarks import char_lm
from minivit.records import load_records, write_record

TINY = char_lm.CharRecipe(context=8, dim=16, depth=2, heads=2, steps=12, warmup=2, checks=3)


@pytest.fixture(scope="module")
def text():
    letters = "abcdefgh\n"
    drawn = torch.randint(len(letters), (char_lm.BLOCK * 11 + 100,))
    return char_lm.encode("".join(letters[i] for i in drawn), TINY.context)


def test_parts_share_no_character_and_miss_few(text):
    n = text.data["characters"]
    covered = {}
    for part, starts in text.starts.items():
        seen = torch.zeros(n, dtype=torch.bool)
        seen[(starts[:, None] + torch.arange(TINY.context + 1)).flatten()] = True
        covered[part] = seen
    total = sum(seen.long() for seen in covered.values())
    assert total.max() == 1 and total.sum() > 0.98 * n
    for part, block in (("validation", 4), ("test", 9)):
        begin = block * char_lm.BLOCK
        assert covered[part].nonzero().min() == begin
        assert covered[part].nonzero().max() < begin + char_lm.BLOCK
        targets = (text.starts[part][:, None] + 1 + torch.arange(TINY.context)).flatten()
        assert len(targets.unique()) == len(targets)  # each is predicted once


def test_windows_hold_characters_and_the_next_ones(text):
    inputs, targets = char_lm.windows(text, torch.tensor([5, 70]), 8)
    assert torch.equal(inputs[1], text.codes[70:78]) and torch.equal(targets[1], text.codes[71:79])


def test_no_character_sees_a_later_one(text):
    model = char_lm.CharLM(len(text.alphabet), TINY)
    a, b = text.codes[None, :8], text.codes[None, :8].clone()
    b[0, 5] = (b[0, 5] + 1) % len(text.alphabet)
    changed = (model(a) - model(b)).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [False] * 5 + [True] * 3


def test_bits_of_a_model_that_knows_nothing(text):
    model = char_lm.CharLM(len(text.alphabet), TINY)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    found, right = char_lm.measure(model, text, "test", TINY)
    assert found == pytest.approx(torch.log2(torch.tensor(9.0)).item(), abs=1e-5)
    assert right == pytest.approx(1 / 9, abs=0.05)


def test_arms_share_everything_but_attention_weights(text):
    models = {
        arm: char_lm.start_(char_lm.CharLM(9, TINY), arm, seed=2).state_dict()
        for arm in char_lm.ARMS
    }
    for arm, state in models.items():
        differ = {name for name in state if not state[name].equal(models["plain"][name])}
        wanted = {n for n in state if "attn" in n and n.endswith("weight")}
        assert differ == (set() if arm == "plain" else wanted), arm


def test_only_a_final_run_reads_the_test_text(text, tmp_path):
    tuning = char_lm.run(text, "mimetic", 100, 1e-3, "tuning", TINY)
    final = char_lm.run(text, "mimetic", 0, 1e-3, "final", TINY)
    assert "test_bits" not in tuning.epochs[-1] and tuning.final_accuracy is None
    assert 0 < char_lm.test_bits(final) < 5 and [e["epoch"] for e in final.epochs] == [1, 2, 3]
    write_record(final, tmp_path)
    assert load_records(tmp_path) == [final]
    again = char_lm.run(text, "mimetic", 0, 1e-3, "final", TINY)
    losses = [[e["train_loss"] for e in run.epochs] for run in (final, again)]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def test_the_plan_tunes_first_and_then_goes_on_where_it_was():
    def made(attention, seed, rate, role, bits=3.0):
        part = {"validation_bits": bits}
        return SimpleNamespace(
            attention=attention, seed=seed, learning_rate=rate, role=role, epochs=[part]
        )

    todo = char_lm.missing([], [])
    assert todo == [("plain", 100, rate, "tuning") for rate in char_lm.RATES]
    tuning = [made(*run, bits=abs(run[2] - 3e-3)) for run in todo]
    assert char_lm.missing(tuning[:1], []) == todo[1:]
    finals = char_lm.missing(tuning, [])
    assert len(finals) == len(char_lm.ARMS) * len(char_lm.FINAL_SEEDS)
    assert {rate for _, _, rate, _ in finals} == {3e-3}
    assert char_lm.missing(tuning, [made(*finals[0])]) == finals[1:]


def test_shipped_records_are_of_one_recipe_and_one_text():
    records = char_lm.records(char_lm.FINAL, "final")
    assert len(records) == len(char_lm.ARMS) * len(char_lm.FINAL_SEEDS)
    assert all(record.recipe == asdict(char_lm.CharRecipe()) for record in records)
    assert len({record.data["digest"] for record in records}) <= 1
    assert len({record.learning_rate for record in records}) <= 1
    assert all(record.seed in char_lm.FINAL_SEEDS and not record.dirty for record in records)
