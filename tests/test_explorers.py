"""Explorers without a browser: every slider goes everywhere, and both forms show the same."""

import itertools
import re

import pytest
import torch

from minivit import AttentionWeights
from minivit.drawings import png, svg
from minivit.explorers import (
    Control,
    Explorer,
    checkpoint_explorer,
    content_explorer,
    initializer_explorer,
)
from minivit.model import sincos_positions
from minivit.views import Goal, readable

DIM = 24


def checkpoint():
    parts = torch.randn(4, 2, 3, DIM, DIM // 3, generator=torch.Generator().manual_seed(0))
    return AttentionWeights(W_Q=parts[0], W_K=parts[1], W_V=parts[2], W_O=parts[3].mT)


def content(patches=16):
    return torch.randn(patches, DIM, generator=torch.Generator().manual_seed(1))


EXPLORERS = {
    "initializer": lambda: initializer_explorer(dim=DIM),
    "initializer, QK": lambda: initializer_explorer(dim=DIM, pairs=("qk",)),
    "initializer, OV": lambda: initializer_explorer(dim=DIM, pairs=("ov",)),
    "checkpoint": lambda: checkpoint_explorer(checkpoint(), source="noise"),
    "content": lambda: content_explorer(content(), sincos_positions(4, DIM), source="noise"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EXPLORERS)
def test_every_slider_goes_to_both_ends_wherever_the_others_stand(name):
    explorer = EXPLORERS[name]()
    ends = {key: (c.values[0], c.values[-1]) for key, c in explorer.controls.items()}
    for setting in itertools.product(*ends.values()):
        for slider, value in zip(explorer.sliders.values(), setting, strict=True):
            slider.value = value  # what the browser sends; an error in the wiring is raised here
        assert tuple(explorer.values.values()) == setting
        assert explorer.picture.value == svg(explorer.compute(**explorer.values)).encode()


@pytest.mark.parametrize("name", EXPLORERS)
def test_each_slider_alone_changes_the_picture(name):
    explorer = EXPLORERS[name]()
    for slider in explorer.sliders.values():
        before = explorer.picture.value
        options = [value for _, value in slider.options]
        slider.value = options[0] if slider.value != options[0] else options[-1]
        assert explorer.picture.value != before, slider.description


@pytest.mark.parametrize("name", EXPLORERS)
def test_both_forms_show_one_computation(name):
    explorer = EXPLORERS[name]()
    axis = next(iter(explorer.controls))
    values = explorer.controls[axis].values[:3]
    figure = explorer.still(title="t", **{axis: values})
    for value, frame in zip(values, figure.frames, strict=True):
        explorer.sliders[axis].value = value
        live = next(panel for panel in explorer.view.panels if hasattr(panel, "signed"))
        assert frame.data[0].source == png(live, levels=31, corner=48)
        for name, number in explorer.view.numbers.items():
            assert f"{name} {readable(number)}" in frame.layout.title.text


def test_numbers_stand_beside_the_picture_as_text():
    explorer = initializer_explorer(dim=DIM)
    explorer.sliders["beta_ov"].value = 1.0
    text = re.sub("<[^>]*>", "", explorer.reading.value)
    assert "OV diagonal −" in text and "positions of an 8 × 8 grid alone · dim 24 · seed 0" in text


def test_what_a_notebook_keeps_is_readable_without_a_kernel(monkeypatch):
    kept = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: kept.append((data, raw)))
    explorer = initializer_explorer(dim=DIM, pairs=("ov",))
    explorer._ipython_display_()
    (data, raw), *more = kept
    number = f"OV diagonal {readable(explorer.view.numbers['OV diagonal'])}"
    assert raw and not more and number in data["text/plain"]
    assert f'aria-label="W_V W_proj, Singular values. {number}' in data["image/svg+xml"]
    live = data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert explorer.widget.model_id == live and explorer.picture in explorer.widget.children


def test_a_goal_is_told_and_kept():
    goal = Goal(words="pure −I", ranges={"OV cosine with I": (-1.0, -0.99)})
    explorer = initializer_explorer(dim=DIM, pairs=("ov",), goal=goal)
    assert "not reached yet" in explorer.reading.value and "(too high)" in explorer.reading.value
    explorer.sliders["alpha_ov"].value = 0.0
    assert "<b>reached</b>" in explorer.reading.value
    assert explorer.reached == [{"alpha_ov": 0.0, "beta_ov": 0.4}]
    explorer.sliders["alpha_ov"].value = 0.5
    assert "not reached yet" in explorer.reading.value and len(explorer.reached) == 1


def test_a_goal_can_ask_for_where_sliders_stand():
    ranges = {"QK diagonal": (0.0, 1.0), "β of QK": (0.7, 0.7), "heads": (2.0, 2.0)}
    goal = Goal(words="w", ranges=ranges)
    explorer = initializer_explorer(dim=DIM, pairs=("qk",), goal=goal)
    assert "✗ heads at 2.00 (too high)" in explorer.reading.value and not explorer.reached
    explorer.sliders["heads"].value = 2
    assert explorer.reached
    figure = explorer.still(title="t", beta_qk=(0.0, 0.7))
    assert ["✓ reached" in f.layout.title.text for f in figure.frames] == [False, True]


def test_a_goal_about_nothing_is_refused_at_once():
    with pytest.raises(ValueError, match="goal for"):
        initializer_explorer(dim=DIM, goal=Goal(words="", ranges={"beauty": (0.0, 1.0)}))


def test_errors_of_the_computation_are_raised():
    def compute(*, x):
        if x > 1:
            raise ArithmeticError("end of the slider")
        return initializer_explorer(dim=DIM).view

    explorer = Explorer(compute, {"x": Control(label="x", values=(0, 1, 2), start=0)}, source="")
    with pytest.raises(ArithmeticError):
        explorer.sliders["x"].value = 2


def test_wrong_names_and_starts_are_refused():
    with pytest.raises(ValueError, match="no slider"):
        initializer_explorer(dim=DIM).still(title="t", gamma=(0, 1))
    with pytest.raises(ValueError, match="starts at 5"):
        initializer_explorer(dim=DIM, heads=5)
