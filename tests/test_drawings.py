"""Both drawings of a view show its numbers; sliders without a kernel lead where they say."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from minivit.drawings import png, sliding_figure, svg
from minivit.figures import alt_text
from minivit.views import Goal, Lines, Matrix, View

SIGNED = Matrix(title="a < b", values=np.array([[0.0, 1.0], [-1.0, 9.0]]), limit=1.0)


def decoded(address):
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.mark.parametrize("levels", [31, 63, 255])
def test_zero_is_white_positive_red_negative_blue(levels):
    (zero, positive), (negative, beyond) = decoded(png(SIGNED, levels=levels))
    assert (zero == 255).all()
    assert positive[0] > positive[2] + 50 and negative[2] > negative[0] + 50
    assert (beyond == positive).all(), "beyond the limit is the last colour"


def test_attention_is_darker_where_it_is_more():
    panel = Matrix(title="", values=np.array([[0.0, 0.1, 0.2]]), limit=0.2, signed=False)
    none, some, most = decoded(png(panel, levels=31))[0].sum(-1)
    assert none > some > most


def test_a_corner_is_the_first_rows_and_columns():
    whole = Matrix(title="", values=np.arange(16.0).reshape(4, 4), limit=16.0)
    assert (
        decoded(png(whole, levels=31, corner=2)) == decoded(png(whole, levels=31))[:2, :2]
    ).all()


def test_svg_is_well_formed_and_escapes():
    lines = Lines(title="l", lines={"x & y": np.array([0.0, 2.0, 8.0])}, length=3, limit=4.0)
    text = svg(View(panels=(SIGNED, lines), numbers={}))
    root = ET.fromstring(text)
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in words and "x & y" in words and "−1.00" in words
    points = root.find(".//{http://www.w3.org/2000/svg}polyline").get("points").split()
    assert points == ["0.0,192.0", "96.0,96.0", "192.0,0.0"], "upwards, and not out of the panel"
    assert not re.search(r'(href|src)="(?!data:)', text), "nothing comes from outside"


def compute(*, a, b):
    line = Lines(title="l", lines={"x": np.array([a, b])}, length=2, limit=4.0)
    panel = Matrix(title="m", values=np.full((3, 3), a), limit=4.0, mark=(0, 2))
    return View(panels=(panel, line), numbers={"sum": a + b, "n": 3})


@pytest.fixture
def figure():
    grid = {"a": (0.0, 1.0, 2.0), "b": (0.0, 3.0)}
    labels = {"a": "size of a", "b": "size of b"}
    goal = Goal(words="four", ranges={"sum": (4.0, 4.0)})
    return sliding_figure(
        compute, grid, labels, title="t", source="s", goal=goal, start=(1, 1), corner=2
    )


def test_every_frame_shows_its_own_setting(figure):
    assert len(figure.frames) == 6
    for frame in figure.frames:
        a, b = float(frame.name[0]), 3.0 * float(frame.name[2])
        image, mark, line = frame.data
        panel = compute(a=a, b=b).panels[0]
        assert image.source == png(panel, levels=31, corner=2)
        assert (mark.x, mark.y) == ((2,), (0,)) and tuple(line.y) == (a, b)
        heading = frame.layout.title.text
        assert f"sum {a + b:.2f}" in heading and "n 3" in heading
        assert ("✓ reached" in heading) == (a + b == 4.0)
        far = "too low" if a + b < 4 else "too high"
        assert ("✓ sum at 4.00" if a + b == 4.0 else f"✗ sum at 4.00 ({far})") in heading


def test_a_slider_changes_its_own_axis_and_no_other(figure):
    frames = {frame.name: frame for frame in figure.frames}
    for place, frame in frames.items():
        for axis, slider in enumerate(frame.layout.sliders):
            old = place.split("-")
            assert slider.active == int(old[axis])
            for step, target in enumerate(slider.steps):
                new = target.args[0][0].split("-")
                assert target.args[0][0] in frames and new[axis] == str(step)
                assert new[:axis] + new[axis + 1 :] == old[:axis] + old[axis + 1 :]


def test_the_figure_begins_where_it_was_told_and_says_what_it_is(figure):
    assert tuple(figure.data[2].y) == (1.0, 3.0)
    assert [slider.active for slider in figure.layout.sliders] == [1, 1]
    assert "size of a = " in figure.layout.sliders[0].currentvalue.prefix
    assert "sum from 0.00 to 5.00" in alt_text(figure) and "n 3" in alt_text(figure)
    titles = [note.text for note in figure.layout.annotations]
    assert any("first 2 rows" in title for title in titles) and titles[-1] == "s"
    assert "colours from −4.00 to 4.00" in titles[0] and "colours" not in titles[1], titles
