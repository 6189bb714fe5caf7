"""Figures of tokens show the numbers that they were given, in words too."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from minivit.figures import alt_text
from minivit.figures_tokens import heat_panels, pictures, scatter

SOURCE = "toy example"


def shown(figure, number=0):
    """The pixels of a panel, (height, width, 3)."""
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(figure.data[number].source.split(",")[1])))
    )


def captions(figure):
    return [note.text for note in figure.layout.annotations]


def test_pictures_show_their_pixels_and_the_lines_between_patches():
    image = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    names = ("a", "b", "c", "d", "e", "f")
    options = {"title": "t", "source": SOURCE, "patch_size": 2}
    figure = pictures({"one": image, "two": 255 - image}, names=names, **options)
    assert (shown(figure) == image.transpose(1, 2, 0)).all()
    assert (shown(figure, 1) == 255 - image.transpose(1, 2, 0)).all()
    # Pixel n covers n − 0.5 to n + 0.5: lines stand at the borders of patches, in each picture.
    across = sorted(line.x0 for line in figure.layout.shapes if line.x0 == line.x1)
    down = sorted(line.y0 for line in figure.layout.shapes if line.y0 == line.y1)
    assert across == [1.5, 1.5, 3.5, 3.5] and down == [1.5, 1.5]
    places = {n.text: (n.x, n.y) for n in figure.layout.annotations if n.text in names}
    assert places["a"] == (0.5, 0.5) and places["c"] == (4.5, 0.5) and places["d"] == (0.5, 2.5)
    assert SOURCE in captions(figure)
    assert "one; two. The patches, row by row: a, b, c, d, e, f." in alt_text(figure)
    plain = pictures({"": image}, title="t", source=SOURCE)
    assert "one picture." in alt_text(plain)
    tall = pictures({"a<br>b": image}, title="t", source=SOURCE)
    assert "a, b." in alt_text(tall) and tall.layout.margin.t > plain.layout.margin.t


def test_heat_panels_share_a_range_and_say_where_each_row_is_largest():
    first, second = np.eye(3) * 0.5 + 0.1, np.full((3, 3), 1 / 3)
    options = {"title": "t", "source": SOURCE, "names": ("a", "b", "c")}
    figure = heat_panels({"one": first, "two": second}, **options)
    assert np.allclose(figure.data[0].z, first) and np.allclose(figure.data[1].z, second)
    assert all(trace.coloraxis == "coloraxis" for trace in figure.data)
    assert figure.layout.coloraxis.cmin == 0
    assert figure.layout.coloraxis.cmax == pytest.approx(0.6)
    assert figure.layout.yaxis.autorange == figure.layout.yaxis2.autorange == "reversed"
    assert "one: a 0.60 on a, b 0.60 on b, c 0.60 on c." in alt_text(figure)
    assert "two: a 0.33 on everything, " in alt_text(figure)
    pair = heat_panels({"one": [[0, 2, 2], [1, 0, 0], [0, 0, 3]]}, **options)
    assert "a 2.00 on b and c, b 1.00 on a, c 3.00 on c." in alt_text(pair)


def test_heat_panels_without_names():
    array = np.zeros((2, 4))
    array[1, 2] = 3
    figure = heat_panels({"x": array}, title="t", source=SOURCE, limits=(-1, 4))
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-1, 4)
    assert "2 × 4, largest 3.00 in row 2, column 3, mean 0.38." in alt_text(figure)
    assert not figure.data[0].texttemplate


@pytest.mark.parametrize("draw, size", [(heat_panels, 1), (pictures, 4)])
def test_an_outline_frames_one_square_of_every_panel(draw, size):
    shape, more = ((3, 8, 12), {"patch_size": 4}) if draw is pictures else ((2, 3), {})
    panels = {name: np.zeros(shape, np.uint8) for name in "ab"}
    figure = draw(panels, title="t", source=SOURCE, outline=(1, 2), **more)
    frames = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [frame.xref for frame in frames] == ["x", "x2"]
    for frame in frames:  # a pixel or an entry with number n reaches from n - 1/2 to n + 1/2
        assert (frame.x0, frame.x1) == (2 * size - 0.5, 3 * size - 0.5)
        assert (frame.y0, frame.y1) == (size - 0.5, 2 * size - 0.5)
    assert alt_text(figure).endswith("Outlined: row 2, column 3.")
    plain = draw(panels, title="t", source=SOURCE, **more)
    assert "Outlined" not in alt_text(plain)


def test_scatter_tells_groups_apart_by_colour_and_shape():
    points = {"low": ([1, 2], [3, 4]), "high": ([5], [6]), "top": ([7], [8])}
    figure = scatter(points, title="t", source=SOURCE, x="across", y="up", log_y=True)
    assert list(figure.data[0].x) == [1, 2] and list(figure.data[0].y) == [3, 4]
    assert len({trace.marker.color for trace in figure.data}) == 3
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert figure.layout.yaxis.type == "log"
    ticks = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert ticks[0.5] == "0.5" and ticks[20] == "20"
    assert "low (2 points): x from 1.00 to 2.00, y from 3.00 to 4.00" in alt_text(figure)
    linear = scatter(points, title="t", source=SOURCE, x="across", y="up")
    assert linear.layout.yaxis.type != "log"
