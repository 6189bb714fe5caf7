"""Explorers: sliders over what the lessons compute, with a goal to reach.

Each shows one compute function of `views.py` in two forms: live, which needs a kernel, and
(`Explorer.still`) as a plotly figure whose sliders work in any browser. Nothing else in the package
imports this file.
"""

import functools
import math
from dataclasses import dataclass
from html import escape

import ipywidgets
import torch.nn.functional as F

from minivit.drawings import sliding_figure, svg, told
from minivit.init import Mimetic
from minivit.model import sincos_positions
from minivit.views import CheckpointView, ContentView, InitializerView, View, readable


@dataclass(frozen=True, kw_only=True)
class Control:
    """A slider: its label, the values it stops at, and the one it starts at.

    Raises ValueError where it would start somewhere else.
    """

    label: str
    values: tuple
    start: float | int

    def __post_init__(self):
        if self.start not in self.values:
            raise ValueError(f"{self.label} starts at {self.start}, not one of {self.values}")


class Explorer:
    """Sliders over `compute`, which takes one keyword for each of `controls` and returns a View.

    The last line of a cell shows it. Arrow keys move the slider that has the focus; the numbers
    stand as text below the picture. `reached` holds the settings at which the goal was reached.
    """

    def __init__(self, compute, controls, *, source, goal=None):
        self.compute = functools.lru_cache(maxsize=64)(compute)
        self.controls, self.source, self.goal = controls, source, goal
        self.reached = []
        self.sliders = {name: _slider(control) for name, control in controls.items()}
        # flex-start: at its own size, not stretched to the width of the page
        layout = {"max_width": "100%", "align_self": "flex-start"}
        self.picture = ipywidgets.Image(format="svg+xml", layout=layout)
        self.reading = ipywidgets.HTML()
        for slider in self.sliders.values():
            slider.observe(self._redraw, "value")
        self._redraw()

    @property
    def values(self):
        """Where the sliders stand, by name."""
        return {name: slider.value for name, slider in self.sliders.items()}

    @property
    def view(self) -> View:
        """What is shown now; `view.numbers` are the numbers under the picture."""
        return self.compute(**self.values)

    @functools.cached_property
    def widget(self):
        """Sliders, picture and numbers as one widget."""
        sliders = ipywidgets.HBox(tuple(self.sliders.values()), layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([sliders, self.picture, self.reading])

    def still(self, *, title, **grid):
        """A figure with a slider for each name in `grid` (name → values), which needs no kernel.

        Sliders that are not named stay where they stand now. Raises ValueError for a name that is
        no slider.
        """
        unknown = grid.keys() - self.controls.keys()
        if unknown:
            raise ValueError(f"no slider {sorted(unknown)}; there are {list(self.controls)}")
        fixed = {name: value for name, value in self.values.items() if name not in grid}
        rest = [f"{self.controls[name].label} = {readable(v)}" for name, v in fixed.items()]
        return sliding_figure(
            functools.partial(self.compute, **fixed),
            grid,
            {name: self.controls[name].label for name in grid},
            title=title,
            source=" · ".join([self.source, *rest]),
            goal=self.goal,
            fixed={self.controls[name].label: value for name, value in fixed.items()},
            start=[_nearest(values, self.values[name]) for name, values in grid.items()],
        )

    def _redraw(self, _=None):
        view = self.view
        stand = {self.controls[name].label: value for name, value in self.values.items()}
        missing = {} if self.goal is None else self.goal.missing({**view.numbers, **stand})
        self.picture.value = svg(view).encode()
        self.reading.value = _reading(view.numbers, self.goal, missing, self.source)
        if self.goal is not None and not missing:
            self.reached.append(self.values)

    def _ipython_display_(self):
        """Live where a kernel runs; kept in the notebook, the picture and the numbers of now."""
        from IPython.display import display

        live = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        kept = {"image/svg+xml": svg(self.view), "text/plain": told(self.view.numbers)}
        display({"application/vnd.jupyter.widget-view+json": live, **kept}, raw=True)


def _slider(control):
    return ipywidgets.SelectionSlider(
        options=[(readable(value), value) for value in control.values],
        value=control.start,
        description=control.label,
        style={"description_width": "90px"},
        layout={"width": "400px"},
    )


def _nearest(values, wanted):
    return min(range(len(values)), key=lambda i: abs(values[i] - wanted))


def _reading(numbers, goal, missing, source):
    """The numbers as text, for reading beside the picture and for screen readers."""
    cells = [f"{escape(name)} <b>{readable(value)}</b>" for name, value in numbers.items()]
    lines = [" · ".join(cells)]
    if goal is not None:
        state = "not reached yet" if missing else "<b>reached</b>"
        lines += [f"<b>Goal</b>, {state}: {escape(goal.words)}", escape(goal.told(missing))]
    return "<br>".join([*lines, f"<small>{escape(source)}</small>"])


# Steps of 0.05. Each slider goes further than anyone would, to be seen.
_SCALARS = tuple(round(0.05 * step, 2) for step in range(31))
_LABELS = {"alpha_qk": "α of QK", "beta_qk": "β of QK", "alpha_ov": "α of OV", "beta_ov": "β of OV"}


def initializer_explorer(
    tokens=None, *, dim=192, heads=3, pairs=("qk", "ov"), seed=0, goal=None, source=None
):
    """α and β of one mimetic layer → its products, their spectra, the attention of a patch.

    tokens: (token, dim), what attention reads after its LayerNorm, patches of a square grid row by
    row; by default the positions of an 8 × 8 grid alone. pairs: ("qk",) shows W_Q W_Kᵀ and what it
    attends to, ("ov",) W_V W_proj. source: what the tokens are, for the caption.
    """
    if tokens is None:
        tokens = F.layer_norm(sincos_positions(8, dim), (dim,))
        source = source or "tokens: the positions of an 8 × 8 grid alone"
    dim = tokens.shape[1]
    controls = {
        name: Control(label=label, values=_SCALARS, start=getattr(Mimetic, name))
        for name, label in _LABELS.items()
        if name.endswith(pairs)
    }
    if "qk" in pairs:
        counts = tuple(count for count in (1, 2, 3, 4, 6, 8, 12) if dim % count == 0)
        controls["heads"] = Control(label="heads", values=counts, start=heads)
    view = InitializerView(tokens, pairs=pairs, seed=seed)
    caption = f"{source or 'tokens as given'} · dim {dim} · seed {seed}"
    return Explorer(view, controls, source=caption, goal=goal)


def checkpoint_explorer(weights, *, source, goal=None):
    """A layer and a head of `AttentionWeights` → their products, spectra and diagonals.

    source: the name of the weights, for the caption.
    """
    layers, heads = weights.W_Q.shape[:2]
    controls = {
        "layer": Control(label="layer", values=tuple(range(1, layers + 1)), start=1),
        "head": Control(label="head", values=tuple(range(1, heads + 1)), start=1),
    }
    return Explorer(CheckpointView(weights), controls, source=source, goal=goal)


def content_explorer(content, positions, *, source, heads=3, seed=0, goal=None):
    """How much content stands beside positions in the tokens → what a mimetic head attends to.

    content, positions: (token, dim) for the patches of a square grid, row by row, without a class
    token. source: which image and model they come from, for the caption.
    """
    ratios = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)
    patches = len(positions)
    grid = math.isqrt(patches)
    controls = {
        "ratio": Control(label="content", values=ratios, start=1.0),
        "beta_qk": Control(label="β of QK", values=_SCALARS, start=Mimetic.beta_qk),
        "query": Control(
            label="patch",
            values=tuple(range(1, patches + 1)),
            start=(grid // 2) * (grid + 1) + 1,
        ),
    }
    view = ContentView(content, positions, heads=heads, seed=seed)
    return Explorer(view, controls, source=source, goal=goal)
