"""Drawings of views: fast as SVG, for a live widget, or as one plotly figure that needs no kernel.

Both show the same arrays (`views.py`) in the same colours: blue below zero, white at zero, red
above; attention in blues from white.
"""

import functools
import itertools
import math
from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from minivit.figures import _finish
from minivit.figures_pixels import matrix_png
from minivit.views import Lines, Matrix, View, readable

LINE_STYLES = (("#0072B2", ""), ("#D55E00", "6 4"), ("#5f5f5f", "2 3"))  # Okabe and Ito; SVG dashes
_PLOTLY_DASHES = {"": "solid", "6 4": "dash", "2 3": "dot"}
_SIDE, _GAP, _TOP, _BOTTOM = 192, 40, 32, 52  # pixels of the live picture


def svg(view: View) -> str:
    """The panels side by side as one SVG on a white ground, about a millisecond for each panel."""
    width = len(view.panels) * (_SIDE + _GAP)
    height = _TOP + _SIDE + _BOTTOM
    panels = [
        f'<g transform="translate({_GAP / 2 + place * (_SIDE + _GAP):.0f},{_TOP})">'
        f"{_svg_panel(panel)}</g>"
        for place, panel in enumerate(view.panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="#222222" role="img" aria-label="{escape(_label(view))}">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f"{''.join(panels)}</svg>"
    )


def _label(view):
    return f"{', '.join(panel.title for panel in view.panels)}. {told(view.numbers)}"


def told(numbers):
    """Numbers in one line of text."""
    return " · ".join(f"{name} {readable(value)}" for name, value in numbers.items())


def _svg_panel(panel):
    heading = f'<text y="-12" font-size="14" font-weight="600">{escape(panel.title)}</text>'
    note = f'<text y="{_SIDE + 44}" fill="#5f5f5f">{escape(panel.note)}</text>'
    inside = _svg_matrix(panel) if isinstance(panel, Matrix) else _svg_lines(panel)
    frame = f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#8a8a8a"/>'
    return heading + inside + frame + note


def _svg_matrix(panel):
    rows, columns = panel.values.shape
    smooth = "auto" if max(rows, columns) > _SIDE / 4 else "pixelated"
    shape = f'width="{_SIDE}" height="{_SIDE}" preserveAspectRatio="none"'
    picture = png(panel, levels=31)
    parts = [f'<image href="{picture}" {shape} style="image-rendering:{smooth}"/>']
    if panel.mark is not None:
        row, column = panel.mark
        tall, wide = _SIDE / rows, _SIDE / columns
        parts.append(
            f'<rect x="{column * wide:.1f}" y="{row * tall:.1f}" width="{wide:.1f}" '
            f'height="{tall:.1f}" fill="none" stroke="#D55E00" stroke-width="2"/>'
        )
    low = -panel.limit if panel.signed else 0.0
    bar = f'x="60" y="{_SIDE + 10}" width="{_SIDE - 120}" height="10" preserveAspectRatio="none"'
    parts.append(f'<image href="{_colour_bar(panel.signed)}" {bar}/>')
    for x, anchor, value in ((54, "end", low), (_SIDE - 54, "start", panel.limit)):
        place = f'x="{x}" y="{_SIDE + 20}" text-anchor="{anchor}"'
        parts.append(f"<text {place}>{readable(float(value))}</text>")
    return "".join(parts)


def _svg_lines(panel):
    parts = []
    for share in (0.25, 0.5, 0.75):
        y = _SIDE * (1 - share)
        parts.append(f'<path d="M0 {y}H{_SIDE}" stroke="#e3e3e3"/>')
    for share in (0, 0.5, 1):
        place = f'x="-5" y="{_SIDE * (1 - share) + 4}" text-anchor="end"'
        parts.append(f"<text {place}>{share * panel.limit:.3g}</text>")
    for x, anchor, text in ((0, "start", 1), (_SIDE, "end", panel.length)):
        parts.append(f'<text x="{x}" y="{_SIDE + 18}" text-anchor="{anchor}">{text}</text>')
    styled = list(zip(panel.lines.items(), LINE_STYLES, strict=False))
    for number, ((name, values), (colour, dash)) in reversed(list(enumerate(styled))):
        x = np.linspace(0, _SIDE, panel.length)[: len(values)]
        y = _SIDE * (1 - np.clip(np.asarray(values, float) / panel.limit, 0, 1))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        stroke = f'fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{points}" {stroke}/>')
        key = 18 + 18 * number
        parts.append(f'<path d="M{_SIDE - 34} {key - 4}h28" {stroke}/>')
        parts.append(f'<text x="{_SIDE - 40}" y="{key}" text-anchor="end">{escape(name)}</text>')
    return "".join(parts)


def png(panel: Matrix, *, levels: int, corner: int | None = None) -> str:
    """The matrix as a data address of a PNG of so many colours (odd, so that zero is white).

    corner: show only so many rows and columns.
    """
    values = panel.values[:corner, :corner]
    # Compressing more would take longer than all the rest of a live picture.
    return matrix_png(values, panel.limit, signed=panel.signed, levels=levels, compress_level=1)


@functools.cache
def _colour_bar(signed):
    ends = np.linspace(-1 if signed else 0, 1, 101)[None]
    return matrix_png(ends, 1, signed=signed, levels=101)


def sliding_figure(
    compute, grid, labels, *, title, source, goal=None, fixed=None, start=None, corner=48
):
    """One plotly figure with a slider for each axis of `grid`, computed in advance.

    compute: takes one keyword for each name in grid, returns a View; grid: name → values; labels:
    name → what stands at its slider; fixed: label → value of sliders that are not there, for the
    goal; start: the indices to begin with. Of larger matrices the first `corner` rows and columns
    are shown, and the titles say so.
    """
    places = list(itertools.product(*(range(len(values)) for values in grid.values())))
    start = tuple(start) if start else places[0]
    views, headings = {}, {}
    for place in places:
        setting = {name: grid[name][i] for name, i in zip(grid, place, strict=True)}
        views[place] = compute(**setting)
        stand = {**(fixed or {}), **{labels[name]: value for name, value in setting.items()}}
        headings[place] = _heading(title, views[place].numbers, goal, stand)
    first = views[start].panels
    titles = [_panel_title(panel, corner) for panel in first]
    figure = make_subplots(1, len(first), subplot_titles=titles, horizontal_spacing=0.06)
    for column, panel in enumerate(first, start=1):
        figure.add_traces(_traces(panel, corner), 1, column)
        _set_axes(figure, panel, column)
    figure.frames = [
        go.Frame(
            name=_name(place),
            data=[trace for panel in views[place].panels for trace in _traces(panel, corner)],
            layout={
                "title": {"text": headings[place]},
                "sliders": _sliders(grid, labels, place),
            },
        )
        for place in places
    ]
    below, alt = 64 + 78 * len(grid), _words(views, grid, labels, start)
    head = 176 if goal is None else 200  # a goal takes a line more
    _finish(figure, headings[start], source, alt, height=230 + head + below, below=below)
    above = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 26}}
    return figure.update_layout(
        sliders=_sliders(grid, labels, start), title=above, margin={"t": head, "l": 44}
    )


def _panel_title(panel, corner):
    is_cut = isinstance(panel, Matrix) and max(panel.values.shape) > corner
    note = f"its first {corner} rows and columns" if is_cut else panel.note
    return f"{panel.title}<br><sup>{note or ' '}<br>{_colours_in_words(panel)}</sup>"


def _colours_in_words(panel):
    """Where a matrix's colours end; a line without words for lines, to keep titles level."""
    if isinstance(panel, Lines):
        return " "
    low = -panel.limit if panel.signed else 0.0
    return f"colours from {readable(low)} to {readable(panel.limit)}"


def _traces(panel, corner):
    if isinstance(panel, Matrix):
        traces = [go.Image(source=png(panel, levels=31, corner=corner), hoverinfo="skip")]
        if panel.mark is not None:
            y, x = ([place] for place in panel.mark)
            box = {"symbol": "square-open", "size": 22, "color": "#D55E00", "line": {"width": 2}}
            traces.append(go.Scatter(x=x, y=y, mode="markers", marker=box, showlegend=False))
        return traces
    traces = []
    for (name, values), (colour, dash) in zip(panel.lines.items(), LINE_STYLES, strict=False):
        y = [round(float(value), 3) for value in values]
        line = {"color": colour, "dash": _PLOTLY_DASHES[dash]}
        traces.append(go.Scatter(x0=1, dx=1, y=y, name=name, mode="lines", line=line))
    return traces


def _set_axes(figure, panel, column):
    if isinstance(panel, Lines):
        figure.update_xaxes(range=[1, panel.length], nticks=5, col=column)
        figure.update_yaxes(range=[0, panel.limit], col=column)
        right = figure.get_subplot(1, column).xaxis.domain[1]
        place = {"x": right, "xanchor": "right", "y": 1, "yanchor": "top", "font": {"size": 11}}
        figure.update_layout(legend={**place, "bgcolor": "rgba(255,255,255,0.7)"})
        return
    figure.update_xaxes(visible=False, constrain="domain", col=column)
    figure.update_yaxes(visible=False, constrain="domain", col=column)


def _heading(title, numbers, goal, stand):
    """Title, numbers, and whether the goal is reached where the sliders stand."""
    half = list(numbers)[: math.ceil(len(numbers) / 2)]
    parts = [{k: numbers[k] for k in half}, {k: v for k, v in numbers.items() if k not in half}]
    lines = [told(part) for part in parts if part]
    if goal is not None:
        missing = goal.missing({**numbers, **stand})
        state = "not reached here" if missing else "<b>✓ reached here</b>"
        lines += [f"goal, {goal.words}: {state}", goal.told(missing)]
    return "<br>".join([title, *(f'<span style="font-size:12px">{line}</span>' for line in lines)])


def _sliders(grid, labels, place):
    """One for each axis. A frame brings its own, so that each slider knows where the others are."""
    jump = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    jump["transition"] = {"duration": 0}
    sliders = []
    for axis, (name, values) in enumerate(grid.items()):
        targets = [(*place[:axis], i, *place[axis + 1 :]) for i in range(len(values))]
        steps = [
            {"label": readable(value), "method": "animate", "args": [[_name(target)], jump]}
            for value, target in zip(values, targets, strict=True)
        ]
        where = {"active": place[axis], "y": 0, "yanchor": "top", "len": 0.96, "x": 0.02}
        pad = {"t": 24 + 78 * axis, "b": 0}
        shown = {"prefix": f"{labels[name]} = ", "font": {"size": 13}}
        sliders.append({**where, "pad": pad, "currentvalue": shown, "steps": steps})
    return sliders


def _name(place):
    return "-".join(map(str, place))


def _words(views, grid, labels, start):
    axes = " and ".join(f"{labels[name]} ({len(values)} values)" for name, values in grid.items())
    titles = "; ".join(panel.title for panel in views[start].panels)
    ends = []
    for number in views[start].numbers:
        seen = [view.numbers[number] for view in views.values()]
        low, high = (readable(end(filter(math.isfinite, seen))) for end in (min, max))
        ends.append(f"{number} {low}" if low == high else f"{number} from {low} to {high}")
    return f"Panels: {titles}. Sliders: {axes}. Over all settings: {', '.join(ends)}."
