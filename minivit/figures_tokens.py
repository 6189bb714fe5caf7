"""Figures of tokens: pictures cut into patches, heat maps with a row for each token, points.

As in `figures.py`: arrays in, a plotly Figure out, with a caption and `alt_text`.
"""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from minivit.figures import _COLOURS, _finish
from minivit.figures_pixels import picture_png

_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up")


def pictures(images, *, title, source, patch_size=None, names=(), outline=None):
    """Small images side by side, enlarged without smoothing, with lines between their patches.

    images: caption → uint8 array (3, height, width). names: of the patches, row by row.
    outline: (row, column) of a patch to frame in all of them, counted from 0.
    """
    figure = make_subplots(1, len(images), subplot_titles=list(images), horizontal_spacing=0.03)
    heights = []
    for column, image in enumerate(images.values(), start=1):
        rows, columns = image.shape[1:]
        data = picture_png(np.ascontiguousarray(np.asarray(image).transpose(1, 2, 0)))
        figure.add_trace(go.Image(source=data, zsmooth=False, hoverinfo="skip"), 1, column)
        if patch_size:
            _add_patches(figure, rows, columns, patch_size, names, column)
        if outline is not None:
            _add_outline(figure, outline, patch_size, column)
        heights.append(rows / columns)
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "constrain": "domain"}
    figure.update_xaxes(**hidden)
    figure.update_yaxes(**hidden)
    cut = f", cut into patches of {patch_size} × {patch_size} pixels" if patch_size else ""
    what = "; ".join(filter(None, images)).replace("<br>", ", ") or "one picture"
    alt = f"{len(images)} picture{'s' * (len(images) > 1)}{cut}: {what}."
    if names:
        alt += f" The patches, row by row: {', '.join(names)}."
    alt += _outline_in_words(outline)
    above = 24 * max(caption.count("<br>") for caption in images)  # captions of several lines
    height = 120 + above + min(400, int(760 / len(images) * max(heights)))
    figure = _finish(figure, title, source, alt, height=height, below=32)
    return figure.update_layout(margin_t=figure.layout.margin.t + above)


def _add_patches(figure, rows, columns, size, names, column):
    line = {"color": "#222222", "width": 1.5}
    for x in range(size, columns, size):
        figure.add_vline(x - 0.5, line=line, row=1, col=column)
    for y in range(size, rows, size):
        figure.add_hline(y - 0.5, line=line, row=1, col=column)
    for number, name in enumerate(names):
        row, col = divmod(number, columns // size)
        place = {"x": (col + 0.5) * size - 0.5, "y": (row + 0.5) * size - 0.5}
        label = {"bgcolor": "white", "opacity": 0.85, "showarrow": False}
        figure.add_annotation(text=name, **place, **label, row=1, col=column)


def _add_outline(figure, place, size, column):
    """Frames the square (row, col), counted from 0, of a panel whose squares are `size` wide."""
    top, left = (number * size - 0.5 for number in place)
    square = {"x0": left, "x1": left + size, "y0": top, "y1": top + size}
    figure.add_shape(
        type="rect", line={"color": _COLOURS[-1], "width": 3}, **square, row=1, col=column
    )


def _outline_in_words(place):
    return f" Outlined: row {place[0] + 1}, column {place[1] + 1}." if place is not None else ""


def heat_panels(panels, *, title, source, names=None, limits=None, x="", y="", outline=None):
    """Arrays side by side as heat maps on one colour range, white low and blue high.

    panels: name → array (row, column), row 1 at the top. names: of rows and columns both; with
    them every number is written out. limits: the range, by default from 0 to the largest entry.
    outline: (row, column) of an entry to frame in all panels, counted from 0.
    """
    arrays = {name: np.asarray(panel, np.float32) for name, panel in panels.items()}
    low, high = limits or (0.0, max(float(array.max()) for array in arrays.values()))
    figure = make_subplots(1, len(arrays), subplot_titles=list(arrays), horizontal_spacing=0.04)
    text = {"texttemplate": "%{z:.2f}", "x": names, "y": names} if names else {}
    for column, array in enumerate(arrays.values(), start=1):
        hover = {"hovertemplate": "%{y} → %{x}: %{z:.3f}<extra></extra>"}
        figure.add_trace(go.Heatmap(z=array, coloraxis="coloraxis", **hover, **text), 1, column)
        if outline is not None:
            _add_outline(figure, outline, 1, column)
        anchor = f"y{column if column > 1 else ''}"
        figure.update_xaxes(scaleanchor=anchor, constrain="domain", title=x, col=column)
        figure.update_yaxes(showticklabels=bool(names) and column == 1, col=column)
    figure.update_yaxes(autorange="reversed", constrain="domain")
    figure.update_yaxes(title=y, col=1)
    figure.update_xaxes(showticklabels=bool(names), tickangle=-45)
    scale = {"colorscale": "Blues", "cmin": low, "cmax": high}
    figure.update_layout(coloraxis={**scale, "colorbar": {"thickness": 12, "len": 0.8}})
    alt = f"Heat maps from {low:.2f} to {high:.2f}. " + " ".join(
        f"{name}: {_heat_in_words(array, names)}" for name, array in arrays.items()
    )
    alt += _outline_in_words(outline)
    below = 92 if names else 32 + 20 * bool(x)
    height = 100 + min(330, 760 // len(arrays)) + below
    return _finish(figure, title, source, alt, height=height, below=below)


def _heat_in_words(array, names):
    if names:
        most = [np.flatnonzero(row > row.max() - 5e-3) for row in array]
        where = [
            "everything" if len(columns) == len(names) else " and ".join(names[c] for c in columns)
            for columns in most
        ]
        rows = zip(names, array.max(1), where, strict=True)
        return f"{', '.join(f'{name} {top:.2f} on {columns}' for name, top, columns in rows)}."
    row, column = np.unravel_index(array.argmax(), array.shape)
    largest = f"{array.max():.2f} in row {row + 1}, column {column + 1}"
    return f"{array.shape[0]} × {array.shape[1]}, largest {largest}, mean {array.mean():.2f}."


def scatter(points, *, title, source, x, y, log_y=False):
    """Points in as many groups as `points` has names, told apart by colour and by shape.

    points: name of a group → (array of x, array of y); x, y: what stands on the axes.
    """
    figure = go.Figure()
    words = []
    for number, (name, pair) in enumerate(points.items()):
        across, up = (np.asarray(values, float) for values in pair)
        place = number % len(_SYMBOLS)
        mark = {"size": 11, "color": _COLOURS[-1 - place], "symbol": _SYMBOLS[place]}
        figure.add_trace(go.Scatter(x=across, y=up, name=name, mode="markers", marker=mark))
        spans = f"x from {across.min():.2f} to {across.max():.2f}, "
        words.append(f"{name} ({len(up)} points): {spans}y from {up.min():.2f} to {up.max():.2f}")
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    if log_y:
        ticks = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)]
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    alt = f"Scatter plot, x: {x}, y: {y}. {'; '.join(words)}."
    return _finish(figure, title, source, alt, height=430, below=76)
