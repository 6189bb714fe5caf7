"""Figures of products: the right matrix in the right place and colour, and the same in words."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from minivit.circuits import diagonal_stats
from minivit.figures import alt_text, show
from minivit.figures_products import (
    diagonal_entries,
    product_tiles,
    significance_and_size,
)

SOURCE = "made by hand"


def caption(figure):
    return next(note.text for note in figure.layout.annotations if SOURCE in note.text)


def pixels(figure):
    """The picture of the tiles as (height, width, 3), numbers from 0 to 255."""
    data = base64.b64decode(figure.data[0].source.split(",")[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def tile(figure, row, column, side, gap=4):
    step, half = side + gap, gap // 2
    picture = pixels(figure)
    return picture[row * step + half :, column * step + half :][:side, :side]


def redness(colour):
    return colour[..., 0] - colour[..., 2]


def test_tiles_stand_in_their_place_on_one_range_of_colours():
    upper = np.triu(np.ones((6, 6)), 1)  # only above the diagonal
    rows = {"a": [upper, -upper], "b": [0.5 * upper, np.zeros((6, 6))]}
    figure = product_tiles(rows, ["left", "right"], title="t", source=SOURCE, limit=1.0)
    for (row, column), sign in {(0, 0): 1, (0, 1): -1, (1, 0): 1}.items():
        found = redness(tile(figure, row, column, 6))
        assert (np.sign(found) == sign * upper).all(), "row 1 on top; red above 0, blue below"
    assert (tile(figure, 1, 1, 6) == 255).all(), "zero is white"
    strong, weak = tile(figure, 0, 0, 6)[0, 5], tile(figure, 1, 0, 6)[0, 5]
    assert strong.sum() < weak.sum(), "half as much is paler: the range is shared"
    assert list(figure.layout.xaxis.ticktext) == ["left", "right"]
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]
    assert figure.layout.xaxis.tickvals == (5, 15), "a name over the middle of its 6 + 4 pixels"
    bar = figure.data[1].marker
    assert (bar.cmin, bar.cmax) == (-1.0, 1.0)


def test_a_pooled_pixel_keeps_the_mean_of_the_diagonal_and_the_spread():
    g = np.random.default_rng(0)
    noise = g.normal(size=(300, 300)) * 0.1
    line = 0.6 * np.eye(300)
    show = {"title": "t", "source": SOURCE, "limit": 1.0}
    whole = product_tiles({"": [noise, line]}, ["noise", "line"], **show)
    pooled = product_tiles({"": [noise, line]}, ["noise", "line"], pool=3, **show)
    assert "3 × 3 entries / 3" in caption(pooled) and "entries" not in caption(whole)
    before = redness(tile(whole, 0, 0, 300)).std()
    assert redness(tile(pooled, 0, 0, 100)).std() == pytest.approx(before, rel=0.1)
    diagonal = tile(pooled, 0, 1, 100)[np.arange(100), np.arange(100)]
    assert (diagonal == tile(whole, 0, 1, 300)[7, 7]).all()


def test_tiles_without_a_limit_show_noise_and_line():
    noise = np.random.default_rng(0).normal(size=(40, 40))
    figure = product_tiles({"": [noise + 3 * np.eye(40)]}, ["x"], title="t", source=SOURCE)
    assert figure.data[1].marker.cmax == pytest.approx(4.0, rel=0.05)
    mean = (noise + 3 * np.eye(40)).diagonal().mean()
    assert f"x {mean:+.2f}" in alt_text(figure)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="row 'b' has 1 matrices for 2 columns"):
        rows = {"a": [np.eye(3)] * 2, "b": [np.eye(3)]}
        product_tiles(rows, ["1", "2"], title="t", source=SOURCE)


@pytest.fixture
def stats():
    g = torch.Generator().manual_seed(0)
    heads = torch.randn(5, 3, 16, 16, generator=g)
    heads[2, 1] += 4 * torch.eye(16)
    return diagonal_stats(heads, rank=4), diagonal_stats(-heads[:, 1])


def test_two_rulers_show_significance_and_cosine(stats):
    heads, layers = stats
    products = {"QK": {"net": heads, "fresh": heads}, "OV": {"net": layers}}
    figure = significance_and_size(products, title="t", source=SOURCE)
    z, cosine = figure.data[0], figure.data[1]
    assert np.allclose(z.y, (heads.mean / heads.chance).ravel())
    assert np.allclose(cosine.y, heads.cosine.ravel())
    assert np.array_equal(np.rint(z.x), np.repeat(np.arange(1, 6), 3)), "layers from 1"
    assert len(set(np.asarray(z.x).tolist())) == 15, "heads stand side by side"
    assert np.array_equal(figure.data[4].x, np.arange(1, 6)) and figure.data[4].xaxis == "x3"
    assert [trace.showlegend for trace in figure.data] == [True, False, True, False, False, False]
    dashed = {s.y0 for s in figure.layout.shapes if s.line.dash == "dash"}
    assert dashed == {0.5, -0.5, 1.0, -1.0}, "the ceilings √(4 / 16) and 1"
    assert {(s.y0, s.y1) for s in figure.layout.shapes if s.type == "rect"} == {(-3, 3)}
    beyond = int(((heads.mean / heads.chance).abs() > 5).sum())
    assert f"QK, net: beyond 5 times chance {beyond} of 15" in alt_text(figure)


def test_every_entry_of_a_diagonal_is_there():
    entries = {"a": [0.5, -0.5, 1.0, 2.0], "b": [0.0, 0.0, 0.0, -1.0]}
    figure = diagonal_entries(entries, title="t", source=SOURCE)
    assert [list(trace.y) for trace in figure.data] == list(entries.values())
    assert {shape.y0 for shape in figure.layout.shapes} == {0.75, -0.25}
    assert "a: mean +0.750, from -0.50 to 2.00, 75% above 0" in alt_text(figure)


def test_tiles_are_as_wide_in_few_rows_as_in_many():
    tiles = [np.eye(6)] * 12
    heights = {}
    for rows in (1, 6):
        named = {str(n): tiles for n in range(rows)}
        layout = product_tiles(named, list(range(12)), title="t", source="s", x="n", limit=1).layout
        heights[rows] = layout.height - layout.margin.t - layout.margin.b
    assert heights[6] == pytest.approx(6 * heights[1], abs=6) and heights[1] > 40


def test_tiles_of_a_given_size_have_the_room_and_a_picture_that_is_wide_enough(monkeypatch):
    tiles = {"a": [np.eye(6)] * 12, "b": [np.eye(6)] * 12}
    wide = product_tiles(tiles, list(range(12)), title="t", source="s", limit=1, tile=75)
    layout = wide.layout
    assert layout.height - layout.margin.t - layout.margin.b == pytest.approx(2 * 75, abs=20)
    assert layout.width is None, "on a page the figure is as wide as the page"
    pictures = []
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    monkeypatch.setattr(type(wide), "show", lambda *_, width: pictures.append(width))
    show(wide)
    show(product_tiles(tiles, list(range(12)), title="t", source="s", limit=1))
    beside = 180  # names of the rows, and the colour bar
    assert pictures == [12 * 75 + beside, None]


def test_what_is_no_number_is_white_and_so_are_zeros_alone():
    holed = np.diag([1.0, np.nan, 1.0, 1.0])
    figure = product_tiles({"": [holed]}, ["x"], title="t", source=SOURCE, limit=1.0)
    found = tile(figure, 0, 0, 4)
    assert (found[1, 1] == 255).all() and redness(found[0, 0]) > 0
    nothing = product_tiles(
        {"": [np.eye(4)]}, ["x"], title="t", source=SOURCE
    )  # 0 off the diagonal
    assert redness(tile(nothing, 0, 0, 4)[0, 0]) > 0
    assert (tile(nothing, 0, 0, 4)[0, 1] == 255).all() and nothing.data[1].marker.cmax > 0
