"""Figures show the numbers that they were given, in words too, and say where they come from."""

import re

import numpy as np
import pytest
from plotly.colors import sample_colorscale

from minivit.figures import (
    ARM_NAMES,
    alt_text,
    image_grid,
    intervals,
    line_plot,
    page,
    product_panels,
    show,
    training_curves,
)
from minivit.figures_pixels import SIGNED
from minivit.records import Summary, summarise

SOURCE = "synthetic stand-in · scale smoke · cpu"


def caption(figure):
    return [note.text for note in figure.layout.annotations if note.showarrow is False][-1]


def test_curves_are_the_mean_over_seeds_in_percent():
    curves = {"plain": [[0.1, 0.3], [0.2, 0.5]], "mimetic": [[0.2, 0.4], [0.4, 0.6]]}
    figure = training_curves(curves, title="t", source=SOURCE)
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert np.allclose(lines["plain"].y, [15, 40]) and np.allclose(lines["mimetic"].y, [30, 50])
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert np.allclose(bands[0].y, [20, 50, 30, 10])
    assert SOURCE in caption(figure) and "mean of 2 seeds" in caption(figure)
    assert "plain 15.0 after the first epoch, 40.0 after the last" in alt_text(figure)


def test_one_seed_has_no_band_and_says_so():
    figure = training_curves({"plain": [[0.1, 0.3]]}, title="t", source=SOURCE)
    assert len(figure.data) == 1 and "one seed" in caption(figure)
    with pytest.raises(ValueError, match="no curves"):
        training_curves({}, title="t", source=SOURCE)


def test_intervals_show_what_summarise_gives_and_mark_those_that_leave_zero_out():
    rows = {"clear": summarise([0.02, 0.03, 0.025]), "open": summarise([0.02, -0.03, 0.01])}
    clear, unclear = intervals(rows, title="t", source=SOURCE).data
    assert clear.x[0] == pytest.approx(2.5) and clear.marker.symbol == "circle"
    low = clear.x[0] - clear.error_x.arrayminus[0]
    high = clear.x[0] + clear.error_x.array[0]
    assert (low, high) == pytest.approx((100 * rows["clear"].low, 100 * rows["clear"].high))
    assert unclear.marker.symbol == "circle-open"
    words = alt_text(intervals(rows, title="t", source=SOURCE))
    assert "clear +2.5 from +1.3 to +3.7, 3 seeds" in words
    near = intervals({"near": Summary(0.0137, 0.005, 3, 0.00047, 0.027)}, title="t", source=SOURCE)
    assert "near +1.37 from +0.05 to +2.70, 3 seeds" in alt_text(near), "as `points` has it"
    with pytest.raises(ValueError, match="no differences"):
        intervals({}, title="t", source=SOURCE)


def test_arms_differ_in_colour_and_nearly_all_in_dash():
    curves = {arm: [[0.1, 0.2]] for arm in ARM_NAMES}
    lines = training_curves(curves, title="t", source=SOURCE).data
    assert len({line.line.color for line in lines}) == len(ARM_NAMES)
    core = [line.line.dash for line in lines[:4]]
    assert len(set(core)) == 4


def test_panels_share_one_range_symmetric_about_zero():
    products = {"small": 0.1 * np.eye(4) + 0.01, "large": np.full((4, 4), -2.0)}
    figure = product_panels(products, title="t", source=SOURCE)
    assert all(trace.coloraxis == "coloraxis" for trace in figure.data)
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax == -4.0
    assert np.allclose(figure.data[1].z, -2.0)
    assert "small +0.11, large -2.00" in alt_text(figure)
    axes = [figure.layout.yaxis, figure.layout.yaxis2]
    assert all(axis.autorange == "reversed" for axis in axes), "row 1 stands at the top"
    assert all(axis.constraintoward == "top" for axis in axes), "close to the panel's title"


def test_the_grid_holds_the_images_of_each_class_in_its_row():
    import base64
    import io

    from PIL import Image

    images = np.zeros((6, 3, 4, 4), dtype=np.uint8)
    labels = np.array([1, 0, 1, 0, 1, 0])
    images[labels == 1] = 200
    names = ("dark", "bright")
    figure = image_grid(images, labels, names, title="t", source=SOURCE, each=2)
    data = base64.b64decode(figure.data[0].source.split(",")[1])
    picture = np.asarray(Image.open(io.BytesIO(data)))
    assert picture.shape == (12, 12, 3)
    assert (picture[1:5, 1:5] == 0).all() and (picture[7:11, 1:5] == 200).all()


def test_the_grid_is_as_high_as_its_images_where_it_is_700_pixels_wide():
    images, labels = np.zeros((100, 3, 32, 32), np.uint8), np.arange(100) % 10
    figure = image_grid(images, labels, list("abcdefghij"), title="t", source=SOURCE)
    margin = figure.layout.margin
    room = figure.layout.height - margin.t - margin.b
    assert room == pytest.approx(590, abs=1)  # a square: 10 images of each of 10 classes


def test_the_page_needs_nothing_from_outside_and_escapes_words():
    figure = training_curves({"plain": [[0.1, 0.3]]}, title="t", source=SOURCE)
    text = page([figure, figure], title="a < b", table="x & y")
    assert "a &lt; b" in text and "x &amp; y" in text
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text) and "plotly.js v" in text
    assert alt_text(figure) in text


def test_lines_stand_where_their_numbers_are():
    lines = {"a": ([1, 2, 4], [0.1, 0.5, 0.3]), "b": ([1, 2], [2.0, 1.0])}
    figure = line_plot(lines, title="t", source=SOURCE, x="heads", y="share", marks={"here": 2})
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert tuple(figure.data[0].x) == (1, 2, 4) and tuple(figure.data[0].y) == (0.1, 0.5, 0.3)
    assert len({(t.line.color, t.line.dash) for t in figure.data}) == 2
    assert figure.layout.xaxis.title.text == "heads" and figure.layout.shapes[0].x0 == 2
    assert "b: 2.00 at 1, 1.00 at 2" in alt_text(figure) and "here" in alt_text(figure)
    assert caption(figure) == SOURCE
    with pytest.raises(ValueError, match="8 lines"):
        line_plot({str(n): ([0], [0]) for n in range(8)}, title="", source="", x="", y="")


def test_a_long_caption_goes_on_below_and_the_drawing_keeps_its_height():
    rows = {"a − b": summarise([0.1, 0.2])}
    short, long = (intervals(rows, title="t", source=s) for s in ("one", "some words " * 20))
    caption, line = long.layout.annotations[-1], short.layout.annotations[-1]
    lines = caption.text.split("<br>")
    assert " ".join(lines).split() == ["some", "words"] * 20 and len(lines) == 3
    assert max(map(len, lines)) <= 84 and caption.align == "left"
    more = long.layout.height - short.layout.height
    assert more == long.layout.margin.b - short.layout.margin.b > 0
    assert caption.yshift == line.yshift - more  # it begins where the short one stands


def test_the_ends_of_the_range_are_still_red_and_blue():
    blue, red = (sample_colorscale(list(SIGNED), [end], colortype="tuple")[0] for end in (0, 1))
    for end, own, other in ((blue, 2, 0), (red, 0, 2)):  # a thin dark line looks black
        assert end[own] > 0.6 and end[own] - end[other] > 0.5


def test_an_arm_looks_the_same_in_every_figure():
    curves = {arm: [[0.1, 0.2]] for arm in ("plain", "mimetic", "norm_matched")}
    theirs = {t.name: t.line for t in training_curves(curves, title="t", source=SOURCE).data}

    def lines(*names):
        figure = line_plot(dict.fromkeys(names, ([1], [2])), title="", source="", x="", y="")
        return {trace.name: trace.line for trace in figure.data}

    own = lines("DeiT-Tiny", "plain, trained", "mimetic", "norm_matched", "plain")
    assert own["plain"] == theirs["plain"] and own["mimetic"] == theirs["mimetic"]
    assert own["norm-matched"] == theirs["norm-matched"]
    assert lines("mimetic, measured", "b")["mimetic, measured"] == theirs["mimetic"]
    assert own["plain, trained"].color == own["plain"].color != own["DeiT-Tiny"].color
    for names in (own, lines("mimetic, step 0", "plain", "mimetic", "a", "b", "c", "d")):
        assert len({(line.color, line.dash) for line in names.values()}) == len(names)


def test_few_whole_numbers_have_a_tick_each_and_no_half():
    def step(places):
        values = [0.0] * len(places)
        return line_plot({"a": (places, values)}, title="", source="", x="", y="").layout.xaxis

    assert step([1, 2]).dtick == 1 and step(range(13)).dtick == 1
    assert step([0.5, 2]).dtick is None and step(range(100)).dtick is None
    assert step([3]).dtick is None


def test_title_and_caption_of_intervals_begin_at_the_left_edge_whatever_the_labels():
    for label in ("a", "vit_trunc_normal: mimetic − norm-matched"):
        figure = intervals({label: summarise([0.1, 0.2])}, title="t", source=SOURCE)
        layout = figure.layout
        assert layout.title.xref == "container" and layout.title.pad.l == 64
        assert layout.margin.l + layout.annotations[-1].xshift == 64
        assert layout.margin.l >= 6.7 * len(label)  # what a letter of a label takes, in pixels


def test_a_terminal_prints_the_words(capsys, monkeypatch):
    """Python without a notebook can draw nothing: it says what there is to see, and no JSON."""
    monkeypatch.delenv("PLOTLY_RENDERER", raising=False)
    figure = line_plot({"a": ([1, 2], [3, 4])}, title="t", source="s", x="x", y="y")
    show(figure)
    assert capsys.readouterr().out == alt_text(figure) + "\n"


def test_an_arm_of_another_name_has_a_band_too():
    figure = training_curves({"pretrained": [[0.1, 0.2], [0.2, 0.4]]}, title="t", source="s")
    assert [trace.name for trace in figure.data][-1] == "pretrained" and len(figure.data) == 2


def test_words_under_a_figure_are_text(monkeypatch):
    shown = []
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure = line_plot({"a < b": ([1, 2], [3, 4])}, title="t", source="s", x="x", y="y")
    monkeypatch.setattr(type(figure), "show", lambda *_, **__: None)
    show(figure)
    assert "a &lt; b" in shown[0].data and "a < b" not in shown[0].data
