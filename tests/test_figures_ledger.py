"""A ledger adds up, and its words give what is drawn."""

import pytest

from minivit.figures import alt_text
from minivit.figures_ledger import signed, waterfall

STEPS = {"base": -0.083, "rate": -0.021, "luck": 0.004}


def drawn(total=0.149, steps=STEPS):
    return waterfall(("claimed", total), steps, "left", title="t", source="made up")


def test_every_bar_begins_where_the_one_above_ends_and_the_last_is_the_sum():
    (bars,) = drawn().data
    assert bars.x[:-1] == pytest.approx([14.9, -8.3, -2.1, 0.4])
    assert list(bars.measure) == ["absolute", "relative", "relative", "relative", "total"]
    assert list(bars.y) == ["claimed", "base", "rate", "luck", "left"]
    assert list(bars.text) == ["+14.9", "−8.3", "−2.1", "+0.4", "+4.9"]


def test_the_words_and_the_caption_say_the_same():
    figure = drawn()
    words = alt_text(figure)
    assert "claimed +14.9" in words and "left: left +4.9" in words
    assert "base −8.3, rate −2.1, luck +0.4" in words
    assert "made up" in [note.text for note in figure.layout.annotations]


def test_all_bars_fit_in_where_the_sum_passes_below_zero():
    figure = drawn(0.02, {"base": -0.05, "rate": 0.01})
    low, high = figure.layout.xaxis.range
    assert low < -3 and high > 2


def test_what_rounds_to_nothing_has_no_sign():
    assert [signed(v) for v in (0.04, -0.04, -0.06, 0.25)] == ["0.0", "0.0", "−0.1", "+0.2"]


def test_a_ledger_needs_steps_with_names_of_their_own():
    with pytest.raises(ValueError, match="no steps"):
        drawn(steps={})
    with pytest.raises(ValueError, match="occurs twice"):
        drawn(steps={"left": 0.1})
