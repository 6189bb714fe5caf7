"""The rows on pretrained weights count what they say, on products whose answer is known."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks.claims_pretrained import CLAIMS, Sign, Trend, section, sign_verdict, trend_verdict
from minivit import atlas
from minivit.circuits import diagonal_stats


def reading_of(products):
    return SimpleNamespace(stats=lambda name: diagonal_stats(products))


def noisy_identity(*multiples):
    """(layer, 32, 32): unit noise plus a multiple of I for each layer."""
    noise = torch.randn(len(multiples), 32, 32, generator=torch.Generator().manual_seed(0))
    return noise + torch.tensor(multiples)[:, None, None] * torch.eye(32)


def test_signs_are_counted_beyond_chance_only():
    products = noisy_identity(3.0, 3.0, 3.0, 0.0, -3.0)
    counted, verdict = Sign("", "", "ov", 1).row(reading_of(products))
    assert (counted, verdict) == ("positive in 3, negative in 1 of 5 layers", "mixed")
    counted, _ = Sign("", "", "ov", -1).row(reading_of(products))
    assert counted == "negative in 1, positive in 3 of 5 layers"


def test_a_trend_is_read_by_thirds_and_over_heads():
    layers = noisy_identity(3.0, 3.0, 1.0, 1.0, -2.0, -2.0)
    heads = torch.stack([layers, layers], dim=1)
    assert Trend("", "", "qk", -1).row(reading_of(heads))[1] == "seen"
    assert Trend("", "", "qk", 1).row(reading_of(heads))[1] == "not seen"


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [(6, 0, "seen"), (5, 0, "not seen"), (6, 1, "mixed"), (4, 4, "mixed"), (0, 9, "not seen")],
)
def test_what_counts_of_ten_say(right, wrong, words):
    assert sign_verdict(right, wrong, 10) == words


def test_a_dip_in_the_middle_is_told():
    assert trend_verdict(1, 3, 2) == "in part"
    assert trend_verdict(1, 2, 3) == "seen"
    assert trend_verdict(3, 1, 2) == "not seen"


def test_the_section_has_a_row_for_each_claim_with_the_atlas_numbers():
    page = section()
    stats = atlas.load("deit_tiny_patch16_224").stats("ov")
    negative = int((stats.mean < -5 * stats.chance).sum())
    assert all(claim.text in page and claim.mark in "AB" for claim in CLAIMS)
    assert f"negative in {negative}, positive in" in page
