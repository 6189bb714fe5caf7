"""A figure of a ledger: what a number is made of, item by item, until something is left.

As in `figures.py`: numbers in, a plotly Figure out, with a caption and `alt_text`.
"""

import plotly.graph_objects as go

from minivit.figures import _finish

_TOTAL, _FALL, _RISE = "#5f5f5f", "#D55E00", "#0072B2"


def waterfall(start, steps, end, *, title, source):
    """Bars from a first total down, or up, to a last one: each begins where the one above it ends.

    start: (label, difference) of the first total. steps: label → change. end: the label of what is
    left, the sum of all. All are fractions, drawn as percentage points. Raises ValueError for no
    steps and for a label that occurs twice.
    """
    (first, total), labels = start, [start[0], *steps, end]
    if not steps:
        raise ValueError("no steps were given; at least one is needed")
    if len(set(labels)) < len(labels):
        raise ValueError(f"a label occurs twice in {labels}")
    changes = [100 * change for change in steps.values()]
    left = 100 * total + sum(changes)
    values = [100 * total, *changes, left]
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            y=labels,
            x=[*values[:-1], None],
            measure=["absolute", *["relative"] * len(steps), "total"],
            text=[signed(value) for value in values],
            textposition="outside",
            cliponaxis=False,
            totals={"marker": {"color": _TOTAL}},
            decreasing={"marker": {"color": _FALL}},
            increasing={"marker": {"color": _RISE}},
            connector={"line": {"width": 1, "color": "#222222"}},
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"width": 1, "color": "#222222"})
    low, high = _reach(values)
    room = 0.12 * (high - low)  # for the text beside a bar
    figure.update_xaxes(title="difference, percentage points", range=[low - room, high + room])
    figure.update_yaxes(autorange="reversed", automargin=True)
    middle = ", ".join(f"{label} {signed(v)}" for label, v in zip(steps, changes, strict=True))
    ends = f"{first} {signed(values[0])}", f"{end} {signed(left)}"
    alt = f"A ledger in percentage points, from the top: {ends[0]}; {middle}; left: {ends[1]}."
    return _finish(figure, title, source, alt, height=150 + 46 * len(labels), below=76)


def signed(points):
    """Percentage points with a sign and one decimal; what rounds to nothing is 0.0."""
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}".replace("-", "−")


def _reach(values):
    """The smallest and the largest number that a bar begins or ends at."""
    level, levels = 0.0, [0.0]
    for value in values[:-1]:
        level += value
        levels.append(level)
    return min(levels), max(levels)
