"""What decks take from FINDINGS.md, CLAIMS.md, CITATION.cff: found once, as it stands there."""

import re

import pytest

from benchmarks.statements import statements
from minivit.evidence import load_records, points, verdict, withstand
from teaching import slide_facts
from teaching.slide_facts import asked, claim, finding, heads, paper, starts, turns
from teaching.slides import text_of


def test_a_finding_is_what_the_records_say():
    """Each statement, computed once more: verdict, numbers, seeds, †, and whether asked later."""
    every = statements(load_records())
    made = [each for each in every if each.contrast is not None]
    strong = withstand([each.contrast for each in made], unanswered=len(every) - len(made))
    assert asked() == len(made)
    for each, kept in zip(made, strong, strict=True):
        text, _, later = each.text.partition(" (Asked ")
        found = finding(text)
        assert found.verdict == verdict(each.contrast)
        assert f"{found.points}, n = {found.seeds}" == points(each.contrast)
        assert found.strong == kept == str(found).endswith("†")
        assert bool(found.asked) == bool(later)


def test_what_is_not_stated_once_is_a_sentence(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="0 times among the statements"):
        finding("Mimetic is best.")
    with pytest.raises(ValueError, match="'The same' is 4 times"):
        claim("The same")
    twice = tmp_path / "FINDINGS.md"
    twice.write_text("**Holds**\n\n" + 2 * "- A is. +1.0 [+0.5, +1.5], n = 5\n", encoding="utf-8")
    monkeypatch.setitem(slide_facts.PAGES, "findings", twice)
    with pytest.raises(ValueError, match="2 times among the statements"):
        finding("A is.")


def test_a_claim_is_read_under_its_own_headings():
    ours = claim("It raises accuracy on ImageNet-1k")
    assert (ours["theirs"], ours["verdict"], ours["mark"]) == ("over 4 points", "not tested", "A")
    theirs = claim("In W_Q W_Kᵀ the diagonal is positive")
    assert re.fullmatch(r"positive in \d+, .* heads", theirs["ours, beyond chance"])


def test_the_paper_is_named_in_full():
    title = "<em>Mimetic Initialization of Self-Attention Layers</em>"
    assert paper() == f"Trockman &amp; Kolter, {title}, ICML 2023, arXiv 2305.09828"


def test_chains_of_fresh_layers_do_what_algebra_says():
    """A layer whose entries have spread s makes a token s √d times as long, on average."""
    rows = re.findall(r"(?m)^(?:<pre.*>)?(\S+) +([0-9.]+) +([0-9.]+) +([0-9.e-]+)", starts(64, 3))
    spreads = {"vit_trunc_normal": 0.02, "torch_default": (1 / 3 / 64) ** 0.5}
    spreads |= {"Xavier": 64**-0.5, "He": (2 / 64) ** 0.5}
    assert {name for name, *_ in rows} == set(spreads)
    for name, spread, one, all_layers in rows:
        length = spreads[name] * 64**0.5
        assert float(spread) == pytest.approx(spreads[name], abs=0.003)
        assert float(one) == pytest.approx(length, rel=0.05)
        assert float(all_layers) == pytest.approx(length**3, rel=0.15)
    assert starts(64, 3) == starts(64, 3)


def test_where_it_turns_shows_the_pages_numbers():
    """The figure's words against the statements of FINDINGS.md on the same variants."""
    words = turns().layout.meta["alt"].replace("-", "−")
    for name, text in (
        ("as the recipe is", "On torch_default, mimetic ends higher than plain."),
        ("8 heads", "Mimetic ends higher than plain: 8 heads."),
        ("class token", "Mimetic ends higher than plain: class token."),
        (
            "shuffled positions",
            "With shuffled positions (near ones not alike), mimetic still ends higher than plain.",
        ),
        ("patch embedding × 4 in both", "Mimetic ends higher than plain: patch embedding × 4."),
        (
            "small random positions",
            "Mimetic ends higher than plain: learned positions that start random "
            "(standard deviation 0.02).",
        ),
        (
            "sin−cos positions × 0.04",
            "Mimetic ends higher than plain: sin-cos positions × 0.04, so as small as those.",
        ),
        (
            "positions minus what patches share",
            "Mimetic ends higher than plain: sin-cos positions minus their mean over patches, not "
            "rescaled.",
        ),
    ):
        mean, low, high = re.findall(r"[+−][0-9.]+", finding(text).points)
        assert f"{name} {mean} from {low} to {high}, 5 seeds" in words


def test_heads_are_drawn_as_they_were_printed():
    text = text_of("more-heads")
    printed = re.findall(r"d = (\d+), +(\d+) heads of width +\d+: ([0-9.]+)", text)
    assert len(printed) == len(text.splitlines())
    drawn = [
        (line.name, str(int(place)), f"{value:.3f}")
        for line in heads(text).data
        for place, value in zip(line.x, line.y, strict=True)
    ]
    assert drawn == [(f"width {dim}", number, mean) for dim, number, mean in printed]
